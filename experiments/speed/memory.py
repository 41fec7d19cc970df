"""Peak memory of tensors, counted storage by storage: what the allocator rounds up or keeps is not in it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Peak(TorchDispatchMode):
    """Counts the bytes of tensors made inside the block that live at the same time.

    Attributes:
        peak: the most there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation and count what it made."""
        before = {item.untyped_storage()._cdata for item in args if isinstance(item, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(item, torch.Tensor):
                storage = item.untyped_storage()
                if storage._cdata not in before and storage._cdata not in self._known:
                    self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self._now += size
        self.peak = max(self.peak, self._now)

        def gone() -> None:
            self._known.discard(key)
            self._now -= size

        weakref.finalize(storage, gone)


def peak_bytes(work: Callable[[], object]) -> int:
    """Bytes of tensors alive at once during some work, beyond those that were there before."""
    with Peak() as peak:
        work()
    return peak.peak
