"""``python -m kheap``."""

from kheap.cli import main

raise SystemExit(main())
