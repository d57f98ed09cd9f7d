"""The files that hold a target's memory, told apart by content."""
