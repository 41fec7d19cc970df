"""Steps that do not add probabilities over positions: activations, concatenation, residual sums, maxima."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .._record import Entry
from ..operations import Arrangement, Gated, Scaled, Winner
from ..rules import ExcitationRules
from ..rules._neurons import signed_factor
from ._reach_probability import ReachProbability
from ._steps import Step
from ._windows import Map, Patches, Reframed, Window, channels_last, framed


class Same(Step):
    """Element-wise operations: the probability is unchanged, or that of the other polarity if a factor is negative."""

    crops = True

    def __init__(self, entry: Entry, rules: ExcitationRules, like: torch.Tensor) -> None:
        super().__init__(entry, rules, like)
        self._place = 0
        self._negative: torch.Tensor | None = None
        operation = entry.operation
        if isinstance(operation, (Scaled, Gated)):
            self._place = operation.place if isinstance(operation, Gated) else 0
            self._negative = negative(operation, rules)

    def asks(self, polarities: Sequence[int]) -> list[int]:
        """Return two polarities if a factor is negative."""
        found = [0] * len(self.entry.inputs)
        found[self._place] = 2 if self._negative is not None else polarities[0]
        return found

    def whole(
        self, probabilities: Sequence[ReachProbability | None], polarities: Sequence[int]
    ) -> list[ReachProbability | None]:
        """Return the probability of the input, swapped where a factor is negative."""
        probability = probabilities[self._place]
        assert probability is not None
        if self._negative is None:
            return [probability.polarities(polarities[0])]
        parts, factors = [], []
        for k in range(polarities[0]):
            other, own = probability.factors[1 - k], probability.factors[k]
            parts.append(torch.where(self._negative, probability.parts[1 - k], probability.parts[k]))
            ones = other is None and own is None
            factors.append(None if ones else torch.where(self._negative, _or_one(other), _or_one(own)))
        return [ReachProbability(tuple(parts), probability.window, tuple(factors))]


class Moved(Step):
    """Concatenation and splitting of channels. The probabilities are concatenated and split in the same way."""

    crops = True

    def cropped(
        self, probabilities: Sequence[ReachProbability | None], window: Window | None, polarities: Sequence[int]
    ) -> list[ReachProbability | None]:
        """Convert all inputs to the same window, then apply the operation."""
        assert window is not None
        operation = self.entry.operation
        assert isinstance(operation, Arrangement)
        like = next(probability.parts[0] for probability in probabilities if probability is not None)
        rows, columns = (frame.length for frame in window.frames)
        parts, factors = [], []
        for k in range(max(polarities)):
            patches: list[torch.Tensor] = []
            maps: list[Map | None] = []
            for value, probability in zip(self.entry.inputs, probabilities, strict=True):
                if probability is None or k >= len(probability.parts):
                    patches.append(like.new_zeros((like.shape[0] * like.shape[1], value.shape[1], rows, columns)))
                    maps.append(None)
                else:
                    assert probability.window is not None
                    moved = framed(probability.parts[k], probability.window.frames, None, window.frames)
                    patches.append(moved.flatten(0, 1))
                    maps.append(probability.factors[k])
            parts.append([torch.unflatten(part, 0, like.shape[:2]) for part in operation.apply(patches)])
            factors.append(self._factors(operation, maps, like))
        return [
            ReachProbability(tuple(p[out] for p in parts[:count]), window, tuple(f[out] for f in factors[:count]))
            if count
            else None
            for out, count in enumerate(polarities)
        ]

    def _factors(
        self, operation: Arrangement, maps: Sequence[torch.Tensor | None], like: torch.Tensor
    ) -> Sequence[torch.Tensor | None]:  # fmt: skip
        if all(factor is None for factor in maps):
            return [None] * len(self.entry.outputs)
        values = zip(self.entry.inputs, maps, strict=True)
        return operation.apply([like.new_ones(()).expand(v.shape) if f is None else f for v, f in values])


class Shared(Step):
    """A sum of branches with the same shape: the probabilities of the terms, weighted by their shares."""

    crops = True

    def __init__(self, entry: Entry, rules: ExcitationRules, like: torch.Tensor) -> None:
        super().__init__(entry, rules, like)
        self._shares: dict[int, Sequence[Sequence[Map]]] = {}

    def cropped(
        self, probabilities: Sequence[ReachProbability | None], window: Window | None, polarities: Sequence[int]
    ) -> list[ReachProbability | None]:
        """Return the sum of the terms' probabilities times their shares."""
        assert window is not None
        (count,) = polarities
        if count not in self._shares:
            # The rule is element-wise, so a signal of ones gives the shares.
            even = torch.ones((count, 1, *self.entry.outputs[0].shape), dtype=self.dtype, device=self.device)
            self._shares[count] = [
                [channels_last(part) for part in p[:, 0]] for p in self.rules(self.entry, [even]) if p is not None
            ]
        found = []
        for k in range(count):
            whole: torch.Tensor | None = None
            for probability, share in zip(probabilities, self._shares[count], strict=True):
                if probability is not None:
                    term = probability.in_frames(window.frames, k, share[k])
                    whole = term if whole is None else whole.add_(term)
            assert whole is not None
            found.append(whole)
        return [ReachProbability(tuple(found), window)]


class Chosen(Step):
    """Max pooling: the winner's probability."""

    crops = True

    def __init__(self, entry: Entry, rules: ExcitationRules, like: torch.Tensor) -> None:
        super().__init__(entry, rules, like)
        operation = entry.operation
        assert isinstance(operation, Winner)
        width = operation.input.shape[-1]
        self._places = channels_last(operation.winners().reshape(entry.outputs[0].shape))
        self._rows = torch.div(self._places, width, rounding_mode="floor")
        self._columns = self._places - self._rows * width

    def asks(self, polarities: Sequence[int]) -> list[int]:
        """Return the number of polarities of the maxima."""
        return [polarities[0]]

    def window(self, windows: Sequence[Window]) -> Window | None:
        """Those outputs that look into the window."""
        operation = self.entry.operation
        assert isinstance(operation, Winner)
        assert operation.reach is not None
        return windows[0].above(operation.reach, self.entry.outputs[0].shape)

    def cropped(
        self, probabilities: Sequence[ReachProbability | None], window: Window | None, polarities: Sequence[int]
    ) -> list[ReachProbability | None]:
        """Look up each winner in the window below. A winner outside the window has probability zero."""
        (probability,), places = probabilities, self._places.flatten(2)
        assert probability is not None
        assert probability.window is not None
        assert window is not None
        index = _indices(self._rows, self._columns, probability.window, window)
        parts, factors = [], []
        for k in range(polarities[0]):
            parts.append(_looked_up(probability.parts[k], index, window))
            factor = probability.factors[k]
            # The winners of the whole map.
            won = None if factor is None else factor.flatten(2).gather(2, places).reshape(self._places.shape)
            factors.append(None if won is None else channels_last(won))
        return [ReachProbability(tuple(parts), window, tuple(factors)), *[None] * (len(self.entry.outputs) - 1)]


def negative(operation: Scaled | Gated, rules: ExcitationRules) -> torch.Tensor | None:
    """Return where a factor swaps raised and lowered neurons; `None` for nowhere."""
    factor = signed_factor(operation, rules.policies)
    if not isinstance(factor, torch.Tensor):
        return torch.ones((), dtype=torch.bool) if factor < 0 else None
    found = factor < 0
    return None if factor.device.type == "cpu" and not bool(found.any()) else found


def _or_one(factor: Map | None) -> Map | float:
    return 1.0 if factor is None else factor


def _indices(rows: torch.Tensor, columns: torch.Tensor, below: Window, above: Window) -> torch.Tensor:
    """Return, for each tile, the indices of the winners of the window above in the window below.

    Args:
        rows: rows of the winners in the map below, with the shape of the map above.
        columns: columns of the winners, with the same shape.
        below: the window of the inputs.
        above: the window of the maxima.

    Returns:
        Indices `(tile, image, position, channel)`. Winners outside the window have the index after the last position.
    """
    height, width = (frame.length for frame in below.frames)
    found = []
    for tile, (row, column) in enumerate(zip(*(frame.starts for frame in above.frames), strict=True)):
        cut = (
            slice(row, row + above.frames[0].length),
            slice(column, column + above.frames[1].length),
        )
        y = rows[..., cut[0], cut[1]] - below.frames[0].starts[tile]
        x = columns[..., cut[0], cut[1]] - below.frames[1].starts[tile]
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        index = torch.where(inside, y * width + x, height * width)
        found.append(index.permute(0, 2, 3, 1).flatten(1, 2))
    return torch.stack(found)


def _looked_up(patches: Patches, index: torch.Tensor, above: Window) -> Reframed:
    signals, images, channels, height, width = patches.shape
    count = height * width
    rows = patches.new_zeros((signals, images, count + 1, channels))
    rows[:, :, :count] = patches.permute(0, 1, 3, 4, 2).flatten(2, 3)
    tiles = len(index)
    each = signals // tiles
    found = torch.unflatten(rows, 0, (tiles, each)).gather(3, index[:, None].expand(-1, each, -1, -1, -1))
    lengths = [frame.length for frame in above.frames]
    return torch.unflatten(found.flatten(0, 1), 2, lengths).permute(0, 1, 4, 2, 3)
