"""Rules of layer-wise relevance propagation for one weighted operation `z = w x + b`.

All rules share one form: the inputs receive the relevance `R` of an output in proportion to their contributions to a
pre-activation `z`, whose definition depends on the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..engine.operations import Affine, Average


@dataclass(frozen=True, eq=False)
class Weighted:
    """A weighted operation with the tensors that relevance propagation needs.

    Attributes:
        operation: the recorded operation.
        x: its input, `(image, *input)`.
        weight: its weights in the operation's layout, folded with a following batch normalisation.
        bias: its bias, folded likewise; broadcastable to the output.
    """

    operation: Affine
    x: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """`w x`."""
        return self.operation.forward(x, w)

    def back(self, q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """`w^T q`, for `q` of shape `(target, *output)`."""
        return self.operation.adjoint(q.reshape(-1, *q.shape[2:]), w).reshape(len(q), -1, *self.x.shape[1:])

    def negated(self) -> Weighted:
        """The dual operation: weights and bias with the opposite sign."""
        return Weighted(self.operation, self.x, -self.weight, -self.bias)


Rule = Callable[[torch.Tensor, Weighted], torch.Tensor]
"""Function from relevance at the outputs, `(target, *output)`, to relevance at the inputs."""


def stable(z: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Move `z` away from zero by `epsilon`; zero itself counts as positive."""
    return z + torch.where(z < 0, -epsilon, epsilon)


def epsilon_rule(epsilon: float) -> Rule:
    """LRP-epsilon: `R_j = x_j sum_i w_ij R_i / (z_i + epsilon sign z_i)` (Bach et al. 2015, Eq. 58)."""

    def rule(p: torch.Tensor, op: Weighted) -> torch.Tensor:
        z = op.forward(op.x, op.weight) + op.bias
        return op.x * op.back(p / stable(z, epsilon), op.weight)

    return rule


def alpha_beta_rule(alpha: float, beta: float, epsilon: float) -> Rule:
    """LRP-alpha-beta: `alpha` times the shares of positive contributions minus `beta` times those of negative ones.

    Relevance is conserved if `alpha - beta = 1` (Bach et al. 2015, Eq. 60). With `(1, 0)` this is the z+ rule for
    inputs of both signs. Without biases and for non-negative inputs, it equals Excitation Backprop.
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
    """LRP-gamma: contributions with the sign of the output are multiplied by `1 + gamma`.

    For non-negative inputs and outputs this is `w + gamma w+` (Montavon et al. 2019, Sec. 10.2.3). For other signs it
    is the generalisation of Andéol et al. (2021), in which a negative output favours negative contributions.
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
    """LRP-flat: equal relevance to all inputs connected to an output (Lapuschkin et al. 2019)."""

    def rule(p: torch.Tensor, op: Weighted) -> torch.Tensor:
        ones, even = torch.ones_like(op.x[:1] if op.operation.apart else op.x), torch.ones_like(op.weight)
        return op.back(p / stable(op.forward(ones, even), epsilon), even) * torch.ones_like(op.x)

    return rule


def average_rule(p: torch.Tensor, operation: Average, epsilon: float) -> torch.Tensor:
    """LRP-epsilon for averages, with the weights of the average."""
    x = operation.input.to(p.dtype)
    q = p / stable(operation.forward(x), epsilon)
    return x * operation.adjoint(q.reshape(-1, *q.shape[2:])).reshape(len(p), *x.shape)
