"""What the tests share: a second reader of heaps, drivers, and the build that is running."""
