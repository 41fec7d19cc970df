"""Layer-wise relevance propagation's rules for one weighted operation `z = w x + b`.

All share one form: relevance `R` on the outputs goes to the inputs in proportion to their contributions to some `z`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..engine.operations import Affine, Average


@dataclass(frozen=True, eq=False)
class Weighted:
    """A weighted operation with the numbers relevance needs.

    Attributes:
        operation: as recorded.
        x: its input, `(image, *input)`.
        weight: in the operation's layout; the weights of a batch normalisation after it multiplied in.
        bias: what it adds, broadcastable to its output; likewise.
    """

    operation: Affine
    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """`w x`."""
        return self.operation.forward(x, w)

    def back(self, q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """`w^T q` on `(target, *output)`."""
        return self.operation.adjoint(q.reshape(-1, *q.shape[2:]), w).reshape(len(q), -1, *self.x.shape[1:])

    def negated(self) -> Weighted:
        """The dual: weights and bias of the other sign."""
        return Weighted(self.operation, self.x, -self.weight, -self.bias)


Rule = Callable[[torch.Tensor, Weighted], torch.Tensor]
"""From relevance on the outputs `(target, *output)` to relevance on the inputs."""


def stable(z: torch.Tensor, epsilon: float) -> torch.Tensor:
    """`z` moved away from zero by `epsilon`; zero itself counts as positive."""
    return z + torch.where(z < 0, -epsilon, epsilon)


def epsilon_rule(epsilon: float) -> Rule:
    """LRP-epsilon: `R_j = x_j sum_i w_ij R_i / (z_i + epsilon sign z_i)` (Bach et al. 2015, Eq. 58)."""

    def rule(p: torch.Tensor, op: Weighted) -> torch.Tensor:
        z = op.forward(op.x, op.weight) + op.bias
        return op.x * op.back(p / stable(z, epsilon), op.weight)

    return rule


def alpha_beta_rule(alpha: float, beta: float, epsilon: float) -> Rule:
    """LRP-alpha-beta: `alpha` times shares in what raised the output less `beta` times shares in what lowered it.

    `alpha - beta = 1` conserves relevance (Bach et al. 2015, Eq. 60). With `(1, 0)` this is z+ for inputs of both
    signs; without biases on non-negative inputs it is Excitation Backprop.
    """

    def rule(p: torch.Tensor, op: Weighted) -> torch.Tensor:
        up, down = op.x.clamp(min=0), op.x.clamp(max=0)
        more, less = op.weight.clamp(min=0), op.weight.clamp(max=0)
        z = op.forward(up, more) + op.forward(down, less) + op.bias.clamp(min=0)
        q = alpha * p / stable(z, epsilon)
        result = up * op.back(q, more) + down * op.back(q, less)
        if beta != 0:
            z = op.forward(up, less) + op.forward(down, more) + op.bias.clamp(max=0)
            # This sum is never positive, so zero counts as negative here.
            q = beta * p / (z - epsilon)
            result = result - up * op.back(q, less) - down * op.back(q, more)
        return result

    return rule


def gamma_rule(gamma: float, epsilon: float) -> Rule:
    """LRP-gamma: contributions of the output's own sign count `1 + gamma` times.

    For non-negative inputs and outputs this is `w + gamma w+` (Montavon et al. 2019, Sec. 10.2.3); for other signs its
    generalisation (Andéol et al. 2021), under which an output below zero favours what lowered it.
    """

    def rule(p: torch.Tensor, op: Weighted) -> torch.Tensor:
        up, down = op.x.clamp(min=0), op.x.clamp(max=0)
        more = op.weight + gamma * op.weight.clamp(min=0)
        less = op.weight + gamma * op.weight.clamp(max=0)
        positive = op.forward(op.x, op.weight) + op.bias >= 0
        raised = op.forward(up, more) + op.forward(down, less) + op.bias + gamma * op.bias.clamp(min=0)
        lowered = op.forward(up, less) + op.forward(down, more) + op.bias + gamma * op.bias.clamp(max=0)
        high = torch.where(positive, p / stable(raised, epsilon), 0)
        low = torch.where(positive, 0, p / stable(lowered, epsilon))
        return up * (op.back(high, more) + op.back(low, less)) + down * (op.back(high, less) + op.back(low, more))

    return rule


def flat_rule(epsilon: float) -> Rule:
    """LRP-flat: evenly to all inputs an output is connected with (Lapuschkin et al. 2019)."""

    def rule(p: torch.Tensor, op: Weighted) -> torch.Tensor:
        ones, even = torch.ones_like(op.x[:1] if op.operation.apart else op.x), torch.ones_like(op.weight)
        return op.back(p / stable(op.forward(ones, even), epsilon), even) * torch.ones_like(op.x)

    return rule


def average_rule(p: torch.Tensor, operation: Average, epsilon: float) -> torch.Tensor:
    """Averages: LRP-epsilon with their own weights."""
    x = operation.input.to(p.dtype)
    q = p / stable(operation.forward(x), epsilon)
    return x * operation.adjoint(q.reshape(-1, *q.shape[2:])).reshape(len(p), *x.shape)
