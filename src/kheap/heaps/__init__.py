"""What users hold: heaps, and records of what is in them."""
