"""How arrivals pass an operation upwards: the transpose of its rule."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .._record import Entry
from ..rules import ExcitationRules
from ._arrivals import Arrival, windows_of
from ._windows import Window


class Step:
    """The transpose of any operation's rule, on whole maps: what is linear in the signal has its derivative for one.

    Args:
        entry: the operation.
        rules: how signals pass it.
        like: a tensor of the signals' kind and place.
    """

    crops = False
    """Whether it knows what to do with windows."""

    def __init__(self, entry: Entry, rules: ExcitationRules, like: torch.Tensor) -> None:
        self.entry = entry
        self.rules = rules
        self.dtype = like.dtype
        self.device = like.device

    def asks(self, polarities: Sequence[int]) -> list[int]:
        """How many polarities of its inputs take part where so many of its outputs do."""
        signals = [
            torch.zeros((count, 1, *value.shape), dtype=self.dtype, device=self.device) if count else None
            for count, value in zip(polarities, self.entry.outputs, strict=True)
        ]
        return [0 if p is None else p.shape[0] for p in self.rules(self.entry, signals)]

    def window(self, windows: Sequence[Window]) -> Window | None:
        """The window of its outputs, one that holds its inputs'; `None` for the whole. Asked of steps that crop."""
        return windows[0].joined(windows[1:])

    def __call__(self, arrivals: Sequence[Arrival | None], polarities: Sequence[int]) -> list[Arrival | None]:
        """Carry arrivals upwards.

        Args:
            arrivals: at its inputs, `None` where the layer cannot be reached.
            polarities: how many of each output are asked for.

        Returns:
            Arrivals at its outputs, `None` where none is asked for.
        """
        windows = windows_of(arrivals)
        if self.crops and windows is not None:
            return self.cropped(arrivals, self.window(windows), polarities)
        return self.whole([None if arrival is None else arrival.everywhere() for arrival in arrivals], polarities)

    def cropped(
        self, arrivals: Sequence[Arrival | None], window: Window | None, polarities: Sequence[int]
    ) -> list[Arrival | None]:
        """Carry windows upwards, to `window` of the outputs; unless said otherwise, as whole maps."""
        del window
        return self.whole(arrivals, polarities)

    def whole(self, arrivals: Sequence[Arrival | None], polarities: Sequence[int]) -> list[Arrival | None]:
        """Carry whole maps upwards."""
        like = next(arrival.parts[0] for arrival in arrivals if arrival is not None)
        signals = [
            torch.zeros((count, len(like), *value.shape), dtype=like.dtype, device=like.device, requires_grad=True)
            if count
            else None
            for count, value in zip(polarities, self.entry.outputs, strict=True)
        ]
        with torch.enable_grad():
            passed = self.rules(self.entry, signals)
        pairs = [
            (p, torch.stack(arrival.parts[: p.shape[0]]))
            for p, arrival in zip(passed, arrivals, strict=True)
            if p is not None and arrival is not None and p.requires_grad
        ]
        present = [signal for signal in signals if signal is not None]
        found: Sequence[torch.Tensor | None] = [None] * len(present)
        if pairs:
            found = torch.autograd.grad([p for p, _ in pairs], present, [a for _, a in pairs], allow_unused=True)
        rest = iter(zip(present, found, strict=True))
        return [None if signal is None else _arrival(*next(rest)) for signal in signals]


def _arrival(like: torch.Tensor, found: torch.Tensor | None) -> Arrival:
    return Arrival(tuple(like.detach() if found is None else found))
