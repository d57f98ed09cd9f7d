"""The engine, compiled where it can be; it speaks integers."""
