"""Detects what a recording cannot follow: tensors of unknown origin, values read out, writes outside the record."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .._errors import EscapedTensorError
from ._network_state import NetworkState
from ._values import Value, ValueBook, version_of, was_written


class Escapes:
    """Checks one forward pass, as soon as tensors are tracked.

    PyTorch counts the writes to each tensor and its views. The recording runs in-place operations in their
    out-of-place form. The count of a recorded tensor therefore changes only through writes that the recording misses.

    Args:
        book: values of the recorded tensors.
        state: the constants of the network.
    """

    def __init__(self, book: ValueBook, state: NetworkState) -> None:
        self._book = book
        self._state = state
        self.tracking = False
        self.scripted: list[str] = []

    def track(self) -> None:
        """Start the checks. Unrecorded writes before this call are allowed."""
        if not self.tracking:
            self.tracking = True
            self._book.refresh()
            self._state.refresh()

    def unknown(self, tensor: torch.Tensor, where: str) -> EscapedTensorError:
        """Return the error for a tensor that is not the result of a recorded operation."""
        origin = f" (scripted modules ran: {', '.join(self.scripted)})" if self.scripted else ""
        kind = str(tensor.dtype).removeprefix("torch.")
        return EscapedTensorError(
            f"{where} uses a {kind} tensor of shape {tuple(tensor.shape)} that no recorded operation"
            f" computed{origin}, so signals through it would be lost. Script modules, NumPy, vmap and new"
            f" parameters escape the recording:"
            " use plain torch operations instead; if it is a constant, make it a buffer or name it in `constants`."
        )

    def rewritten(self, tensor: torch.Tensor, value: Value | None, where: str) -> None:
        """Refuse a tensor that was written to after it was recorded.

        Raises:
            EscapedTensorError: tensors are tracked.
        """
        if self.tracking:
            name = f"the output of {value.address!r}" if value is not None and value.address else ""
            raise _unseen_write(f"{where} uses {name or self._state.name_of(tensor)}", "before")
        if value is None:
            self._state.versions[id(tensor)] = version_of(tensor)
        else:
            self._book.share(tensor, value)

    def check(self, tensors: Sequence[torch.Tensor], where: str) -> None:
        """Refuse recorded tensors that were changed by a function outside PyTorch.

        Raises:
            EscapedTensorError: there is such a tensor.
        """
        for tensor in tensors:
            entry = self._book.entries.get(id(tensor))
            if entry is not None and entry[0]() is tensor and was_written(tensor, entry[2]):
                self.rewritten(tensor, entry[1], where)

    def check_at_the_end(self) -> None:
        """Refuse tensors that were written to after their last use, because the record would contain the wrong values.

        Raises:
            ExcitationError: there is such a tensor, or a name in `constants` does not refer to a tensor.
        """
        self._state.check_names()
        if self.tracking:
            value = self._book.rewritten()
            name = self._state.rewritten() if value is None else f"the output of {value.address!r}"
            if name:
                raise _unseen_write(f"{name} was written into", "after its last use")


def leak(where: str) -> EscapedTensorError:
    """Return the error for a function that reads values out of a tensor."""
    return EscapedTensorError(
        f"{where} converts activations to Python numbers, and signals cannot pass through these; keep"
        f" tensors, or choose a layer above."
    )


def _unseen_write(what: str, when: str) -> EscapedTensorError:
    return EscapedTensorError(
        f"{what}; code outside the recording wrote into it {when}: a script function, a custom operator,"
        " another thread, `set_`, or code under DisableTorchFunction. Signals through the written values"
        " would be lost: use PyTorch's own operations there, or choose a layer above."
    )
