"""Readers for products of an activation with constants, or with gates: every contraction is written as an einsum.

The axes of the activation, of its partner and of the output have letters, as in `torch.einsum`. With a constant
partner, the contraction is a weighted operation. With a gate (a softmax or sigmoid that depends on the images), it is
an average with different weights for each image. If no axis of the activation is summed over, the call is recorded as
an element-wise product.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .._axes import Axes, Kept, Made
from .._layout import Axis, Layout
from .._values import Value
from ._affine import mixing
from ._attention_weights import Laid, along_queries, layout_of_product, mixes_softmax
from ._families import Affine, GatedAverage, MixedAttention
from ._readers import CallContext, Number, Parts, Read, reads

TWO_ACTIVATIONS = "it multiplies two activations, neither of them a gate, so which one a winner chose is open."


@dataclass(frozen=True)
class Letters:
    """Names of the axes of an activation `x`, its partner `w` and the output `y`."""

    x: str
    w: str
    y: str

    def axes(self) -> Axes:
        """Return the relation of the output's axes to the activation's axes."""
        return tuple(Kept(self.x.index(letter)) if letter in self.x else Made() for letter in self.y)

    def of_weights(self, layout: Layout) -> dict[int, Axis]:
        """Return the output axes that only the partner has, given the layout of the partner."""
        return {
            place: layout[self.w.index(letter)]
            for place, letter in enumerate(self.y)
            if letter in self.w and letter not in self.x
        }


@reads("einsum")
def einsum(context: CallContext, equation: Any, *operands: Any) -> Read | Parts:
    """An einsum of one activation with constants or with a gate."""
    tensors = list(operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands)
    if not isinstance(equation, str) or not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        context.refuse("it is called with lists of axes.", "Write the equation as a string.")
    terms, y = _terms(context, equation, [tensor.dim() for tensor in tensors])
    carrying = [place for place, tensor in enumerate(tensors) if context.carries(tensor)]
    if len(carrying) > 2 or (len(carrying) == 2 and len(tensors) > 2):
        context.refuse("it multiplies several activations at once.", "Write it as products of two tensors each.")
    place = carrying[0]
    if len(tensors) == 1:
        return _alone(context, tensors[0], terms[0], y)
    if len(tensors) == 2:
        return contraction(context, tensors[0], tensors[1], terms[0], terms[1], y)
    rest = [other for other in range(len(tensors)) if other != place]
    wanted = "".join(sorted({letter for other in rest for letter in terms[other]} & {*terms[place], *y}))

    def run() -> torch.Tensor:
        """Compute the product of the constants first."""
        constant = torch.einsum(f"{','.join(terms[r] for r in rest)}->{wanted}", *(tensors[r] for r in rest))
        return torch.einsum(f"{terms[place]},{wanted}->{y}", tensors[place], constant)

    return Parts(run)


def _terms(context: CallContext, equation: str, dims: Sequence[int]) -> tuple[list[str], str]:
    """Return the letters of all operands and of the output. An ellipsis is replaced by letters."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(dims):
        context.refuse(f"its equation {equation!r} names {len(terms)} tensors, {len(dims)} were given.")
    free = [letter for letter in string.ascii_letters if letter not in equation]
    count = max((d - len(term) + 3 for term, d in zip(terms, dims, strict=True) if "..." in term), default=0)
    dots = "".join(free[:count])
    found = []
    for term, d in zip(terms, dims, strict=True):
        own = d - len(term) + 3
        found.append(term.replace("...", dots[count - own :] if own > 0 else ""))
    if arrow:
        return found, right.replace("...", dots)
    every = "".join(found)
    return found, dots + "".join(sorted(a for a in set(every) if every.count(a) == 1 and a not in dots))


def _alone(context: CallContext, x: torch.Tensor, term: str, y: str) -> Parts:
    """An einsum of one tensor: a sum over axes and a permutation."""
    if len(set(term)) < len(term):
        context.refuse("it takes a diagonal.", "Use torch.diagonal before it.")
    return Parts(lambda: _laid_out(x, term, y))


def contraction(context: CallContext, a: torch.Tensor, b: torch.Tensor, left: str, right: str, y: str) -> Read | Parts:
    """A product of two tensors, given by the letters of their axes. Either tensor can be the activation."""
    both = context.carries(a) and context.carries(b)
    gates = [context.carries(tensor) and context.value(tensor).gate for tensor in (a, b)]
    if both and all(letter in y for letter in left + right):  # an element-wise product
        return Parts(lambda: _laid_out(a, left, y) * _laid_out(b, right, y))
    if both and gates[0] == gates[1] and set(left) == set(right) and left:  # the rule of the product decides
        return Parts(lambda: _laid_out(_laid_out(a, left, left) * _laid_out(b, right, left), left, y))
    mixed = False
    if both and gates[0] == gates[1]:
        weights = [] if gates[0] else _mixed_weights(context, (a, b), (left, right), y)
        if len(weights) != 1:
            context.layout = layout_of_product(context, (a, b), (left, right), y)
            context.refuse(TWO_ACTIVATIONS, "Choose a layer above it.")
        gates[weights[0]] = mixed = True
    x, w, xs, ws = (b, a, right, left) if (gates[0] if both else context.carries(b)) else (a, b, left, right)
    if len(set(xs)) < len(xs) or len(set(ws)) < len(ws):
        context.refuse("it takes a diagonal.", "Use torch.diagonal before it.")
    if not (x.is_floating_point() and w.is_floating_point()):
        context.refuse("it multiplies activations by numbers that are no activations.")
    if all(letter in y for letter in xs):
        return Parts(lambda: _laid_out(x, xs, y) * _laid_out(w, ws, y))
    gate = context.value(w) if both else None
    given = Letters(xs, ws, y)
    xs, ws, w = _matched(x, w, xs, ws)
    letters = Letters(xs, ws, y)
    if gate is None:
        return _weighted(context, x, w, letters)
    axes = letters.axes()
    laid = None if gate.layout is None else along_queries(axes, given.of_weights(gate.layout))
    return (_mixed if mixed else _gated)(x, w, letters, gate, laid)


def _mixed_weights(
    context: CallContext, tensors: Sequence[torch.Tensor], terms: Sequence[str], y: str
) -> list[int]:  # fmt: skip
    """Return which of two activations are attention weights that were mixed between heads."""
    found = []
    for place, (tensor, term) in enumerate(zip(tensors, terms, strict=True)):
        summed = [axis for axis, letter in enumerate(term) if letter not in y]
        if mixes_softmax(context, context.value(tensor), summed):
            found.append(place)
    return found


def _matched(x: torch.Tensor, w: torch.Tensor, xs: str, ws: str) -> tuple[str, str, torch.Tensor]:
    """Rename broadcast axes of size one, and remove sums over axes that only the partner has.

    A broadcast axis of size one of the activation gets a new letter and is summed over. A broadcast axis of the partner
    is removed.
    """
    free = iter([letter for letter in string.ascii_letters if letter not in xs + ws])
    own: dict[str, str] = {}
    for letter in set(xs) & set(ws):
        sizes = x.shape[xs.index(letter)], w.shape[ws.index(letter)]
        if sizes[0] == 1 and sizes[1] > 1:
            own[letter] = next(free)
        elif sizes[1] == 1:
            w = w.squeeze(ws.index(letter))
            ws = ws.replace(letter, "")
    return "".join(own.get(letter, letter) for letter in xs), ws, w


def _laid_out(tensor: torch.Tensor, term: str, y: str) -> torch.Tensor:
    """Permute the axes of a tensor to the order of the output. Missing axes have size one."""
    lone = [axis for axis, letter in enumerate(term) if letter not in y]
    tensor = tensor.sum(lone) if lone else tensor
    kept = [letter for letter in term if letter in y]
    ordered = tensor.permute([kept.index(letter) for letter in y if letter in kept])
    for axis, letter in enumerate(y):
        if letter not in kept:
            ordered = ordered.unsqueeze(axis)
    return ordered


def _weighted(context: CallContext, x: torch.Tensor, w: torch.Tensor, letters: Letters) -> Read:
    """A contraction with a constant: a linear layer if possible, else an einsum."""
    alone = [axis for axis, letter in enumerate(letters.w) if letter not in letters.x + letters.y]
    if alone:
        w = w.sum(alone)
        letters = Letters(letters.x, "".join(a for a in letters.w if a in letters.x + letters.y), letters.y)
    xs, ws, y = letters.x, letters.w, letters.y
    if len(xs) > 1 and len(ws) == 2 and y and y[:-1] == xs[:-1] and set(ws) == {xs[-1], y[-1]}:
        return mixing(context, x, w if ws[0] == y[-1] else w.t())
    forward, adjoint, apart = products(letters, x.shape)

    def rows(w: torch.Tensor) -> torch.Tensor:
        ordered = "".join([a for a in y if a in ws] + [a for a in ws if a not in y])
        wide = torch.einsum(f"{ws}->{ordered}", w)
        kept = [w.shape[ws.index(a)] if a in ws else 1 for a in y]
        return wide.reshape(*kept, -1)

    return Affine(None, x, w, forward, adjoint, axes=letters.axes(), apart=apart, rows=rows), (x,)


def _mixed(x: torch.Tensor, weights: torch.Tensor, letters: Letters, known: Value, laid: Laid | None) -> Read:
    """A sum with attention weights that were mixed between heads, so that some are negative."""
    del known
    forward, adjoint, _ = products(letters, x.shape)
    return MixedAttention(None, x, weights, forward, adjoint, axes=letters.axes(), laid=laid, apart=False), (x,)


def _gated(x: torch.Tensor, gate: torch.Tensor, letters: Letters, known: Value, laid: Laid | None) -> Read:
    """A sum weighted by gates: an average with nonnegative weights that depend on the image.

    The gate is not an operand, because signals never reach it.
    """
    forward, adjoint, _ = products(letters, x.shape)
    summed = [size for letter, size in zip(letters.x, x.shape, strict=True) if letter not in letters.y]
    average = GatedAverage(
        None,
        x,
        lambda x: forward(x, gate.to(x.dtype)),
        lambda q: adjoint(q, gate.to(q.dtype)),
        None,
        False,
        factor=known.bounds,
        count=math.prod(summed),
        axes=letters.axes(),
        laid=laid,
        apart=False,
    )
    return average, (x,)


Bilinear = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def products(letters: Letters, shape: torch.Size) -> tuple[Bilinear, Bilinear, bool]:
    """Return a contraction, its transpose, and whether they accept any number of images.

    The targets of a signal are folded into the first axis of the output. If the contraction keeps this axis and the
    partner does not have it, the targets act as more images. Otherwise, they are unfolded for the product.

    Args:
        letters: letters of the axes. No letter is repeated within a tensor.
        shape: shape of the activation.
    """
    xs, ws, y = letters.x, letters.w, letters.y
    apart = bool(xs) and y[:1] == xs[:1] and xs[0] not in ws
    more = "" if apart else next(letter for letter in string.ascii_letters if letter not in xs + ws + y)
    linked = "".join(letter for letter in xs if letter in ws + y)
    up, down = f"{more}{xs},{ws}->{more}{y}", f"{more}{y},{ws}->{more}{linked}"
    missing = [place + len(more) for place, letter in enumerate(xs) if letter not in linked]

    def unfolded(x: torch.Tensor, rest: Sequence[int]) -> torch.Tensor:
        """Split the first axis into targets and the tensor's own first axis."""
        return x if apart else x.reshape(-1, *rest)

    def folded(x: torch.Tensor, dims: int) -> torch.Tensor:
        return x if apart or dims == 0 else x.flatten(0, 1)

    sizes = dict(zip(xs, shape, strict=True))

    def forward(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return folded(torch.einsum(up, unfolded(x, shape), w), len(y))

    def adjoint(q: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        own = dict(zip(ws, w.shape, strict=True))
        x = torch.einsum(down, unfolded(q, [{**own, **sizes}[letter] for letter in y]), w)
        for axis in missing:  # along summed axes, every position receives the same signal
            x = x.unsqueeze(axis)
        if missing:  # rules write to the result, so its entries must not share memory
            x = x.expand(x.shape[0], *(shape[1:] if apart else shape)).contiguous()
        return folded(x, len(xs))

    return forward, adjoint, apart


# Other spellings -----------------------------------------------------------------------------------------------------


def _matmul_letters(left: int, right: int) -> tuple[str, str, str]:
    """Return the letters of `matmul` for tensors with `left` and `right` dimensions: `...ij,...jk->...ik`."""
    batch = string.ascii_lowercase[: max(left, right, 2) - 2]
    a = batch[len(batch) - max(left - 2, 0) :] + ("J" if left == 1 else "IJ")
    b = batch[len(batch) - max(right - 2, 0) :] + ("J" if right == 1 else "JK")
    return a, b, batch + ("" if left == 1 else "I") + ("" if right == 1 else "K")


@reads("matmul", "mm", "bmm", "mv", "dot", "vdot", "rmatmul", "linalg_matmul")
def matrix_product(context: CallContext, input: torch.Tensor, other: torch.Tensor) -> Read | Parts:
    """Product of matrices, batches of matrices or vectors. Either side can be a constant or a gate."""
    left, right = (other, input) if context.name == "rmatmul" else (input, other)
    return contraction(context, left, right, *_matmul_letters(left.dim(), right.dim()))


@reads("inner")
def inner(context: CallContext, input: torch.Tensor, other: torch.Tensor) -> Read | Parts:
    """`torch.inner`: a sum over the last axis of both tensors."""
    if not (input.dim() and other.dim()):
        return Parts(lambda: input * other)
    lower, upper = string.ascii_lowercase[: input.dim() - 1], string.ascii_uppercase[: other.dim() - 1]
    return contraction(context, input, other, lower + "z", upper + "z", lower + upper)


@reads("linalg_vecdot")
def vecdot(context: CallContext, x: torch.Tensor, y: torch.Tensor, *, dim: int = -1) -> Read | Parts:
    """Dot products along one axis."""
    dims = max(x.dim(), y.dim())
    letters = string.ascii_letters[:dims]
    summed = letters[dim % dims]
    terms = [letters[dims - tensor.dim() :] for tensor in (x, y)]
    return contraction(context, x, y, terms[0], terms[1], letters.replace(summed, ""))


@reads("tensordot")
def tensordot(context: CallContext, a: torch.Tensor, b: torch.Tensor, dims: Any = 2, out: None = None) -> Read | Parts:
    """`torch.tensordot`: sums over pairs of axes."""
    del out
    if isinstance(dims, torch.Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        pairs: tuple[Sequence[int], Sequence[int]] = (range(a.dim() - dims, a.dim()), range(dims))
    else:
        pairs = tuple([axes] if isinstance(axes, int) else axes for axes in dims)  # type: ignore[assignment]
    left, right = list(string.ascii_lowercase[: a.dim()]), list(string.ascii_uppercase[: b.dim()])
    for first, second in zip(*pairs, strict=True):
        right[second] = left[first]
    y = [letter for letter in left if letter not in right] + [letter for letter in right if letter not in left]
    return contraction(context, a, b, "".join(left), "".join(right), "".join(y))


@reads("outer", "ger")
def outer(context: CallContext, input: torch.Tensor, vec2: torch.Tensor) -> Read | Parts:
    """Outer product."""
    return contraction(context, input, vec2, "i", "j", "ij")


@reads("bilinear")
def bilinear(
    context: CallContext, input1: torch.Tensor, input2: torch.Tensor, weight: torch.Tensor, bias: Any = None
) -> Read | Parts:
    """A bilinear form with one constant input: a linear layer with the resulting weights."""
    if context.carries(weight) or context.carries(bias):
        context.refuse("its weights are computed from the images, so which of its inputs a winner chose is open.")
    if context.carries(input1) and context.carries(input2):
        context.refuse(TWO_ACTIVATIONS, "Choose a layer above it.")
    first = context.carries(input1)
    x, other = (input1, input2) if first else (input2, input1)
    rows = string.ascii_lowercase[: x.dim() - 1]
    # If the constant input is the same for all images, all images have the same weights.
    if all(stride == 0 or size == 1 for stride, size in zip(other.stride()[:-1], other.shape[:-1], strict=True)):
        other, shared = other[(0,) * len(rows)], ""
    else:
        shared = rows
    term = "OXY" if first else "OYX"
    constant = torch.einsum(f"{shared}Y,{term}->{shared}OX", other, weight)
    return contraction(context, x, constant, f"{rows}X", f"{shared}OX", f"{rows}O")


@reads("addmm", "addmv", "addbmm", "baddbmm")
def added_product(
    context: CallContext, input: Any, first: torch.Tensor, second: torch.Tensor, *, beta: Number = 1, alpha: Number = 1
) -> Read | Parts:
    """`beta * bias + alpha * x w`: all signal passes to the product, none to the constant."""
    if context.carries(input):
        if context.name == "addbmm":
            context.refuse("an activation is added to a sum over batches.", "Multiply and add separately.")

        def apart() -> torch.Tensor:
            made: torch.Tensor = first @ second
            return torch.add(input if beta == 1 else input * beta, made if alpha == 1 else made * alpha)

        return Parts(apart)
    if alpha != 1 and not (context.carries(first) and context.carries(second)):
        first, second = (first, second * alpha) if context.carries(first) else (first * alpha, second)
    elif alpha != 1:
        context.refuse(f"a product of activations times {alpha} has no rule.", "Multiply separately.")
    a, b, y = _matmul_letters(first.dim(), second.dim())
    return contraction(context, first, second, a, b, y.replace("a", "") if context.name == "addbmm" else y)


@reads("linalg_multi_dot", "chain_matmul")
def several_matrices(context: CallContext, tensors: Any, *rest: torch.Tensor) -> Read | Parts:
    """A product of several matrices, one of which depends on the images."""
    del context
    chain: list[torch.Tensor] = [*tensors, *rest] if isinstance(tensors, (list, tuple)) else [tensors, *rest]

    def run() -> torch.Tensor:
        product = chain[0]
        for matrix in chain[1:]:
            product = product @ matrix
        return product

    return Parts(run)
