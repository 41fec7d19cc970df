"""The families of element-wise operations: functions, scaling, products with a gate."""

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
    rising,
    scaled_by_statistic,
    sign_kept,
    times,
)
from .._selected_bounds import maximum, minimum
from .._values import Value, shared_source
from ._families import Operation

Interval = Callable[[Bounds], Bounds]
"""From the bounds of a function's argument to those of its results."""


@dataclass(eq=False)
class Activation(Operation):
    """An increasing function with one input neuron per result: ReLU, sigmoid, softmax, local response normalisation.

    Attributes:
        interval: maps the bounds of the input to the bounds of the result.
        gates: whether the results are gates for any input.
        alone: whether each result depends only on its own neuron.
        sign: 1 if the results have the sign of the input, else 0.
        linear: whether it is the identity, or adds the same number to all neurons.
        rectifies: whether the result is zero for a range of inputs. Neurons with a result of zero are silent.
    """

    interval: Interval
    gates: bool = False
    alone: bool = True
    sign: int = 0
    linear: bool = False
    rectifies: bool = False

    @property
    def proportional(self) -> bool:
        """The identity is linear."""
        return self.linear and self.alone

    def gate(self, inputs: Sequence[Value]) -> bool:
        """The results of a sigmoid or softmax, and of functions of a gate, are gates."""
        return self.gates or inputs[0].gate

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Return the values of the function at the bounds of its argument."""
        return self.interval(inputs[0].bounds)

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """Its argument."""
        return (inputs[0], self.sign) if self.alone else (None, 0)

    def valid(self, inputs: Sequence[Value]) -> torch.Tensor | None:
        """Padding remains padding."""
        return inputs[0].valid


@dataclass(eq=False)
class Scaled(Operation):
    """An element-wise product with a factor, plus a constant: batch normalisation, scaling, shifting, negation.

    Attributes:
        factor: number or tensor that broadcasts to the output. Only its sign affects signals.
        shape: shape of the input. Signals are summed over the dimensions that the output repeats.
        exact: returns the factor and the added constant, each a number or a tensor; `None` if they are not constant.
        shifts: whether a constant is added, so that zero is not mapped to zero.
        statistic: whether the neurons are also divided by a nonnegative statistic of several neurons.
    """

    factor: torch.Tensor | float
    shape: torch.Size
    exact: Callable[[], tuple[Limit, Limit]] | None
    shifts: bool = False
    statistic: bool = False

    def multiplied(self, dims: int) -> frozenset[int]:
        """The axes of a product with a tensor. The scale of a normalisation does not count."""
        if not isinstance(self.factor, torch.Tensor) or self.shifts or self.statistic:
            return frozenset()
        shape = self.factor.shape
        return frozenset(dims - len(shape) + axis for axis, size in enumerate(shape) if size > 1)

    @property
    def learned(self) -> bool:
        """Whether the factor is a scale that was learned, such as that of a batch norm."""
        return isinstance(self.factor, torch.Tensor)

    @property
    def gain(self) -> Callable[[], Limit] | None:
        """Return a function that returns the factor of the input; `None` if the factor depends on the images."""
        exact = self.exact
        return None if exact is None or self.statistic else lambda: exact()[0]

    @property
    def proportional(self) -> bool:
        """A constant factor is linear."""
        return self.gain is not None and not self.shifts

    def gate(self, inputs: Sequence[Value]) -> bool:
        """A gate times a constant is a gate."""
        return inputs[0].gate

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """`factor * bounds + constant`."""
        bounds = inputs[0].bounds
        if self.exact is None:
            return UNBOUNDED
        if bounds is UNBOUNDED:
            if not isinstance(self.factor, torch.Tensor) or self.factor.dtype != torch.bool:
                return UNBOUNDED
            bounds = Bounds(*bounds)  # zero where a mask is false
        factor, shift = self.exact()
        bounds = affine(bounds, factor, shift)
        return scaled_by_statistic(bounds) if self.statistic else bounds

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """The input, unless the operation divides by a statistic."""
        if self.statistic or self.exact is None:
            return None, 0
        if self.shifts:
            return inputs[0], 0
        factor = self.factor
        return inputs[0], factor if isinstance(factor, torch.Tensor) else -1 if factor < 0 else 1


@dataclass(eq=False)
class Inverse(Scaled):
    """`-factor / x` or `-factor / sqrt(x)` for positive neurons. A raised result means a lowered neuron.

    Attributes:
        root: whether the operation inverts the square root.
    """

    root: bool = False

    def of(self, bounds: Bounds) -> Bounds:
        """Return the bounds of the results for nonnegative bounds of the inputs."""
        return affine(inverse(rising(bounds, torch.sqrt) if self.root else bounds), -self.factor, 0.0)

    @property
    def proportional(self) -> bool:
        """An inverse is not linear."""
        return False

    @property
    def learned(self) -> bool:
        """The sign says that it falls, whatever its numerator is."""
        return False

    def gate(self, inputs: Sequence[Value]) -> bool:
        """The results are gates, because they all have the same sign."""
        return self.bounds(inputs).one_sign

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Return the inverse of the bounds of the input."""
        return self.of(inputs[0].bounds)

    def multiplied(self, dims: int) -> frozenset[int]:  # noqa: ARG002
        """Along no axis."""
        return frozenset()

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """The input, with the sign of the numerator."""
        return inputs[0], -self.factor if isinstance(self.factor, torch.Tensor) else 1 if self.factor < 0 else -1


@dataclass(eq=False)
class Falling(Scaled):
    """A function that falls, without a rule of its own. A raised result means a lowered neuron.

    Attributes:
        limits: bounds of the results.
        sign: -1 if the results have the opposite sign of the input, else 0.
    """

    limits: Bounds = UNBOUNDED
    sign: int = 0

    def bounds(self, inputs: Sequence[Value]) -> Bounds:  # noqa: ARG002
        """Return the bounds of the results."""
        return self.limits

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """Its argument."""
        return inputs[0], self.sign


@dataclass(eq=False)
class Magnitude(Operation):
    """`|x|`. For neurons below zero, a raised result means a lowered neuron.

    Attributes:
        input: activations of the input.
    """

    input: torch.Tensor

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """The results are nonnegative."""
        return magnitude(inputs[0].bounds)

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """Its input."""
        return inputs[0], 0


@dataclass(eq=False)
class Gated(Operation):
    """A product or quotient in which one operand receives all signal. The other operand acts as a gate.

    The other operand is a gate, or a statistic in a division. In a product of two functions of one neuron
    (`x * sigmoid(x)`), it is the function that does not have the sign of the neuron.

    Attributes:
        place: index of the gated operand, 0 or 1.
        factor: the other operand. Only its sign affects signals.
        shape: shape of the gated operand.
        divides: whether the operation divides by the other operand.
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
        """A product of gates is a gate, and so is a gate divided by a statistic."""
        return inputs[self.place].gate and (self.divides or inputs[1 - self.place].gate)

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Return the bounds of the product. For functions of one neuron, use the bounds of a smooth rectifier."""
        kept, other = inputs[self.place].bounds, inputs[1 - self.place].bounds
        if self.divides:
            other = inverse(other)
        if shared_source(*inputs) is None:
            return times(kept, other)
        return times(kept, other) if kept.nonpositive else sign_kept(kept, lambda bounds: times(bounds, other))

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """What both are functions of."""
        found = shared_source(*inputs)
        if found is None:
            return None, 0
        other, sign = inputs[1 - self.place].bounds, found[1] if self.place == 0 else found[2]
        return found[0], sign if other.nonnegative else -sign if other.nonpositive else 0


@dataclass(eq=False)
class Product(Operation):
    """A product of two activations. The method does not define which factor a winner selects.

    Attributes:
        factors: the two activations. Only their signs affect signals.
        where: name of the operation for messages.
        gates: whether both factors are gates; otherwise neither is.
    """

    factors: tuple[torch.Tensor, torch.Tensor]
    where: str
    gates: bool

    def gate(self, inputs: Sequence[Value]) -> bool:
        """A product of gates is a gate."""
        return all(value.gate for value in inputs)

    def bounds(self, inputs: Sequence[Value]) -> Bounds:
        """Return the bounds of the product. It is nonnegative for two functions with the sign of one neuron."""
        found, bounds = shared_source(*inputs), times(inputs[0].bounds, inputs[1].bounds)
        if found is None or found[1] * found[2] == 0:
            return bounds
        return maximum([bounds, ZERO]) if found[1] == found[2] else minimum([bounds, ZERO])

    def source(self, inputs: Sequence[Value]) -> tuple[Value | None, int | torch.Tensor]:
        """The value that both factors are functions of. The product does not have its sign."""
        found = shared_source(*inputs)
        return (None if found is None else found[0]), 0
