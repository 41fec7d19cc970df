"""What tensors became by operations in place, which the recording runs as their plain forms."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from ._values import mapped_tensors


class Changes:
    """From tensors that the network believes to have changed to those that hold their new numbers."""

    def __init__(self) -> None:
        self._became: dict[int, tuple[weakref.ref[torch.Tensor], torch.Tensor]] = {}
        self._stale: dict[int, tuple[StorageWeakRef, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._became or self._stale)

    def resolve(self, item: Any) -> Any:
        """Replace tensors that were changed in place by what they became, also in tuples, lists and dictionaries."""
        return mapped_tensors(item, self._latest)

    def _latest(self, tensor: torch.Tensor) -> torch.Tensor:
        while (found := self._became.get(id(tensor))) is not None:
            tensor = found[1]
        return tensor

    def redirect(self, old: torch.Tensor, new: torch.Tensor, where: str) -> None:
        """From here on, `old` means `new`; other views of its storage would show the old numbers."""
        if new is old:
            return
        key, became = id(old), self._became
        # When nothing can ask for `old` any more, what it became is no longer held for its sake.
        became[key] = (weakref.ref(old, lambda _: became.pop(key, None)), new)
        if old.layout is torch.strided:
            storage = old.untyped_storage()
            self._stale[storage._cdata] = (_weak(storage), where)

    def behind(self, tensors: list[torch.Tensor]) -> str:
        """Where a tensor was changed in place of which one of these is another view; empty if there is none."""
        for tensor in tensors if self._stale else ():
            if tensor.layout is torch.strided:
                found = self._stale.get(tensor.untyped_storage()._cdata)
                if found is not None:
                    return found[1]
        return ""


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor's neurons fill its memory, in an order a copy of it keeps."""
    return tensor.storage_offset() == 0 and torch.empty_like(tensor, device="meta").stride() == tensor.stride()


def _weak(storage: torch.UntypedStorage) -> StorageWeakRef:
    """Keeps a storage's identity from being given to another, without keeping its memory."""
    return StorageWeakRef(storage)  # type: ignore[no-untyped-call]
