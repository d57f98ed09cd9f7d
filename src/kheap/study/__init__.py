"""Studies of a trace: what happens to it on a heap of this size and this release."""
