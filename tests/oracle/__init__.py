"""kheap beside the heap code of a released Zephyr firmware, run by an emulator."""
