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
from .._layout import Layout, MixedImagesError, broadcast, by_axes, holds_images
from .._values import UNBOUNDED, Bound, Value

NONE: frozenset[int] = frozenset()


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

    def lower(self, inputs: Sequence[Value]) -> Bound:  # noqa: ARG002 - the family decides
        """A lower bound on the output's activations."""
        return UNBOUNDED

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


def expanded(value: Value) -> torch.Tensor:
    """The lower bound with one entry per neuron."""
    if isinstance(value.lower, torch.Tensor):
        return value.lower.expand(value.shape)
    return torch.full((), value.lower).expand(value.shape)


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
        apart: whether the first axis is kept and all its positions have the same weights, so that `forward` and
            `adjoint` take any number of them. If not, they take several whole inputs or outputs in front of each
            other along that axis.
        matrix: whether `forward` is `x @ w.T`.
    """

    input: torch.Tensor
    weight: torch.Tensor
    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    adjoint: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    turned: (
        tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] | None
    ) = None
    reach: Reach | None = None
    apart: bool = field(default=True, kw_only=True)
    matrix: bool = field(default=False, kw_only=True)

    @property
    def weighted(self) -> bool:
        """It does."""
        return True


@dataclass(eq=False)
class Average(Operation):
    """A linear operation with fixed non-negative weights: average pooling of every kind, mean, sum.

    Attributes:
        input: activations, images first.
        forward: the operation.
        adjoint: its transpose; images first, any number of them.
        mean: whether its weights sum to at most one per output, so that a lower bound stays one.
        reach: of average pooling over two dimensions.
        overall: whether each output is the mean of all positions of its channel.
        apart: as for `Affine`.
        learned: whether it sums products with a constant of several positions along what is summed.
    """

    input: torch.Tensor
    forward: Callable[[torch.Tensor], torch.Tensor]
    adjoint: Callable[[torch.Tensor], torch.Tensor]
    mean: bool
    reach: Reach | None = None
    overall: bool = False
    apart: bool = field(default=True, kw_only=True)
    learned: bool = field(default=False, kw_only=True)

    @property
    def weighted(self) -> bool:
        """Where a constant was multiplied in along what is summed: that is a contraction written out."""
        return self.learned

    def gate(self, inputs: Sequence[Value]) -> bool:
        """The mean of gates lies between zero and one as they do; a sum does not."""
        return self.mean and inputs[0].gate

    def lower(self, inputs: Sequence[Value]) -> Bound:
        """Means keep a bound; sums keep only zero."""
        (value,) = inputs
        if isinstance(value.lower, torch.Tensor):
            return self.forward(expanded(value)) if self.mean else UNBOUNDED
        return value.lower if self.mean or value.lower == 0 else UNBOUNDED


@dataclass(eq=False)
class Winner(Operation):
    """A maximum that one input wins: max pooling, max over a dimension.

    Attributes:
        input: activations.
        dims: the range `(start, stop)` of input dimensions the winners were chosen from.
        indices: gives the winners' positions in those dimensions, flattened; shaped like the input with the range
            replaced by one dimension for the outputs.
        run: does the call, if the winners come with it: maxima and positions.
        both: whether the call returns the positions too.
        reach: of max pooling over two dimensions.
    """

    input: torch.Tensor
    dims: tuple[int, int]
    indices: Callable[[torch.Tensor], torch.Tensor]
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

    def lower(self, inputs: Sequence[Value]) -> Bound:
        """A maximum is at least its inputs' bound."""
        (value,) = inputs
        return float(value.lower.min()) if isinstance(value.lower, torch.Tensor) else value.lower


@dataclass(eq=False)
class Activation(Operation):
    """One neuron in, one neuron out, not falling: ReLU, sigmoid, softmax over logits, normalisation by neighbours.

    Attributes:
        floor: the function's own lower bound; `None` if the result keeps its input's.
        zero_only: whether only a bound of zero is kept.
        gates: whether its results, between zero and one, are used as gates.
    """

    floor: float | None
    zero_only: bool = False
    gates: bool = False

    def gate(self, inputs: Sequence[Value]) -> bool:  # noqa: ARG002
        """A sigmoid's or softmax's output is a gate."""
        return self.gates

    def lower(self, inputs: Sequence[Value]) -> Bound:
        """The larger of the function's floor and what the input guarantees."""
        (value,) = inputs
        if self.floor is not None:
            return self.floor
        return value.lower if not self.zero_only or value.nonnegative else UNBOUNDED

    def valid(self, inputs: Sequence[Value]) -> torch.Tensor | None:
        """Padding stays padding."""
        return inputs[0].valid


@dataclass(eq=False)
class Scaled(Operation):
    """One neuron in, one neuron out, times a factor, plus a constant: batch normalisation, scaling, shifting, negation.

    Attributes:
        factor: broadcastable to the output; only its sign matters. A number, or a tensor of learned ones.
        shift: what was added, where it is one number, else `None`.
        shape: of the input; dimensions the output repeats are summed over on the way down.
    """

    factor: torch.Tensor | float
    shift: float | None
    shape: torch.Size

    def multiplied(self, dims: int) -> frozenset[int]:
        """Those of a product with a tensor; a normalisation's scale belongs to its neurons."""
        if not isinstance(self.factor, torch.Tensor) or self.shift != 0.0:
            return frozenset()
        shape = self.factor.shape
        return frozenset(dims - len(shape) + axis for axis, size in enumerate(shape) if size > 1)

    def lower(self, inputs: Sequence[Value]) -> Bound:
        """Known only for numbers: `factor * bound + shift`."""
        (value,) = inputs
        known = not isinstance(self.factor, torch.Tensor) and self.factor > 0 and self.shift is not None
        if not known or isinstance(value.lower, torch.Tensor) or math.isinf(value.lower):
            return UNBOUNDED
        assert not isinstance(self.factor, torch.Tensor)
        assert self.shift is not None
        return value.lower * self.factor + self.shift


@dataclass(eq=False)
class Gated(Operation):
    """A product of activations, one of which is the other's gate.

    Attributes:
        place: of the gated operand among the two.
        factor: the gate; only its sign matters.
        shape: of the gated operand.
    """

    place: int
    factor: torch.Tensor
    shape: torch.Size

    @property
    def silent(self) -> frozenset[int]:
        """The gate."""
        return frozenset({1 - self.place})

    def lower(self, inputs: Sequence[Value]) -> Bound:
        """Zero if both are non-negative."""
        return 0.0 if all(value.nonnegative for value in inputs) else UNBOUNDED


@dataclass(eq=False)
class Product(Operation):
    """A product of two activations, neither of which is a gate.

    Attributes:
        factors: the two, whose signs matter.
        where: what to call it in messages.
    """

    factors: tuple[torch.Tensor, torch.Tensor]
    where: str

    def lower(self, inputs: Sequence[Value]) -> Bound:
        """Zero if both are non-negative."""
        return 0.0 if all(value.nonnegative for value in inputs) else UNBOUNDED


@dataclass(eq=False)
class Sum(Operation):
    """A sum of branches: residual connections.

    Attributes:
        terms: the summands' activations.
        signs: +1 or -1 for each.
    """

    terms: tuple[torch.Tensor, ...]
    signs: tuple[int, ...]

    def lower(self, inputs: Sequence[Value]) -> Bound:
        """A sum of non-negative terms is non-negative; other bounds would no longer be any neuron's minimum."""
        return 0.0 if all(v.nonnegative and s > 0 for v, s in zip(inputs, self.signs, strict=True)) else UNBOUNDED


@dataclass(eq=False)
class Arrangement(Operation):
    """Moves neurons about without changing them: concatenation, slicing, reshaping, padding, casting.

    Attributes:
        apply: does the same to other tensors of the operands' shapes; a tuple of results.
        adjoint: from the outputs' signals (`None` where nothing arrived) to the operands'.
        made: positions the operation fills itself (padding) are false in its `valid`.
        pointwise: whether `apply` takes any number of images of any size, treating all positions alike.
    """

    apply: Callable[[Sequence[torch.Tensor]], tuple[torch.Tensor, ...]]
    adjoint: Callable[[Sequence[torch.Tensor | None]], Sequence[torch.Tensor]]
    made: bool = False
    pointwise: bool = False

    def gate(self, inputs: Sequence[Value]) -> bool:
        """A rearranged gate is one."""
        return all(value.gate for value in inputs)

    def lowers(self, inputs: Sequence[Value]) -> tuple[Bound, ...] | None:
        """Bounds of all outputs; `None` stands for the one bound all inputs share."""
        first = inputs[0].lower
        if all(isinstance(v.lower, float) and v.lower == first for v in inputs):
            return None
        return self.apply([expanded(value) for value in inputs])

    def valids(self, inputs: Sequence[Value]) -> tuple[torch.Tensor, ...] | None:
        """Masks of all outputs; `None` if every position holds a neuron."""
        if not self.made and all(value.valid is None for value in inputs):
            return None
        yes = torch.ones((), dtype=torch.bool)
        return self.apply([(yes if v.valid is None else v.valid).expand(v.shape) for v in inputs])
