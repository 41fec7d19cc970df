"""The families of operations a rule can be written for, each with just the numbers a sweep needs.

A family says what was computed; how signals pass through it is the business of a rule set (`rules/`).
Signals have two dimensions more than activations, in front: polarity (raised, and lowered where needed) and target.
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
    hull,
    mapped,
    negated,
    rising,
    spread,
    times,
)
from .._layout import Layout, MixedImagesError, broadcast, by_axes, holds_images
from .._values import Value, shared_source
from ._signs import Rows, one_signed

NONE: frozenset[int] = frozenset()

LEAD = 2
"""Dimensions of a signal in front of the activation's own: polarity and target."""


@dataclass(eq=False)
class Operation:
    """What one recorded call computed.

    Attributes:
        scale: image pixels per output step over those per input step, by spatial dimension; `None` if it has no
            fixed ratio (then the ratio of the sizes is taken).
        axes: where the output's axes come from; `None` for operations from neuron to neuron.
        over: axes of the input along which a result depends on other neurons, of an operation from neuron to neuron.
        laid: from the operands' layouts (`None` for constants) and the results' shapes to the results' layouts, where
            `axes` cannot say it.
    """

    scale: tuple[float, ...] | None
    axes: Axes | None = field(default=None, kw_only=True)
    over: tuple[int, ...] = field(default=(), kw_only=True)
    laid: Callable[[Sequence[Layout | None], Sequence[torch.Size]], Sequence[Layout]] | None = field(
        default=None, kw_only=True
    )

    def layouts(self, inputs: Sequence[Value], shapes: Sequence[torch.Size]) -> Sequence[Layout]:
        """What the axes of the results are.

        Args:
            inputs: the operands; those that depend on the images have layouts.
            shapes: of the results.

        Raises:
            MixedImagesError: an image's part of a result depends on other images.
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
        """Whether it applies learned weights; such operations count for residual branches and for contrast."""
        return False

    def multiplied(self, dims: int) -> frozenset[int]:  # noqa: ARG002
        """Axes of an output of so many dimensions along which it multiplies by a constant of several positions."""
        return frozenset()

    @property
    def silent(self) -> frozenset[int]:
        """Operands that take part without ever winning: gates."""
        return NONE

    def gate(self, inputs: Sequence[Value]) -> bool:  # noqa: ARG002
        """Whether the output is a gate."""
        return False

    def bounds(self, inputs: Sequence[Value]) -> Bounds:  # noqa: ARG002 - the family decides
        """The interval the output's activations lie in."""
        return UNBOUNDED

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:  # noqa: ARG002
        """The value the output is a function of, neuron by neuron, and its sign (as `Value` has them)."""
        return None, 0

    def valid(self, inputs: Sequence[Value]) -> torch.Tensor | None:  # noqa: ARG002
        """False where the output holds padding."""
        return None


@dataclass(frozen=True)
class Reach:
    """Which inputs an output looks at, in each of two spatial dimensions.

    Output `o` looks at inputs `o * stride - before + k * dilation`, `0 <= k < kernel`, as far as they are on the map.

    Attributes:
        kernel: how many.
        stride: steps of the input for one of the output.
        before: padding before the first input.
        dilation: steps of the input between two of them.
        groups: of channels.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1


@dataclass(frozen=True)
class Noise:
    """Where a product's algorithm cancels (fast convolutions), so that zeros come out as small numbers.

    Attributes:
        groups: of channels.
        transposed: whether it is a transposed convolution.
    """

    groups: int
    transposed: bool = False

    def sums(self, weight: torch.Tensor) -> torch.Tensor:
        """The sum of the weights of each output channel."""
        if self.transposed:
            return weight.reshape(self.groups, -1, weight.shape[1], weight[0, 0].numel()).sum((1, 3)).flatten()
        return weight.flatten(1).sum(1)


@dataclass(eq=False)
class Affine(Operation):
    """`y = W x + b` with learned `W`: convolution, transposed convolution, linear, product with a constant matrix.

    Attributes:
        input: activations `x`, images first.
        weight: `W` in the operation's own layout.
        forward: `(x, w) -> w x`, without bias, images first.
        adjoint: `(q, w) -> w^T q`, likewise.
        turned: for those whose transposed product takes the weights in another layout: how to lay them out, and the
            product with them.
        reach: of a convolution over two dimensions.
        noise: of a convolution with kernels larger than one position; `None` where zeros come out as zeros.
        apart: whether the first axis is kept and all its positions have the same weights, so that `forward` and
            `adjoint` take any number of them. If not, they take several whole inputs or outputs in front of each
            other along that axis.
        matrix: whether `forward` is `x @ w.T`.
        rows: lays out `weight` with what each output adds up along the last axis, the others as the output's.
        shift: the bias, as it is added to the output; zero if there is none.
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
        """It does."""
        return True

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Of channels whose weights all have one sign, as of any factor of that sign; others have none."""
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
            # Weights of zero times infinity are no number.
            wide = spread(limit, inputs[0].shape, valid).to(weight)
            wide = wide if self.apart else wide.expand(inputs[0].shape)
            return compact(self.forward(wide, weight.abs()).nan_to_num(unknown, math.inf, -math.inf))

        size = Bounds(combined(bounds.lower, -math.inf), combined(bounds.upper, math.inf)).silent_above(bounds.above)
        up, down = affine(size, 1.0, shift), affine(size, -1.0, shift)
        return either(positive, up, either(negative, down, UNBOUNDED))


@dataclass(eq=False)
class Average(Operation):
    """A linear operation with fixed non-negative weights: average pooling of every kind, mean, sum.

    Attributes:
        input: activations, images first.
        forward: the operation.
        adjoint: its transpose; images first, any number of them.
        weights: what the weights of each output add up to; `None` where outputs differ in that, since their windows
            reach into padding.
        mean: whether they add up to one at most.
        reach: of average pooling over two dimensions.
        overall: whether each output is the mean of all positions of its channel.
        apart: as for `Affine`.
        learned: whether it sums products with a constant of several positions along what is summed.
        centres: axes whose mean it is, each kept with one position: its input less its result is centred there.
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
    def weighted(self) -> bool:
        """Where a constant was multiplied in along what is summed: that is a contraction written out."""
        return self.learned

    def gate(self, inputs: Sequence[Value]) -> bool:
        """The mean of gates lies between zero and one as they do; a sum does not."""
        return self.mean and inputs[0].gate

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Those of the inputs, added up with the operation's weights; padding adds zeros."""
        (value,) = inputs
        bounds, valid = value.bounds, value.valid
        if bounds is UNBOUNDED or bounds is NONNEGATIVE:
            return bounds
        alike = not any(isinstance(limit, torch.Tensor) for limit in bounds)
        if alike and valid is None and self.weights is not None:
            return affine(bounds, self.weights, 0.0)

        def combined(limit: Limit, unknown: float) -> Limit:
            if not isinstance(limit, torch.Tensor) and limit in (0.0, unknown):
                return limit
            # Weights of zero times infinity are no number.
            return compact(self.forward(spread(limit, value.shape, valid)).nan_to_num(unknown, math.inf, -math.inf))

        above = bounds.above
        if isinstance(above, torch.Tensor):  # where all of a window are
            above = torch.as_tensor(combined((~above).double(), 0.0)) == 0
        return Bounds(combined(bounds.lower, -math.inf), combined(bounds.upper, math.inf)).silent_above(above)


@dataclass(eq=False)
class GatedAverage(Average):
    """A sum weighted by gates, which the images decide: attention, and every contraction with a gate.

    Attributes:
        factor: bounds of the gates.
        count: how many neurons each output adds up.
    """

    factor: Bounds = field(kw_only=True)
    count: int = field(kw_only=True)

    def gate(self, inputs: Sequence[Value]) -> bool:  # noqa: ARG002
        """A sum is no gate."""
        return False

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Those of the products, as often as they are added."""
        return affine(times(inputs[0].bounds, self.factor), float(self.count), 0.0)


@dataclass(eq=False)
class PowerAverage(Average):
    """The p-norm of windows of neurons that are never negative: the root of the sum of their powers.

    Attributes:
        input: the neurons' powers, which their shares are proportional to.
        root: which power.
        count: neurons in a window.
    """

    root: float = field(kw_only=True)
    count: int = field(kw_only=True)

    def gate(self, inputs: Sequence[Value]) -> bool:  # noqa: ARG002
        """A norm is no gate."""
        return False

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """The same norm of the bounds."""
        powers = Value(-1, inputs[0].kind, inputs[0].shape, rising(inputs[0].bounds, lambda x: x.pow(self.root)))
        return rising(super().bounds([powers]), lambda x: (x * self.count).pow(1 / self.root))


@dataclass(eq=False)
class Winner(Operation):
    """A maximum that one input wins: max pooling, max over a dimension.

    Attributes:
        input: activations.
        dims: the range `(start, stop)` of input dimensions the winners were chosen from.
        indices: gives the winners' positions in those dimensions, flattened; shaped like the input with the range
            replaced by one dimension for the outputs.
        maximum: gives the maxima of a tensor shaped like the input, shaped like the output.
        run: does the call, if the winners come with it: maxima and positions.
        both: whether the call returns the positions too.
        reach: of max pooling over two dimensions.
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
        """Do the recorded call, and keep what it says about the winners."""
        if self.run is None:
            return call()
        maxima, places = self.run()
        self._places = places.flatten(self.dims[0])
        return (maxima, places) if self.both else maxima

    def winners(self) -> torch.Tensor:
        """The winners' positions, as `indices` gives them for the input."""
        return self.indices(self.input) if self._places is None else self._places

    def gate(self, inputs: Sequence[Value]) -> bool:
        """The largest of several gates is a gate."""
        return inputs[0].gate

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """The largest lower and the largest upper limit among the inputs an output looks at."""
        return _maximum_of(inputs[0], self.maximum)


def _maximum_of(value: Value, function: Callable[[torch.Tensor], torch.Tensor]) -> Bounds:
    bounds = value.bounds
    if any(isinstance(limit, torch.Tensor) for limit in bounds):
        bounds = mapped(bounds, lambda limit: compact(function(spread(limit, value.shape))))
    # Padding with zeros can win, and be the only one in its window.
    return bounds if value.valid is None else hull([bounds, ZERO])


@dataclass(eq=False)
class Sum(Operation):
    """A sum of branches: residual connections.

    Attributes:
        terms: the summands' activations.
        signs: +1 or -1 for each.
    """

    terms: tuple[torch.Tensor, ...]
    signs: tuple[int, ...]

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """The sum of the terms' bounds."""
        if all(value.bounds is NONNEGATIVE for value in inputs) and min(self.signs) > 0:
            return NONNEGATIVE
        return added(
            [
                value.bounds if sign > 0 else negated(value.bounds)
                for value, sign in zip(inputs, self.signs, strict=True)
            ]
        )

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """What all terms are functions of."""
        value, sign = inputs[0], self.signs[0]
        for other, other_sign in zip(inputs[1:], self.signs[1:], strict=True):
            found = shared_source(value, other)
            if found is None:
                return None, 0
            value = found[0]
            sign = sign * found[1] if sign * found[1] == other_sign * found[2] else 0
        return value, sign
