"""What the program of a dump, its ELF file, tells."""
