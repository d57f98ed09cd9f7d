"""The search for all sizes that serve a trace: proofs first, then every size in between.

Sizes fall into classes of one geometry, where heaps differ in the size of the last chunk alone.  In
each class a size is sought at which a replay proves all larger ones; what lies below is swept, each
replay answering for the sizes within its slack too.  The sweep begins at the top, since from where
on all sizes serve is what most want to know; below the last size that fails it goes on from the
bottom, where the smallest one is.

It owns the order of the work, the threads and the budget.  Not here: trying one size
(``fit_stage.py``), and what the spans mean (``size.py``).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event, Lock, local

from kheap._core._native import COMPILED
from kheap._core.chunk import Geometry
from kheap._core.fit import ANY
from kheap.study.fit_stage import STEP, Demand, Outcome, SizeClass, Sizes, Stage
from kheap.study.replay import Progress

__all__ = ["Search", "Span"]

#: A class is swept in so many pieces, of so many sizes at least.
_PIECES, _LEAST_PIECE = 64, 128
_GROWTH = 1.25


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Sizes from ``first`` to ``last``, in steps of 8, and whether they serve the trace.

    Attributes:
        first, last: The sizes, in bytes of the region.
        served: True, False, or None where it is not known.
    """

    first: int
    last: int
    served: bool | None

    @property
    def count(self) -> int:
        """How many sizes."""
        return (self.last - self.first) // STEP + 1


class Search:
    """See the module's head.

    Args:
        demand: What the trace asks of the heap.
        sizes: The sizes there are.
        least: The one to begin with.
        budget_ops: Operations that may be replayed.
        progress: Called with the sizes answered for and their number.

    Attributes:
        replays: How many were made.
        answered: Sizes answered for by a replay at them, or by its slack.
    """

    def __init__(
        self,
        demand: Demand,
        sizes: Sizes,
        least: int,
        budget_ops: float,
        progress: Progress | None,
    ) -> None:
        self.replays = 0
        self._demand = demand
        self._sizes = sizes
        self._least = least
        self._budget = budget_ops
        self._progress = progress
        self._known: list[Span] = []
        self._open: list[SizeClass] = []
        self._stages = local()
        self._stop = Event()
        self._lock = Lock()
        self.answered = self._total = 0

    def run(self) -> None:
        """Search until all is answered for, the budget is spent, or Ctrl-C."""
        try:
            self._prove()
            self._sweep()
        except KeyboardInterrupt:
            self._stop.set()

    def spans(self) -> list[Span]:
        """All sizes from the least on, neighbours of the same answer in one span."""
        spans: list[Span] = []
        at = self._least
        for span in [*sorted(self._known), Span(self._sizes.last + STEP, 0, None)]:
            if at < span.first:
                spans.append(Span(at, span.first - STEP, None))
            if spans and spans[-1].served == span.served:
                spans[-1] = Span(spans[-1].first, span.last, span.served)
            elif span.first <= span.last:
                spans.append(span)
            at = span.last + STEP
        return spans

    # ------------------------------------------------------------------ proofs

    def _prove(self) -> None:
        """Find in each class the size from which on all are proved to serve."""
        units = 0
        for kind in self._sizes.classes(self._least):
            size = None
            if not self._stop.is_set():
                size, units = self._proof_in(kind, units)
            if size is None:
                self._open.append(kind)
                continue
            self._known.append(Span(size, kind.last, True))
            if size > kind.first:
                self._open.append(kind._replace(last=size - STEP))

    def _proof_in(self, kind: SizeClass, units: int) -> tuple[int | None, int]:
        """The first size found that proves the rest of its class, and the units it has.

        ``units`` were enough in a class of smaller sizes.  A heap of this geometry with so few
        is smaller than any of the class, and proves all of them.
        """
        least_units = self._sizes.units(kind.first)
        while 0 < units <= least_units:
            small = kind.geometry._replace(end_chunk=kind.geometry.chunk0_units + units)
            if self._proves(small):
                return kind.first, units
            units += max(1, units // 4)
        size = kind.first
        while size <= kind.last and not self._stop.is_set():
            if self._proves(self._sizes.geometry(size)):
                return size, self._sizes.units(size)
            size = STEP * int(size * _GROWTH / STEP + 1)
        return None, 0

    def _proves(self, geometry: Geometry) -> bool:
        return self._try(geometry) == Outcome(True, ANY)

    def _try(self, geometry: Geometry) -> Outcome | None:
        """The outcome at one geometry; None where the search is to end."""
        if self._stop.is_set():
            return None
        stage: Stage | None = getattr(self._stages, "stage", None)
        if stage is None:
            stage = self._stages.stage = Stage(self._demand, self._stop.is_set)
        before = stage.ops
        outcome = stage.outcome(geometry)
        with self._lock:
            self.replays += 1
            self._budget -= stage.ops - before
            if self._budget < 0:
                self._stop.set()
        return outcome

    # ------------------------------------------------------------------ the sweep

    def _sweep(self) -> None:
        """Answer for all sizes that no proof covers."""
        self._total = sum((k.last - k.first) // STEP + 1 for k in self._open)
        pieces = [piece for kind in self._open for piece in _pieces(kind)]
        workers = (os.cpu_count() or 1) if COMPILED else 1
        with ThreadPoolExecutor(workers) as pool:
            try:
                rest = self._sweep_pieces(pool, workers, reversed(pieces), until_failure=True)
                self._sweep_pieces(pool, workers, reversed(rest), until_failure=False)
            except BaseException:
                self._stop.set()
                raise

    def _sweep_pieces(
        self,
        pool: ThreadPoolExecutor,
        workers: int,
        pieces: Iterable[SizeClass],
        *,
        until_failure: bool,
    ) -> list[SizeClass]:
        """Sweep pieces in their order; those that are left once a size has failed."""
        left = deque(pieces)
        running: set[Future[bool]] = set()
        ending = False
        while running or (left and not ending):
            while left and not ending and len(running) < workers:
                running.add(pool.submit(self._sweep_piece, left.popleft()))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                ending = (until_failure and future.result()) or ending
            ending = ending or self._stop.is_set()
            if self._progress is not None:
                self._progress(self.answered, self._total)
        return list(left)

    def _sweep_piece(self, piece: SizeClass) -> bool:
        """Answer for each size of a piece; whether any of them fails."""
        size, failed = piece.first, False
        while size <= piece.last:
            outcome = self._try(self._sizes.geometry(size))
            if outcome is None:
                break
            last = self._sizes.reach(size, outcome.slack, piece.last)
            self._known.append(Span(size, last, outcome.served))
            failed = failed or not outcome.served
            with self._lock:
                self.answered += (last - size) // STEP + 1
            size = last + STEP
        return failed


def _pieces(kind: SizeClass) -> list[SizeClass]:
    """A class in parts that several threads can sweep."""
    count = (kind.last - kind.first) // STEP + 1
    step = STEP * max(_LEAST_PIECE, -(-count // _PIECES))
    return [
        kind._replace(first=first, last=min(first + step - STEP, kind.last))
        for first in range(kind.first, kind.last + 1, step)
    ]
