"""Heaps in dumps, core files, console logs and running targets."""
