"""Steps: the transposes of the rules, which propagate reach probabilities through an operation."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .._record import Entry
from ..rules import ExcitationRules
from ._reach_probability import ReachProbability, windows_of
from ._windows import Window


class Step:
    """The transpose of the rule of any operation, on whole maps. Rules are linear, so that it is their derivative.

    Args:
        entry: the operation.
        rules: the rules for signals.
        like: tensor with the dtype and device of the signals.
    """

    crops = False
    """Whether it knows what to do with windows."""

    def __init__(self, entry: Entry, rules: ExcitationRules, like: torch.Tensor) -> None:
        self.entry = entry
        self.rules = rules
        self.dtype = like.dtype
        self.device = like.device

    def asks(self, polarities: Sequence[int]) -> list[int]:
        """Return the number of polarities of each input, given the number of polarities of each output."""
        signals = [
            torch.zeros((count, 1, *value.shape), dtype=self.dtype, device=self.device) if count else None
            for count, value in zip(polarities, self.entry.outputs, strict=True)
        ]
        return [0 if p is None else p.shape[0] for p in self.rules(self.entry, signals)]

    def window(self, windows: Sequence[Window]) -> Window | None:
        """Return the window of the outputs, which covers those of the inputs; `None` for the whole map."""
        return windows[0].joined(windows[1:])

    def __call__(
        self, probabilities: Sequence[ReachProbability | None], polarities: Sequence[int]
    ) -> list[ReachProbability | None]:
        """Propagate reach probabilities from the inputs of the operation to its outputs.

        Args:
            probabilities: reach probabilities at the inputs, `None` for inputs that cannot reach the layer.
            polarities: required number of polarities of each output.

        Returns:
            Reach probabilities at the outputs, `None` for outputs that are not required.
        """
        windows = windows_of(probabilities)
        if self.crops and windows is not None:
            return self.cropped(probabilities, self.window(windows), polarities)
        return self.whole(
            [None if probability is None else probability.everywhere() for probability in probabilities], polarities
        )

    def cropped(
        self, probabilities: Sequence[ReachProbability | None], window: Window | None, polarities: Sequence[int]
    ) -> list[ReachProbability | None]:
        """Propagate windows to `window` of the outputs. By default, whole maps are propagated."""
        del window
        return self.whole(probabilities, polarities)

    def whole(
        self, probabilities: Sequence[ReachProbability | None], polarities: Sequence[int]
    ) -> list[ReachProbability | None]:
        """Propagate whole maps."""
        like = next(probability.parts[0] for probability in probabilities if probability is not None)
        signals = [
            torch.zeros((count, len(like), *value.shape), dtype=like.dtype, device=like.device, requires_grad=True)
            if count
            else None
            for count, value in zip(polarities, self.entry.outputs, strict=True)
        ]
        with torch.enable_grad():
            passed = self.rules(self.entry, signals)
        pairs = [
            (p, torch.stack(probability.parts[: p.shape[0]]))
            for p, probability in zip(passed, probabilities, strict=True)
            if p is not None and probability is not None and p.requires_grad
        ]
        present = [signal for signal in signals if signal is not None]
        found: Sequence[torch.Tensor | None] = [None] * len(present)
        if pairs:
            found = torch.autograd.grad([p for p, _ in pairs], present, [a for _, a in pairs], allow_unused=True)
        rest = iter(zip(present, found, strict=True))
        return [None if signal is None else _reach(*next(rest)) for signal in signals]


def _reach(like: torch.Tensor, found: torch.Tensor | None) -> ReachProbability:
    return ReachProbability(tuple(like.detach() if found is None else found))
