"""Properties that hold for all operations on all heaps, sound or broken."""
