"""The families of operations from one neuron to one neuron: functions, scaling, products with a gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .._bounds import (
    UNBOUNDED,
    ZERO,
    Bounds,
    Limit,
    affine,
    inverse,
    magnitude,
    maximum,
    minimum,
    rising,
    scaled_by_statistic,
    sign_kept,
    times,
)
from .._values import Value, shared_source
from ._families import Operation

Interval = Callable[[Bounds], Bounds]
"""From the bounds of a function's argument to those of its results."""


@dataclass(eq=False)
class Activation(Operation):
    """One neuron in, one neuron out, not falling: ReLU, sigmoid, softmax over logits, normalisation by neighbours.

    Attributes:
        interval: its bounds.
        gates: whether its results are gates, whatever goes in.
        alone: whether each result depends on its own neuron alone.
        sign: 1 if the results have the sign of what goes in, else 0.
        linear: whether it is the identity, or adds a number to all neurons alike.
        rectifies: whether its result is zero for a whole range of inputs: such a neuron is silent.
    """

    interval: Interval
    gates: bool = False
    alone: bool = True
    sign: int = 0
    linear: bool = False
    rectifies: bool = False

    def gate(self, inputs: Sequence[Value]) -> bool:
        """What comes out of a sigmoid or softmax; a gate stays one."""
        return self.gates or inputs[0].gate

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """The function's values at the bounds of its argument."""
        return self.interval(inputs[0].bounds)

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """Its argument."""
        return (inputs[0], self.sign) if self.alone else (None, 0)

    def valid(self, inputs: Sequence[Value]) -> torch.Tensor | None:
        """Padding stays padding."""
        return inputs[0].valid


@dataclass(eq=False)
class Scaled(Operation):
    """One neuron in, one neuron out, times a factor, plus a constant: batch normalisation, scaling, shifting, negation.

    Attributes:
        factor: broadcastable to the output; only its sign matters to signals. A number, or a tensor.
        shape: of the input; signals are summed over the dimensions that the output repeats.
        exact: gives the factor and the constant themselves, if these are constants; each a number or a tensor.
        shifts: whether a constant is added, so that zero does not stay zero.
        statistic: whether the neurons are also divided by a statistic of several of them, which is never negative.
    """

    factor: torch.Tensor | float
    shape: torch.Size
    exact: Callable[[], tuple[Limit, Limit]] | None
    shifts: bool = False
    statistic: bool = False

    def multiplied(self, dims: int) -> frozenset[int]:
        """Those of a product with a tensor; a normalisation's scale belongs to its neurons."""
        if not isinstance(self.factor, torch.Tensor) or self.shifts or self.statistic:
            return frozenset()
        shape = self.factor.shape
        return frozenset(dims - len(shape) + axis for axis, size in enumerate(shape) if size > 1)

    @property
    def gain(self) -> Callable[[], Limit] | None:
        """Gives what the input is multiplied by; `None` where that depends on the images."""
        exact = self.exact
        return None if exact is None or self.statistic else lambda: exact()[0]

    def gate(self, inputs: Sequence[Value]) -> bool:
        """Constants leave a gate what it is."""
        return inputs[0].gate

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """`factor * bounds + constant`."""
        bounds = inputs[0].bounds
        if bounds is UNBOUNDED or self.exact is None:
            return UNBOUNDED
        factor, shift = self.exact()
        bounds = affine(bounds, factor, shift)
        return scaled_by_statistic(bounds) if self.statistic else bounds

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """Its input, unless a statistic takes part."""
        if self.statistic or self.exact is None:
            return None, 0
        if self.shifts:
            return inputs[0], 0
        factor = self.factor
        return inputs[0], factor if isinstance(factor, torch.Tensor) else -1 if factor < 0 else 1


@dataclass(eq=False)
class Inverse(Scaled):
    """`-factor / x`, or `-factor / sqrt(x)`, of neurons above zero: what raises the result lowers the neuron.

    Attributes:
        root: whether it is the root that is inverted.
    """

    root: bool = False

    def of(self, bounds: Bounds) -> Bounds:
        """Bounds of the results for inputs within bounds that are not negative."""
        return affine(inverse(rising(bounds, torch.sqrt) if self.root else bounds), -self.factor, 0.0)

    def gate(self, inputs: Sequence[Value]) -> bool:
        """It has one sign, so it can decide how much of something passes."""
        return self.bounds(inputs).one_sign

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """The inverse of the input's."""
        return self.of(inputs[0].bounds)

    def multiplied(self, dims: int) -> frozenset[int]:  # noqa: ARG002
        """Along no axis."""
        return frozenset()

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """Its input; the sign is that of the numerator."""
        return inputs[0], -self.factor if isinstance(self.factor, torch.Tensor) else 1 if self.factor < 0 else -1


@dataclass(eq=False)
class Magnitude(Operation):
    """`|x|`: where the neuron is below zero, what raises the result lowers the neuron.

    Attributes:
        input: activations.
    """

    input: torch.Tensor

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Never negative."""
        return magnitude(inputs[0].bounds)

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """Its input."""
        return inputs[0], 0


@dataclass(eq=False)
class Gated(Operation):
    """A product, or quotient, of which one operand takes the signal: the other decides how much of it passes.

    The other is a gate, a statistic that is divided by, or, in a product of two functions of one neuron
    (`x * sigmoid(x)`), the one that does not have the neuron's sign.

    Attributes:
        place: of the gated operand among the two.
        factor: the other; only its sign matters.
        shape: of the gated operand.
        divides: whether the other is divided by.
    """

    place: int
    factor: torch.Tensor
    shape: torch.Size
    divides: bool = False

    @property
    def silent(self) -> frozenset[int]:
        """The gate."""
        return frozenset({1 - self.place})

    def gate(self, inputs: Sequence[Value]) -> bool:
        """A product of gates is one, and so is a gate over a statistic."""
        return inputs[self.place].gate and (self.divides or inputs[1 - self.place].gate)

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Those of the product; of functions of one neuron that can have both signs as of a smooth rectifier."""
        kept, other = inputs[self.place].bounds, inputs[1 - self.place].bounds
        if self.divides:
            return times(kept, inverse(other))
        if shared_source(*inputs) is None:
            return times(kept, other)
        return sign_kept(kept, lambda bounds: times(bounds, other))

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """What both are functions of."""
        found = shared_source(*inputs)
        if found is None:
            return None, 0
        other, sign = inputs[1 - self.place].bounds, found[1] if self.place == 0 else found[2]
        return found[0], sign if other.nonnegative else -sign if other.nonpositive else 0


@dataclass(eq=False)
class Product(Operation):
    """A product of two activations, of which it is open which one a winner chose.

    Attributes:
        factors: the two, whose signs matter.
        where: what to call it in messages.
        gates: whether both are gates; else neither is.
    """

    factors: tuple[torch.Tensor, torch.Tensor]
    where: str
    gates: bool

    def gate(self, inputs: Sequence[Value]) -> bool:
        """A product of gates is one."""
        return all(value.gate for value in inputs)

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Those of the product; of two functions of one neuron that have its sign zero at least."""
        found, bounds = shared_source(*inputs), times(inputs[0].bounds, inputs[1].bounds)
        if found is None or found[1] * found[2] == 0:
            return bounds
        return maximum([bounds, ZERO]) if found[1] == found[2] else minimum([bounds, ZERO])

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """What both are functions of; the product does not have its sign."""
        found = shared_source(*inputs)
        return (None if found is None else found[0]), 0
