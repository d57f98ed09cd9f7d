"""Answers of the original code, played again on kheap."""
