"""The family of operations that rearrange neurons without changing their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .._bounds import Bounds, Limit, compact, times
from .._values import Value
from ._families import Operation


@dataclass(eq=False)
class Arrangement(Operation):
    """Rearranges neurons without changing their values: concatenation, slicing, reshaping, padding, casting.

    Attributes:
        apply: the operation on other tensors with the shapes of the operands. It returns a tuple of results.
        adjoint: maps the signals of the outputs (`None` for no signal) to the signals of the operands.
        made: whether the operation fills positions with padding. These positions are false in the masks of `valids`.
        pointwise: whether `apply` treats all positions alike, so that it accepts any number of images of any size.
        factor: bounds of a gate that multiplies the neurons (GLU); `None` without a gate.
    """

    apply: Callable[[Sequence[torch.Tensor]], tuple[torch.Tensor, ...]]
    adjoint: Callable[[Sequence[torch.Tensor | None]], Sequence[torch.Tensor]]
    made: bool = False
    pointwise: bool = False
    factor: Bounds | None = None

    @property
    def proportional(self) -> bool:
        """The same neurons at other places, unless a gate multiplies them."""
        return self.factor is None and not self.made

    def gate(self, inputs: Sequence[Value]) -> bool:
        """A rearranged gate is a gate."""
        return all(value.gate for value in inputs)

    def intervals(self, inputs: Sequence[Value], count: int) -> Sequence[Bounds]:
        """Return the bounds of all outputs."""
        first = inputs[0].bounds
        if all(value.bounds is first for value in inputs) and first.uniform:
            found = [first] * count
        else:
            lowers, uppers = (
                self._moved([value.bounds[place] for value in inputs], inputs, count) for place in (0, 1)
            )  # fmt: skip
            found = [Bounds(lower, upper) for lower, upper in zip(lowers, uppers, strict=True)]
            if any(value.bounds.silent is not None for value in inputs):
                silent = self._moved([value.bounds.origin for value in inputs], inputs, count)
                found = [bounds.silent_at(limit) for bounds, limit in zip(found, silent, strict=True)]
        return found if self.factor is None else [times(bounds, self.factor) for bounds in found]

    def _moved(self, limits: Sequence[Limit], inputs: Sequence[Value], count: int) -> Sequence[Limit]:
        first = limits[0]
        if not isinstance(first, torch.Tensor) and all(
            not isinstance(limit, torch.Tensor) and limit == first for limit in limits
        ):
            return [first] * count
        shapes = [value.shape for value in inputs]
        if self.pointwise:
            shapes = [torch.Size((1, shape[1], 1, 1)) for shape in shapes]
        if not self.pointwise or any(_uneven(limit, shape) for limit, shape in zip(limits, shapes, strict=True)):
            shapes = [value.shape for value in inputs]
        wide = [
            (limit if isinstance(limit, torch.Tensor) else torch.tensor(limit, dtype=torch.float64)).expand(shape)
            for limit, shape in zip(limits, shapes, strict=True)
        ]
        device = next((limit.device for limit in limits if isinstance(limit, torch.Tensor)), wide[0].device)
        return [compact(limit) for limit in self.apply([limit.to(device) for limit in wide])]

    def valids(self, inputs: Sequence[Value]) -> tuple[torch.Tensor, ...] | None:
        """Return the masks of all outputs; `None` if every position contains a neuron."""
        if not self.made and all(value.valid is None for value in inputs):
            return None
        yes = torch.ones((), dtype=torch.bool)
        return self.apply([(yes if v.valid is None else v.valid).expand(v.shape) for v in inputs])


def _uneven(limit: Limit, shape: torch.Size) -> bool:
    """Whether a limit does not broadcast to a shape."""
    if not isinstance(limit, torch.Tensor):
        return False
    sides = zip(reversed(limit.shape), reversed(shape), strict=False)
    return limit.dim() > len(shape) or any(own not in (1, size) for own, size in sides)
