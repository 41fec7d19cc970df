"""The results of in-place operations. The recording runs the out-of-place form of each in-place operation."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from ._values import mapped_tensors


class Changes:
    """A mapping from tensors that the network changed in place to the tensors with the new values."""

    def __init__(self) -> None:
        self._became: dict[int, tuple[weakref.ref[torch.Tensor], torch.Tensor]] = {}
        self._stale: dict[int, tuple[StorageWeakRef, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._became or self._stale)

    def resolve(self, item: Any) -> Any:
        """Replace tensors that were changed in place by their new tensors, also in tuples, lists and dictionaries."""
        return mapped_tensors(item, self._latest)

    def _latest(self, tensor: torch.Tensor) -> torch.Tensor:
        while (found := self._became.get(id(tensor))) is not None:
            tensor = found[1]
        return tensor

    def redirect(self, old: torch.Tensor, new: torch.Tensor, where: str) -> None:
        """Replace `old` by `new` in all later calls. Other views of the storage of `old` still have the old values."""
        if new is old:
            return
        key, became = id(old), self._became
        # When `old` is garbage-collected, the reference to `new` is removed.
        became[key] = (weakref.ref(old, lambda _: became.pop(key, None)), new)
        if old.layout is torch.strided:
            storage = old.untyped_storage()
            self._stale[storage._cdata] = (_weak(storage), where)

    def behind(self, tensors: list[torch.Tensor]) -> str:
        """Return where an in-place operation changed the storage of one of these; empty if there is none."""
        for tensor in tensors if self._stale else ():
            if tensor.layout is torch.strided:
                found = self._stale.get(tensor.untyped_storage()._cdata)
                if found is not None:
                    return found[1]
        return ""


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor is dense in memory, so that a copy has the same strides."""
    return tensor.storage_offset() == 0 and torch.empty_like(tensor, device="meta").stride() == tensor.stride()


def _weak(storage: torch.UntypedStorage) -> StorageWeakRef:
    """Return a weak reference: it prevents the reuse of a storage's identity, but does not keep its memory."""
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]
