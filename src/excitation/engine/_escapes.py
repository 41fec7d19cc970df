"""What the recording would not see: tensors of unknown origin, numbers taken out, unseen writes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .._errors import EscapedTensorError
from ._network_state import NetworkState
from ._values import Value, ValueBook, version_of, was_written


class Escapes:
    """Watches over one forward pass, from the moment its tensors are tracked.

    Every tensor of PyTorch counts how often it, or a view of it, was written into. The recording runs operations in
    place as their plain forms, so that the count of a recorded tensor changes only by what it does not see.

    Args:
        book: values of the recorded tensors.
        state: the network's constants.
    """

    def __init__(self, book: ValueBook, state: NetworkState) -> None:
        self._book = book
        self._state = state
        self.tracking = False
        self.scripted: list[str] = []

    def track(self) -> None:
        """From here on nothing may escape; what was written into unseen before does no harm."""
        if not self.tracking:
            self.tracking = True
            self._book.refresh()
            self._state.refresh()

    def unknown(self, tensor: torch.Tensor, where: str) -> EscapedTensorError:
        """Why a tensor that no recorded operation made cannot take part."""
        origin = f" (scripted modules ran: {', '.join(self.scripted)})" if self.scripted else ""
        kind = str(tensor.dtype).removeprefix("torch.")
        return EscapedTensorError(
            f"{where} takes in a {kind} tensor of shape {tuple(tensor.shape)} that no recorded operation made{origin},"
            " so signals through it would be lost. Script modules, NumPy, vmap and new parameters escape the recording:"
            " replace them by plain torch operations; if it is a constant, make it a buffer or name it in `constants`."
        )

    def rewritten(self, tensor: torch.Tensor, value: Value | None, where: str) -> None:
        """Refuse a tensor whose numbers are no longer those that were entered.

        Raises:
            EscapedTensorError: while the tensors are tracked.
        """
        if self.tracking:
            name = f"the output of {value.address!r}" if value is not None and value.address else ""
            raise _unseen_write(f"{where} takes in {name or self._state.name_of(tensor)}", "before")
        if value is None:
            self._state.versions[id(tensor)] = version_of(tensor)
        else:
            self._book.share(tensor, value)

    def check(self, tensors: Sequence[torch.Tensor], where: str) -> None:
        """Refuse recorded tensors that a function which is not PyTorch's own has written into.

        Raises:
            EscapedTensorError: there is one.
        """
        for tensor in tensors:
            entry = self._book.entries.get(id(tensor))
            if entry is not None and entry[0]() is tensor and was_written(tensor, entry[2]):
                self.rewritten(tensor, entry[1], where)

    def check_at_the_end(self) -> None:
        """Refuse what was written into after its last use: the record would hold other numbers than were used.

        Raises:
            ExcitationError: there is such a tensor, or a name in `constants` is no tensor's.
        """
        self._state.check_names()
        if self.tracking:
            value = self._book.rewritten()
            name = self._state.rewritten() if value is None else f"the output of {value.address!r}"
            if name:
                raise _unseen_write(f"{name} was written into", "after its last use")


def leak(where: str) -> EscapedTensorError:
    """Why numbers must stay in tensors."""
    return EscapedTensorError(
        f"{where} takes numbers out of the recorded network, where signals cannot follow; keep them as tensors, or"
        " choose a layer above."
    )


def _unseen_write(what: str, when: str) -> EscapedTensorError:
    return EscapedTensorError(
        f"{what}; something the recording does not see wrote into it {when}: a script function, a custom operator,"
        " another thread, `set_`, or code under DisableTorchFunction. Signals through what was written would be lost:"
        " use PyTorch's own operations there, or choose a layer above."
    )
