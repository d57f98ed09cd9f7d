"""Running targets, sampled over GDB's protocol, and recordings of them."""
