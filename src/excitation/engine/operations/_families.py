"""The families of operations. A rule applies to a family, and each family stores only the data that a sweep needs.

A family describes the computation of an operation. A rule set (`rules/`) defines how signals pass through it. Signals
have two dimensions before those of the activation: polarity (raised, and lowered if needed) and target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .._axes import Axes
from .._bounds import (
    NONNEGATIVE,
    UNBOUNDED,
    ZERO,
    Bounds,
    Limit,
    added,
    affine,
    compact,
    either,
    negated,
    one_sided,
    rising,
    spread,
    times,
)
from .._layout import Layout, MixedImagesError, broadcast, by_axes, holds_images
from .._selected_bounds import hull, positions, selected
from .._values import Value, shared_source
from ._signs import Rows, one_signed

NONE: frozenset[int] = frozenset()

LEAD = 2
"""Dimensions of a signal in front of the activation's own: polarity and target."""


@dataclass(eq=False)
class Operation:
    """The operation of one recorded call.

    Attributes:
        scale: ratio of image pixels per output step to image pixels per input step, by spatial dimension; `None` uses
            the ratio of the sizes.
        axes: relation of the output's axes to the input's axes; `None` for element-wise operations.
        over: for an element-wise operation, the input axes along which a result also depends on other neurons.
        laid: maps the layouts of the operands (`None` for constants) and the shapes of the results to the layouts of
            the results, if `axes` cannot express the relation.
    """

    scale: tuple[float, ...] | None
    axes: Axes | None = field(default=None, kw_only=True)
    over: tuple[int, ...] = field(default=(), kw_only=True)
    laid: Callable[[Sequence[Layout | None], Sequence[torch.Size]], Sequence[Layout]] | None = field(
        default=None, kw_only=True
    )

    def layouts(self, inputs: Sequence[Value], shapes: Sequence[torch.Size]) -> Sequence[Layout]:
        """Return the layouts of the results.

        Args:
            inputs: values of the operands. Operands that depend on the images have layouts.
            shapes: shapes of the results.

        Raises:
            MixedImagesError: the result of one image depends on other images.
        """
        if self.laid is not None:
            return self.laid([value.layout for value in inputs], shapes)
        known = [value for value in inputs if value.layout is not None]
        first = known[0]
        assert first.layout is not None
        if self.axes is not None:
            return [by_axes(first.layout, self.axes, shape) for shape in shapes]
        if self.over and any(holds_images(first.layout[axis]) for axis in self.over):
            raise MixedImagesError
        if len(known) == 1 and first.shape == shapes[0]:
            return [first.layout] * len(shapes)
        return [broadcast([value.layout for value in known if value.layout is not None], shape) for shape in shapes]

    @property
    def weighted(self) -> bool:
        """Whether the operation has learned weights. Weighted operations count for residual branches and contrast."""
        return False

    def multiplied(self, dims: int) -> frozenset[int]:  # noqa: ARG002
        """Return the axes of a `dims`-dimensional output along which it multiplies by a constant of size above one."""
        return frozenset()

    @property
    def proportional(self) -> bool:
        """Whether it is a linear function of one tensor without a constant: factors, averages, arrangements."""
        return False

    @property
    def silent(self) -> frozenset[int]:
        """Return the indices of the operands that never receive a signal: gates."""
        return NONE

    def gate(self, inputs: Sequence[Value]) -> bool:  # noqa: ARG002
        """Whether the output is a gate."""
        return False

    def bounds(self, inputs: Sequence[Value]) -> Bounds:  # noqa: ARG002 - the family decides
        """Return the interval that contains the activations of the output."""
        return UNBOUNDED

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:  # noqa: ARG002
        """Return the value that the output is an element-wise function of, and the sign (as in `Value`)."""
        return None, 0

    def valid(self, inputs: Sequence[Value]) -> torch.Tensor | None:  # noqa: ARG002
        """Return a mask that is false where the output contains padding; `None` without padding."""
        return None


@dataclass(frozen=True)
class Reach:
    """The receptive field of an output, in each of two spatial dimensions.

    Output `o` depends on the inputs `o * stride - before + k * dilation`, `0 <= k < kernel`, inside the map.

    Attributes:
        kernel: number of inputs.
        stride: input steps per output step.
        before: padding before the first input.
        dilation: input steps between two inputs.
        groups: number of channel groups.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1


@dataclass(frozen=True)
class Noise:
    """Rounding noise of fast convolutions: their algorithms subtract, so that zeros become small numbers.

    Attributes:
        groups: number of channel groups.
        transposed: whether the operation is a transposed convolution.
    """

    groups: int
    transposed: bool = False

    def sums(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the sum of the weights of each output channel."""
        if self.transposed:
            return weight.reshape(self.groups, -1, weight.shape[1], weight[0, 0].numel()).sum((1, 3)).flatten()
        return weight.flatten(1).sum(1)


@dataclass(eq=False)
class Affine(Operation):
    """`y = W x + b` with learned `W`: convolution, transposed convolution, linear, product with a constant matrix.

    Attributes:
        input: activations `x`, with the images on the first axis.
        weight: `W` in the layout of the operation.
        forward: `(x, w) -> w x` without bias, with the images on the first axis.
        adjoint: `(q, w) -> w^T q`, with the images on the first axis.
        turned: if a faster transposed product uses another layout of the weights: the function that converts the
            weights, and the product with the converted weights.
        reach: receptive field of a two-dimensional convolution.
        noise: noise of a convolution with kernels larger than one position; `None` if zeros are exact.
        apart: whether the first axis is kept and all its positions have the same weights. `forward` and `adjoint` then
            accept any number of them. Otherwise, they accept several whole inputs or outputs, concatenated along this
            axis.
        matrix: whether `forward` is `x @ w.T`.
        rows: reshapes `weight` so that the last axis contains the weights of one output. The other axes are those of
            the output.
        shift: returns the bias in a shape that broadcasts to the output, or zero.
    """

    input: torch.Tensor
    weight: torch.Tensor
    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    adjoint: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    turned: (
        tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] | None
    ) = None
    reach: Reach | None = None
    noise: Noise | None = None
    apart: bool = field(default=True, kw_only=True)
    matrix: bool = field(default=False, kw_only=True)
    rows: Rows | None = field(default=None, kw_only=True)
    shift: Callable[[], Limit] | None = field(default=None, kw_only=True)

    @property
    def weighted(self) -> bool:
        """The operation has learned weights."""
        return True

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Return the bounds. Only channels with weights of one sign have bounds."""
        bounds = inputs[0].bounds
        if self.rows is None or bounds is UNBOUNDED:
            return UNBOUNDED
        signs = one_signed(self.weight, self.rows)
        if signs is None:
            return UNBOUNDED
        positive, negative = signs
        shift = 0.0 if self.shift is None else self.shift()
        weight, valid = self.weight.detach().double(), inputs[0].valid

        def combined(limit: Limit, unknown: float) -> Limit:
            if not isinstance(limit, torch.Tensor) and limit in (0.0, unknown):
                return limit
            # A weight of zero times infinity is NaN.
            wide = spread(limit, inputs[0].shape, valid).to(weight)
            wide = wide if self.apart else wide.expand(inputs[0].shape)
            return compact(self.forward(wide, weight.abs()).nan_to_num(unknown, math.inf, -math.inf))

        size = Bounds(combined(bounds.lower, -math.inf), combined(bounds.upper, math.inf))
        if bounds.silent is not None:
            size = size.silent_at(combined(bounds.origin, 0.0))
        up, down = affine(size, 1.0, shift), affine(size, -1.0, shift)
        return either(positive, up, either(negative, down, UNBOUNDED))


@dataclass(eq=False)
class MixedAttention(Affine):
    """A sum of values with weights of both signs that the image determines: attention weights mixed between heads.

    `weight` contains the mixed weights. Queries and keys determine them and receive no signal, so that the operation is
    linear in the values. It has no learned weights of its own.
    """

    @property
    def weighted(self) -> bool:
        """The weights are not learned."""
        return False


@dataclass(eq=False)
class Average(Operation):
    """A linear operation with fixed nonnegative weights: average pooling, mean, sum.

    Attributes:
        input: activations, with the images on the first axis.
        forward: the operation.
        adjoint: its transpose, for any number of images on the first axis.
        weights: sum of the weights of each output; `None` if it differs between outputs, because windows contain
            padding.
        mean: whether the sum of the weights is at most one.
        reach: receptive field of two-dimensional average pooling.
        overall: whether each output is the mean of all positions of its channel.
        apart: as for `Affine`.
        learned: whether the input was multiplied by a constant that varies along the summed axes.
        centres: axes of a mean that keeps them with size one.
    """

    input: torch.Tensor
    forward: Callable[[torch.Tensor], torch.Tensor]
    adjoint: Callable[[torch.Tensor], torch.Tensor]
    weights: float | None
    mean: bool
    reach: Reach | None = None
    overall: bool = False
    apart: bool = field(default=True, kw_only=True)
    learned: bool = field(default=False, kw_only=True)
    centres: tuple[int, ...] = field(default=(), kw_only=True)

    @property
    def proportional(self) -> bool:
        """An average is linear."""
        return True

    @property
    def weighted(self) -> bool:
        """A sum of products with a constant is a contraction, and therefore weighted."""
        return self.learned

    def gate(self, inputs: Sequence[Value]) -> bool:
        """A mean of gates lies between zero and one, so that it is a gate. A sum of gates is not a gate."""
        return self.mean and inputs[0].gate

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Return the weighted sums of the bounds of the inputs. Padding counts as zero."""
        (value,) = inputs
        bounds, valid = value.bounds, value.valid
        if bounds is UNBOUNDED or bounds is NONNEGATIVE:
            return bounds
        if bounds.uniform and valid is None and self.weights is not None:
            return affine(bounds, self.weights, 0.0)

        def combined(limit: Limit, unknown: float) -> Limit:
            if not isinstance(limit, torch.Tensor) and limit in (0.0, unknown):
                return limit
            # A weight of zero times infinity is NaN.
            wide = spread(limit, value.shape, valid)
            wide = wide if self.apart else wide.expand(value.shape)
            return compact(self.forward(wide).nan_to_num(unknown, math.inf, -math.inf))

        sums = Bounds(combined(bounds.lower, -math.inf), combined(bounds.upper, math.inf))
        if bounds.silent is None:
            return sums
        sums = sums.silent_at(combined(bounds.origin, 0.0))
        return one_sided(sums) if self.learned else sums


@dataclass(eq=False)
class GatedAverage(Average):
    """A sum weighted by gates, which depend on the images: attention, and every contraction with a gate.

    Attributes:
        factor: bounds of the gates.
        count: number of neurons in each sum.
    """

    factor: Bounds = field(kw_only=True)
    count: int = field(kw_only=True)

    @property
    def proportional(self) -> bool:
        """Its weights depend on the images."""
        return False

    def gate(self, inputs: Sequence[Value]) -> bool:  # noqa: ARG002
        """A sum is not a gate."""
        return False

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Return the bounds of the products, times the number of terms."""
        return affine(times(inputs[0].bounds, self.factor), float(self.count), 0.0)


@dataclass(eq=False)
class PowerAverage(Average):
    """The p-norm of windows of nonnegative neurons: the p-th root of the sum of their p-th powers.

    Attributes:
        input: powers of the neurons. The shares of the neurons are proportional to them.
        root: the exponent p.
        count: number of neurons in a window.
    """

    root: float = field(kw_only=True)
    count: int = field(kw_only=True)

    @property
    def proportional(self) -> bool:
        """A norm is not linear."""
        return False

    def gate(self, inputs: Sequence[Value]) -> bool:  # noqa: ARG002
        """A norm is not a gate."""
        return False

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Return the norm of the bounds."""
        powers = Value(-1, inputs[0].kind, inputs[0].shape, rising(inputs[0].bounds, lambda x: x.pow(self.root)))
        return rising(super().bounds([powers]), lambda x: (x * self.count).pow(1 / self.root))


@dataclass(eq=False)
class Winner(Operation):
    """A maximum with one winner among its inputs: max pooling, max over a dimension.

    Attributes:
        input: activations.
        dims: range `(start, stop)` of the input dimensions that the maximum is over.
        indices: returns the flat positions of the winners in these dimensions. The result has the shape of the input,
            with the range replaced by one dimension for the outputs.
        maximum: maps a tensor with the shape of the input to its maxima, with the shape of the output.
        run: runs the call and returns maxima and positions, if the call can return both.
        both: whether the recorded call also returns the positions.
        reach: receptive field of two-dimensional max pooling.
    """

    input: torch.Tensor
    dims: tuple[int, int]
    indices: Callable[[torch.Tensor], torch.Tensor]
    maximum: Callable[[torch.Tensor], torch.Tensor]
    run: Callable[[], tuple[torch.Tensor, torch.Tensor]] | None = None
    both: bool = False
    reach: Reach | None = None
    _places: torch.Tensor | None = None

    def perform(self, call: Callable[[], Any]) -> Any:
        """Run the recorded call and store the positions of the winners."""
        if self.run is None:
            return call()
        maxima, places = self.run()
        self._places = places.flatten(self.dims[0])
        return (maxima, places) if self.both else maxima

    def winners(self) -> torch.Tensor:
        """Return the positions of the winners, as `indices` returns them for the input."""
        return self.indices(self.input) if self._places is None else self._places

    def gate(self, inputs: Sequence[Value]) -> bool:
        """The maximum of several gates is a gate."""
        return inputs[0].gate

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Return the largest lower limit and the largest upper limit in each receptive field."""
        return _maximum_of(inputs[0], self.maximum)


def _maximum_of(value: Value, function: Callable[[torch.Tensor], torch.Tensor]) -> Bounds:
    bounds = value.bounds

    def over_windows(limit: Limit) -> torch.Tensor:
        return function(spread(limit, value.shape))

    if not bounds.uniform:
        largest = Bounds(*(compact(over_windows(limit)) for limit in bounds))
        if not bounds.plain:
            first, last = positions(bounds)
            largest = selected(largest, -over_windows(-first), over_windows(last))
        bounds = largest
    # Zero padding can be the winner, or the only input in its window.
    return bounds if value.valid is None else hull([bounds, ZERO])


@dataclass(eq=False)
class Sum(Operation):
    """A sum of branches: residual connections.

    Attributes:
        terms: activations of the terms.
        signs: +1 or -1 for each term.
    """

    terms: tuple[torch.Tensor, ...]
    signs: tuple[int, ...]

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Return the sum of the bounds of the terms."""
        if all(value.bounds is NONNEGATIVE for value in inputs) and min(self.signs) > 0:
            return NONNEGATIVE
        return added(
            [
                value.bounds if sign > 0 else negated(value.bounds)
                for value, sign in zip(inputs, self.signs, strict=True)
            ]
        )

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """The value that all terms are functions of."""
        value, sign = inputs[0], self.signs[0]
        for other, other_sign in zip(inputs[1:], self.signs[1:], strict=True):
            found = shared_source(value, other)
            if found is None:
                return None, 0
            value = found[0]
            sign = sign * found[1] if sign * found[1] == other_sign * found[2] else 0
        return value, sign
