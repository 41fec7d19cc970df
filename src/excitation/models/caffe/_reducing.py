"""Layers that reduce many elements to few: sums, and indices of maxima."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import nn

from ._builders import Shape, axis_of, builds
from ._plan import Layer
from ._schema import ENUMS

Blob = Float[torch.Tensor, "image *blob"]
Reduced = Float[torch.Tensor, "image *front"]
Best = Float[torch.Tensor, "image *best"]

KINDS = ENUMS["Reduction"]


class Reduction(nn.Module):
    """A sum or mean over all axes from a given one, times a factor."""

    def __init__(self, operation: int, axis: int, factor: float) -> None:
        super().__init__()
        self.operation, self.axis, self.factor = operation, axis, factor

    def forward(self, input: Blob) -> Reduced:
        """Reduce the input to its leading axes."""
        dims = tuple(range(self.axis, input.dim()))
        if self.operation == KINDS["ASUM"]:
            input = input.abs()
        elif self.operation == KINDS["SUMSQ"]:
            input = input.square()
        result = input.mean(dims) if self.operation == KINDS["MEAN"] else input.sum(dims)
        return result if self.factor == 1 else result * self.factor


@builds("Reduction")
def reduction(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Reduction`: sum, sum of absolute values, sum of squares, mean."""
    options = layer.message.reduction_param
    if options.coeff == 0:
        layer.fail("a coeff of zero makes a constant of the network.")
    return Reduction(options.operation, axis_of(layer, options.axis, len(shapes[0])), options.coeff)


class ArgMax(nn.Module):
    """The indices of the largest values, or the values.

    Of equal values, the last one comes first, as in Caffe.
    """

    def __init__(self, count: int, axis: int | None, *, values: bool) -> None:
        super().__init__()
        self.count, self.axis, self.values = count, axis, values

    def forward(self, input: Blob) -> Best:
        """Keep `count` entries along the axis.

        Without an axis, over all elements of an image: `(image, 1, count)`, or `(image, 2, count)` with values, indices
        first.
        """
        numbers = input.flatten(1) if self.axis is None else input
        axis = 1 if self.axis is None else self.axis
        last = numbers.shape[axis] - 1
        order = last - numbers.flip(axis).argsort(dim=axis, descending=True, stable=True)
        places = order.narrow(axis, 0, self.count)
        if self.axis is not None:
            return numbers.gather(axis, places) if self.values else places.to(input.dtype)
        best = [places.to(input.dtype), *((numbers.gather(1, places),) if self.values else ())]
        return torch.stack(best, 1)


@builds("ArgMax")
def arg_max(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`ArgMax`."""
    (shape,), options = shapes, layer.message.argmax_param
    axis = axis_of(layer, options.axis, len(shape)) if options.HasField("axis") else None
    size = torch.Size(shape[1:]).numel() if axis is None else shape[axis]
    if not 1 <= options.top_k <= size:
        layer.fail(f"top_k is {options.top_k}; from 1 to the {size} numbers it chooses from are expected.")
    return ArgMax(options.top_k, axis, values=options.out_max_val)
