"""Writes figures and maps: in this process, or in worker processes while the next batch is computed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from types import TracebackType

import torch
from PIL import Image

from .._errors import ExcitationError
from ..core import FigureOptions
from ..core._figures import draw
from ._console import report_line
from ._results import Job, Result

LARGEST = 960
"""Longest side in pixels of the pictures that workers receive; figures show at most half of this."""

FEWEST = 8
"""Number of figures from which worker processes are worth their start, which takes some seconds."""

MOST = 4
"""Number of worker processes at most, if the user gives no number: one computation does not feed more."""


@dataclass(frozen=True)
class Drawing:
    """All that is written for one picture.

    Attributes:
        result: the maps.
        job: the files.
        picture: the picture, of any size.
        options: options of the figure.
    """

    result: Result
    job: Job
    picture: Image.Image
    options: FigureOptions

    def finish(self) -> None:
        """Write the figure, then the maps.

        Raises:
            ExcitationError: the figure cannot be drawn.
            OSError: a file cannot be written.
        """
        if self.job.figure is not None:
            from ..views import save_figure

            explanation = self.result.explanation(self.job.picture)
            save_figure(draw(explanation, None, self.options, reduced=self.picture), self.job.figure)
        self.result.save(self.job.maps)

    def reduced(self) -> Drawing:
        """The same with a small picture, for another process."""
        share = LARGEST / max(self.picture.size)
        if share >= 1:
            return self
        size = [max(1, round(side * share)) for side in self.picture.size]
        small = self.picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        return replace(self, picture=small)


def worker_count(asked: int | None, figures: int) -> int:
    """The number of worker processes: as asked, else all processors but one if there are enough figures."""
    if asked is not None:
        return asked
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors - 1, MOST) if figures >= FEWEST else 0


class Drawings:
    """Context manager that finishes drawings, in the order of their submission or another one.

    If a worker process ends unexpectedly, its drawings are finished in this process. If this process is interrupted,
    the drawings that workers have begun are finished, and no worker remains. Files are written whole or not at all.

    Args:
        workers: number of worker processes; with 0, `add` finishes each drawing before it returns.
    """

    def __init__(self, workers: int) -> None:
        self._most = 4 * workers
        self._pending: dict[Future[None], tuple[int, Drawing]] = {}
        self._done: list[tuple[int, Exception | None]] = []
        self._pool: ProcessPoolExecutor | None = None
        if workers:
            context = multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
            with _uninterrupted_children():
                self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker)
                for _ in range(workers):
                    self._pool.submit(_import_views)  # starts the processes now

    def add(self, index: int, drawing: Drawing) -> None:
        """Submit a drawing. Waits while too many are pending.

        Raises:
            OSError: a file of this or an earlier drawing cannot be written.
        """
        while self._pool is not None and len(self._pending) >= self._most:
            self._collect(wait(self._pending, return_when=FIRST_COMPLETED).done)
        if self._pool is not None:
            small = drawing.reduced()
            try:
                with _uninterrupted_children():
                    self._pending[self._pool.submit(small.finish)] = index, drawing
            except BrokenProcessPool:
                self._replace_workers()
            else:
                return
        self._finish_here(index, drawing)

    def finished(self, *, wait_for_all: bool = False) -> Iterator[tuple[int, Exception | None]]:
        """Yield the index of each finished drawing once, with the error if the figure could not be drawn.

        Raises:
            OSError: a file cannot be written.
        """
        while True:
            self._collect({future for future in self._pending if future.done()})
            yield from self._done
            self._done.clear()
            if not wait_for_all or not self._pending:
                return
            wait(self._pending, return_when=FIRST_COMPLETED)

    def _collect(self, futures: set[Future[None]]) -> None:
        for future in futures:
            if future not in self._pending:
                continue
            try:
                future.result()
            except BrokenProcessPool:
                self._replace_workers()
                return
            except ExcitationError as error:
                self._done.append((self._pending.pop(future)[0], error))
            else:
                self._done.append((self._pending.pop(future)[0], None))

    def _replace_workers(self) -> None:
        """Finish all pending drawings in this process, and those to come too."""
        report_line("a process that draws figures has ended unexpectedly; this process draws the rest.")
        pool, self._pool = self._pool, None
        assert pool is not None
        pool.shutdown(wait=False, cancel_futures=True)
        pending, self._pending = list(self._pending.values()), {}
        for index, drawing in pending:
            self._finish_here(index, drawing)

    def _finish_here(self, index: int, drawing: Drawing) -> None:
        try:
            drawing.finish()
        except ExcitationError as error:
            self._done.append((index, error))
        else:
            self._done.append((index, None))

    def __enter__(self) -> Drawings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            interrupted = kind is not None and not issubclass(kind, Exception)
            self._pool.shutdown(wait=True, cancel_futures=interrupted)


@contextlib.contextmanager
def _uninterrupted_children() -> Iterator[None]:
    """Processes started in this block do not receive interruptions, also not before `_begin_worker`.

    They inherit the signal mask of this thread. An interruption of this process during the block is delivered after it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where children do not inherit a mask
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # its start would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    """Prepare a worker process: it ends with its parent, and leaves interruptions to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    with contextlib.suppress(AttributeError):  # there is always a parent in a worker
        parent.join()  # type: ignore[union-attr]
    os._exit(1)


def _import_views() -> None:
    from .. import views  # noqa: F401
