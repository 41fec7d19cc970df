"""Readers for normalisation, arithmetic with constants, and sums of branches."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..._errors import TrainingModeError
from .._bounds import Limit
from .._layout import claim_channels, holds_images, suggest_channels
from .._values import Value, shared_source
from ._activations import inverted
from ._elementwise import Gated, Product, Scaled
from ._families import Sum
from ._readers import CallContext, Number, Parts, Read, reads

ROUNDING = 8
"""Units of rounding, of the largest activation, by which a mean can differ between two ways to compute it."""


@reads("batch_norm")
def batch_norm(
    context: CallContext,
    input: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = False,
    momentum: Number | None = 0.1,
    eps: Number = 1e-5,
) -> Read:
    """Batch normalisation with running statistics: a scale and a shift for each channel."""
    del momentum
    if training:
        raise TrainingModeError(
            f"{context.where} normalises by the statistics of this batch; call model.eval() first"
            " (a batch norm without running statistics cannot be explained)."
        )
    if any(map(context.carries, (running_mean, running_var, weight, bias))):
        context.refuse("its scale or its statistics are computed from the images.")
    layout = context.value(input).layout
    if layout is not None:
        claim_channels(layout, 1)
    by_channel = (-1, *(1,) * (input.dim() - 2))
    factor: torch.Tensor | float = 1.0 if weight is None else weight.reshape(by_channel)

    def exact() -> tuple[Limit, Limit]:
        assert running_mean is not None
        assert running_var is not None
        scale = (running_var.double() + eps).rsqrt()
        scale = scale if weight is None else scale * weight.double()
        shift = -running_mean.double() * scale
        shift = shift if bias is None else shift + bias.double()
        return scale.reshape(by_channel), shift.reshape(by_channel)

    return Scaled(scale=(1.0,), factor=factor, shape=input.shape, exact=exact, shifts=True), (input,)


def _scaled(input: torch.Tensor, factor: torch.Tensor | float, shift: torch.Tensor | float = 0.0) -> Read:
    """`factor * input + shift`."""
    shifts = isinstance(shift, torch.Tensor) or shift != 0
    return Scaled(scale=(1.0,), factor=factor, shape=input.shape, exact=lambda: (factor, shift), shifts=shifts), (
        input,
    )


def _normalised(
    input: torch.Tensor, factor: torch.Tensor | float, *, centred: bool, over: tuple[int, ...]
) -> Read:  # fmt: skip
    """`factor * input / statistic`, with a statistic over some axes. If `centred`, the mean is subtracted first."""
    return Scaled(
        scale=(1.0,), factor=factor, shape=input.shape, exact=None if centred else lambda: (factor, 0.0),
        statistic=not centred, over=over,
    ), (input,)  # fmt: skip


@reads("neg", "negative")
def negation(context: CallContext, input: torch.Tensor) -> Read:
    """Negation. It swaps raised and lowered neurons."""
    del context
    return _scaled(input, -1.0)


@reads("add", "sub", "subtract", "rsub")
def addition(context: CallContext, input: Any, other: Any, *, alpha: Number = 1) -> Read | Parts:
    """A sum of branches, or a shift by a constant."""
    signs = {"add": (1, 1), "rsub": (-1, 1)}.get(context.name, (1, -1))
    if context.carries(input) and context.carries(other):
        if alpha != 1:
            first, second = (other, input) if context.name == "rsub" else (input, other)
            factor = alpha if context.name == "add" else -alpha
            return Parts(lambda: first + second * factor)
        centred = _centred(context, input, other, signs)
        if centred is not None:
            return centred
        return Sum(scale=(1.0,), terms=(input, other), signs=signs), (input, other)
    at = 0 if context.carries(input) else 1
    x, constant = (input, other)[at], (other, input)[at]
    # torch.add, sub: input + alpha other, input - alpha other; rsub: other - alpha input.
    scaled = 0 if context.name == "rsub" else 1
    factor = signs[at] * (float(alpha) if at == scaled else 1.0)
    weight = signs[1 - at] * (1.0 if at == scaled else alpha)
    shift = constant if weight == 1 else weight * constant
    return _scaled(x, float(factor), shift if isinstance(shift, torch.Tensor) else float(shift))


def _centred(
    context: CallContext, input: torch.Tensor, other: torch.Tensor, signs: tuple[int, int]
) -> Read | None:  # fmt: skip
    """A tensor minus its mean, as in a manual normalisation. The mean receives no signal, as in `layer_norm`.

    The mean is recognised by its values. Both terms are linear functions of one tensor, so that they agree with the
    mean on these activations only if they do so on all. The mean of one call is known without this comparison, which
    would make the host wait for an accelerator.
    """
    a, b = context.value(input), context.value(other)
    if not (a.averaged or b.averaged) or (a.proportional or a) is not (b.proportional or b):
        return None
    opposite = signs[0] != signs[1]
    for x, value, mean, known, factor in ((input, a, other, b, signs[0]), (other, b, input, a, signs[1])):
        if known.centre is value and opposite and x.dim() == mean.dim():
            over = known.over
        else:
            over = _axes_of_mean(x, mean if opposite else -mean, value)
        if over:
            return _normalised(x, float(factor), centred=True, over=over)
    return None


def _axes_of_mean(x: torch.Tensor, mean: torch.Tensor, value: Value) -> tuple[int, ...]:
    """Return the axes over which a tensor is the mean of `x`; none if it is not a mean over whole axes."""
    if torch.broadcast_shapes(x.shape, mean.shape) != x.shape:  # type: ignore[no-untyped-call]
        return ()
    wide = mean.detach().expand(x.shape)
    over = []
    for axis, size in enumerate(x.shape):
        images = axis == 0 if value.layout is None else holds_images(value.layout[axis])
        if size > 1 and not images and (wide.stride(axis) == 0 or bool((wide == wide.narrow(axis, 0, 1)).all())):
            over.append(axis)
    if not over:
        return ()
    rounding = ROUNDING * torch.finfo(x.dtype).eps * float(x.detach().abs().amax())
    difference = (wide.double() - x.detach().double().mean(over, keepdim=True)).abs().amax()
    return tuple(over) if float(difference) <= rounding else ()


@reads("var_mean", "std_mean")
def statistic_and_mean(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Parts:
    """A variance or standard deviation together with the mean, recorded as two operations."""
    statistic = torch.var if context.name == "var_mean" else torch.std
    dim = kwargs.get("dim", args[0] if args and not isinstance(args[0], bool) else None)
    keepdim = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
    return Parts(lambda: (statistic(input, *args, **kwargs), torch.mean(input, dim, keepdim)))


@reads("mul", "multiply")
def multiplication(context: CallContext, input: Any, other: Any) -> Read:
    """Multiplication by a constant or by a gate. A negative factor swaps raised and lowered neurons."""
    if context.carries(input) and context.carries(other):
        return _gated(context, input, other)
    x, constant = (input, other) if context.carries(input) else (other, input)
    return _scaled(x, constant if isinstance(constant, torch.Tensor) else float(constant))


@reads("div", "divide", "true_divide", "rdiv")
def division(context: CallContext, input: Any, other: Any, *, rounding_mode: str | None = None) -> Read:
    """Division by a constant or by a nonnegative statistic."""
    if rounding_mode is not None:
        context.refuse("rounding has no rule.")
    if context.name == "rdiv":
        input, other = other, input
    if not context.carries(other):
        if not isinstance(other, torch.Tensor):
            return _scaled(input, 1 / other if other else math.copysign(math.inf, other))
        return Scaled(
            scale=(1.0,), factor=other, shape=input.shape, exact=lambda: (other.double().reciprocal(), 0.0)
        ), (input,)
    if not context.carries(input):
        return inverted(context, other, input)
    if not context.value(other).bounds.nonnegative:
        context.refuse(
            "it divides by an activation that can be negative, so it is ambiguous which of the two wins; a"
            " signal can only pass a division by a nonnegative number (a norm, an exponential), to the dividend."
        )
    return Gated(scale=(1.0,), place=0, factor=other, shape=input.shape, divides=True), (input, other)


@reads("addcmul")
def added_scaling(context: CallContext, input: Any, tensor1: Any, tensor2: Any, *, value: Number = 1) -> Read:
    """`input + value * tensor1 * tensor2`: a constant plus a constant times activations."""
    carrying = [context.carries(tensor) for tensor in (tensor1, tensor2)]
    if context.carries(input) or all(carrying):
        context.refuse("only a constant plus a constant times activations has a rule.", "Multiply and add separately.")
    x, factor = (tensor1, tensor2) if carrying[0] else (tensor2, tensor1)
    return _scaled(x, factor * value, input)


def _gated(context: CallContext, input: torch.Tensor, other: torch.Tensor) -> Read:
    """A product of two factors. If possible, one factor receives all signal.

    For two functions of one neuron, this is the function with the sign of the neuron, if the other never changes its
    sign. Otherwise, it is the factor that is not a gate.
    """
    a, b = (context.value(tensor) for tensor in (input, other))
    place = _follower(a, b)
    if place is None and a.gate != b.gate:
        place = 0 if b.gate else 1
    if not all(tensor.is_floating_point() or value.gate for tensor, value in ((input, a), (other, b))):
        context.refuse("it multiplies activations by computed numbers that are not activations (integers or masks).")
    if place is None:
        # A policy determines whether such a product has a rule. The record does not depend on policies.
        return Product(scale=(1.0,), factors=(input, other), where=context.where, gates=a.gate), (input, other)
    factor, x = ((other, input), (input, other))[place]
    return Gated(scale=(1.0,), place=place, factor=factor, shape=x.shape), (input, other)


def _follower(a: Value, b: Value) -> int | None:
    """Return which of two functions of one neuron has its sign or the opposite sign, if the other has a fixed sign."""
    found = shared_source(a, b)
    if found is None or a.shape != b.shape:
        return None
    for place, (sign, other) in enumerate(((found[1], b), (found[2], a))):
        if sign != 0 and (other.bounds.nonnegative or other.bounds.nonpositive):
            return place
    return None


@reads("layer_norm", "rms_norm")
def layer_norm(
    context: CallContext, input: torch.Tensor, normalized_shape: Any, weight: Any = None, *args: Any, **kwargs: Any
) -> Read:
    """Normalisation over the last dimensions. Each neuron keeps its signal; a negative scale swaps its polarity."""
    del args, kwargs
    if context.carries(weight):
        context.refuse("its scale is computed from the images.")
    layout = context.value(input).layout
    if layout is not None and weight is not None and weight.dim() == 1:
        suggest_channels(layout, -1)
    over = tuple(range(-len(normalized_shape), 0))
    centred = context.name == "layer_norm"
    return _normalised(input, 1.0 if weight is None else weight, centred=centred, over=over)


@reads("normalize")
def normalize(
    context: CallContext, input: torch.Tensor, p: Any = 2.0, dim: int | tuple[int, ...] = 1, *args: Any, **kwargs: Any
) -> Read:  # fmt: skip
    """Division by a norm. Each neuron keeps its signal."""
    del context, p, args, kwargs
    return _normalised(input, 1.0, centred=False, over=dim if isinstance(dim, tuple) else (dim,))


@reads("group_norm")
def group_norm(
    context: CallContext, input: torch.Tensor, num_groups: int, weight: Any = None, *args: Any, **kwargs: Any
) -> Read:
    """Normalisation over groups of channels, with the same rule as `layer_norm`."""
    del args, kwargs, num_groups
    if context.carries(weight):
        context.refuse("its scale is computed from the images.")
    factor = 1.0 if weight is None else weight.reshape(-1, *(1,) * (input.dim() - 2))
    return _normalised(input, factor, centred=True, over=tuple(range(1, input.dim())))


@reads("instance_norm")
def instance_norm(
    context: CallContext, input: torch.Tensor, running_mean: Any = None, running_var: Any = None, weight: Any = None,
    *args: Any, **kwargs: Any,
) -> Read:  # fmt: skip
    """Normalisation over the positions of each channel, with the same rule as `layer_norm`."""
    del running_mean, running_var
    return group_norm(context, input, 1, weight, *args, **kwargs)
