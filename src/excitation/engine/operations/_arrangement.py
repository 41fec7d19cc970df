"""Readers for operations that rearrange neurons: reshaping, slicing, concatenation, padding, casting.

Adjoints act on signals, which have two dimensions (polarity, target) before the dimensions of the activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .._axes import Axes, Kept, Made, Resampled
from .._bounds import UNIT, Bounds
from .._concatenation import concatenated, sliced
from .._layout import (
    Axis,
    Layout,
    MixedImagesError,
    Origin,
    Role,
    holds_images,
    reshaped,
    size_of,
    whole,
)
from ._choices import Taken
from ._elementwise import Activation
from ._families import LEAD
from ._moving import Arrangement
from ._readers import CallContext, Number, Read, reads

Laid = Callable[[Layout, torch.Size], Layout]
"""From an input's layout and the output's shape to the output's layout."""


def _single(
    input: torch.Tensor,
    apply: Callable[[torch.Tensor], Any],
    adjoint: Callable[[torch.Tensor], torch.Tensor],
    *,
    scale: tuple[float, ...] | None = (1.0,),
    made: bool = False,
    pointwise: bool = False,
    laid: Laid | None = None,
    axes: Axes | None = None,
) -> Read:
    """Return an arrangement with one input tensor and one result."""
    return (
        Arrangement(
            scale=scale,
            apply=lambda tensors: (apply(tensors[0]),),
            adjoint=lambda signals: [adjoint(_present(signals)[0])],
            made=made,
            pointwise=pointwise,
            axes=axes,
            laid=None if laid is None else _of_one(laid),
        ),
        (input,),
    )


def _of_one(laid: Laid) -> Callable[[Sequence[Layout | None], Sequence[torch.Size]], Sequence[Layout]]:
    def of_all(layouts: Sequence[Layout | None], shapes: Sequence[torch.Size]) -> Sequence[Layout]:
        (layout,) = layouts
        assert layout is not None
        return [laid(layout, shape) for shape in shapes]

    return of_all


def _present(signals: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
    """Return signals of which at least one is present. Missing signals are zero if the shapes agree (see `_filled`)."""
    return [signal for signal in signals if signal is not None]


@reads("contiguous", "clone", "detach", "detach_", "data.__get__", "alias", "positive", "requires_grad_", "lift_fresh")
def same(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """The identity."""
    del context, args, kwargs
    return _same(input)


def _same(input: torch.Tensor) -> Read:
    return Activation(scale=(1.0,), interval=_unchanged, sign=1, linear=True), (input,)


def _unchanged(bounds: Bounds) -> Bounds:
    return bounds


@reads("to", "type", "type_as", "float", "double", "half", "bfloat16", "cpu", "cuda")
def cast(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read | None:
    """Conversion to another precision or device. Signals keep the precision of the sweep."""
    if not input.is_floating_point():
        value = context.value(input)
        context.refuse(
            "numbers without gradients (masks, indices) become activations.", bounds=value.bounds, gate=value.gate
        )
    if context.name in {"cpu", "cuda"} or any(_names_device(item) for item in (*args, *kwargs.values())):
        device = input.device
        return _single(input, lambda x: x, lambda p: p.to(device), pointwise=input.dim() == 4)
    return _same(input)


def _names_device(item: object) -> bool:
    return isinstance(item, (str, int, torch.device, torch.Tensor)) and not isinstance(item, bool)


@reads(
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "ravel", "atleast_2d",
    "atleast_3d", "_unsafe_view",
)  # fmt: skip
def reshape(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Reshape in row-major order."""
    method: Callable[..., torch.Tensor] = getattr(torch.Tensor, context.name, None) or getattr(torch, context.name)

    def adjoint(p: torch.Tensor) -> torch.Tensor:
        return p.reshape(*p.shape[:LEAD], *input_shape)

    if any(isinstance(arg, torch.dtype) for arg in args) or "dtype" in kwargs:
        context.refuse("viewing the bits as another type has no rule.")
    input_shape = input.shape
    return _single(input, lambda x: method(x.contiguous(), *args, **kwargs), adjoint, scale=(), laid=reshaped)


@reads("permute", "transpose", "swapaxes", "swapdims", "t", "movedim", "moveaxis", "T.__get__", "mT.__get__")
def permute(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Permutation of dimensions."""
    name = context.name

    def apply(x: torch.Tensor) -> torch.Tensor:
        if name.endswith(".__get__"):
            return x.mT if name.startswith("m") else x.permute(*range(x.dim() - 1, -1, -1))
        result: torch.Tensor = getattr(torch.Tensor, name)(x, *args, **kwargs)
        return result

    # The order of the dimensions follows from a permutation of an empty tensor with distinct sizes.
    order = _order(apply, input.dim())
    back = sorted(range(len(order)), key=order.__getitem__)

    def adjoint(p: torch.Tensor) -> torch.Tensor:
        return p.permute(*range(LEAD), *(LEAD + d for d in back))

    return _single(input, apply, adjoint, scale=(), axes=tuple(map(Kept, order)))


def _order(apply: Callable[[torch.Tensor], torch.Tensor], dims: int) -> list[int]:
    """Return the input dimension of each output dimension, by permuting a tensor of distinct sizes."""
    return [size - 1 for size in apply(torch.empty(tuple(range(1, dims + 1)), device="meta")).shape]


@reads("expand", "expand_as", "repeat", "tile", "repeat_interleave", "broadcast_to")
def repeat(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Repetition. The signals of the copies are summed."""
    method: Callable[..., torch.Tensor] = getattr(torch.Tensor, context.name)
    laid = _repeated if context.name in {"repeat", "tile"} else _expanded
    return _indexed(input, lambda x: method(x, *args, **kwargs), None if context.name == "repeat_interleave" else laid)


def _expanded(layout: Layout, shape: torch.Size) -> Layout:
    """Return the layout after `expand`: axes of size one are repeated, and new axes come first."""
    new = len(shape) - len(layout)
    return tuple(
        layout[place - new] if place >= new and size_of(layout[place - new]) == size else _copies(size)
        for place, size in enumerate(shape)
    )


def _repeated(layout: Layout, shape: torch.Size) -> Layout:
    """Return the layout after `repeat`: copies of whole axes are concatenated, and new axes come first."""
    new = len(shape) - len(layout)
    result = [_copies(size) for size in shape[:new]]
    for axis, size in zip(layout, shape[new:], strict=True):
        times = size // size_of(axis)
        result.append(axis if times == 1 else (*whole(Origin(times, fallback=Role.VIEW)), *axis))
    return tuple(result)


def _copies(size: int) -> Axis:
    return () if size == 1 else whole(Origin(size, fallback=Role.VIEW))


@reads("flip", "fliplr", "flipud", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle",
       "narrow", "select", "diagonal", "tril", "triu")  # fmt: skip
def shuffle(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Selection of neurons at fixed positions."""
    if any(context.carries(item) for item in (*args, *kwargs.values())):
        context.refuse("the indices of its inputs depend on the images.")
    name = context.name
    owner = next(place for place in (torch.Tensor, torch, F) if hasattr(place, name))
    method: Callable[..., torch.Tensor] = getattr(owner, name)
    if name == "narrow":
        dim, start, length = (kwargs.get(key, args[k] if len(args) > k else 0) for k, key in enumerate(NARROW))
        at = range(int(start) % input.shape[dim], int(start) % input.shape[dim] + int(length))
        return _indexed(input, lambda x: method(x, *args, **kwargs), _cut({dim % input.dim(): at}))
    if name == "select":
        dim, index = (kwargs.get(key, args[k] if len(args) > k else 0) for k, key in enumerate(SELECT))
        dim, at = dim % input.dim(), range(index % input.shape[dim], index % input.shape[dim] + 1)
        return _indexed(input, lambda x: method(x, *args, **kwargs), _cut({dim: at}, {dim}))
    if name in {"pixel_shuffle", "pixel_unshuffle"} and input.dim() == 4:
        axes = (Kept(0), Made(), Resampled(2), Resampled(3))
        return _indexed(input, lambda x: method(x, *args, **kwargs), axes=axes)
    return _indexed(input, lambda x: method(x, *args, **kwargs))


NARROW = ("dim", "start", "length")
SELECT = ("dim", "index")


def _cut(at: dict[int, range], dropped: Container[int] = ()) -> Laid:
    """Return the layout function of a slice: `at` gives the kept positions by axis, `dropped` the removed axes."""

    def laid(layout: Layout, shape: torch.Size) -> Layout:
        del shape
        axes = [sliced(axis, at[place]) if place in at else axis for place, axis in enumerate(layout)]
        return tuple(axis for place, axis in enumerate(axes) if place not in dropped)

    return laid


@reads("getitem")
def getitem(context: CallContext, input: torch.Tensor, index: Any) -> Read:
    """Slicing and indexing by constants."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(context.carries(part) for part in parts):
        context.refuse("the indices of its inputs depend on the images.")
    basic = all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)
    if not basic or any(isinstance(part, bool) for part in parts):
        return _indexed(input, lambda x: x[index])
    shape = input.shape

    def adjoint(p: torch.Tensor) -> torch.Tensor:
        back = p.new_zeros((*p.shape[:LEAD], *shape))
        back[(slice(None),) * LEAD + parts] = p
        return back

    # An index on the image axis would also select signals.
    channels = len(parts) == 2 and parts[0] == slice(None) and isinstance(parts[1], slice) and input.dim() == 4
    return _single(input, lambda x: x[index], adjoint, pointwise=channels, laid=_basic_index(parts))


def _basic_index(parts: tuple[Any, ...]) -> Laid:
    """Return the layout function of an index with slices, integers, `None` and an ellipsis."""

    def laid(layout: Layout, shape: torch.Size) -> Layout:
        del shape
        rest = len(layout) - sum(part is not None and part is not Ellipsis for part in parts)
        spread: list[Any] = []
        for part in parts if any(part is Ellipsis for part in parts) else (*parts, Ellipsis):
            spread += [slice(None)] * rest if part is Ellipsis else [part]
        axes: list[Axis] = []
        place = 0
        for part in spread:
            if part is None:
                axes.append(())
                continue
            axis, place = layout[place], place + 1
            size = size_of(axis)
            if isinstance(part, int):
                sliced(axis, range(part % size, part % size + 1))
            else:
                axes.append(sliced(axis, range(size)[part]))
        return tuple(axes)

    return laid


def _indexed(
    input: torch.Tensor,
    apply: Callable[[torch.Tensor], torch.Tensor],
    laid: Laid | None = None,
    *,
    axes: Axes | None = None,
) -> Read:
    """Return an arrangement for any selection of neurons. Applied to neuron indices, it shows the selected neurons."""
    if laid is None and axes is None:
        laid = _looked_up(apply)
    known = Taken([input], lambda numbers: [apply(numbers[0])])
    return _single(input, apply, lambda p: known.adjoint([p])[0], laid=laid, axes=axes)


def _looked_up(apply: Callable[[torch.Tensor], torch.Tensor]) -> Laid:
    """Return the layout function of an unknown selection of neurons, by applying it to neuron indices.

    If all neurons along an output axis keep their index in an input axis, the output axis equals the input axis or a
    part of it. Every other output axis is new.
    """

    def laid(layout: Layout, shape: torch.Size) -> Layout:
        if len(shape) != len(layout):
            return _images_kept(layout, shape, apply)
        result = []
        for place, (axis, size) in enumerate(zip(layout, shape, strict=True)):
            before = [1] * len(layout)
            before[place] = count = size_of(axis)
            index = torch.arange(1, count + 1).reshape(before).expand([size_of(axis) for axis in layout])
            moved = apply(index.contiguous()).movedim(place, -1).flatten(0, -2)
            along = moved[0]
            if not bool(((moved == along) | (moved == 0)).all()):
                if holds_images(axis):
                    raise MixedImagesError
                result.append(whole(Origin(size)))
            elif torch.equal(along, torch.arange(1, count + 1)):
                result.append(axis)
            elif holds_images(axis):
                raise MixedImagesError
            elif len(axis) == 1 and axis[0].origin.parts is None:
                result.append(whole(Origin(size, below=axis[0].origin, stride=axis[0].origin.stride)))
            else:
                result.append(() if size == 1 else whole(Origin(size)))
        return tuple(result)

    return laid


def _images_kept(layout: Layout, shape: torch.Size, apply: Callable[[torch.Tensor], torch.Tensor]) -> Layout:
    """Return the layout if only the first axis is known: it keeps the images."""
    sizes = [size_of(axis) for axis in layout]
    index = torch.arange(1, sizes[0] + 1).reshape(-1, *[1] * (len(sizes) - 1)).expand(sizes)
    if any(map(holds_images, layout[1:])) or not shape or shape[0] != sizes[0]:
        if any(map(holds_images, layout)):
            raise MixedImagesError
        return tuple(whole(Origin(size)) for size in shape)
    moved = apply(index.contiguous())
    expected = torch.arange(1, sizes[0] + 1).reshape(-1, *[1] * (len(shape) - 1))
    if not bool(((moved == expected) | (moved == 0)).all()):
        raise MixedImagesError
    return (layout[0], *(() if size == 1 else whole(Origin(size)) for size in shape[1:]))


@reads("cat", "concat", "concatenate", "stack", "hstack", "vstack")
def concatenate(context: CallContext, tensors: Sequence[torch.Tensor], dim: int = 0, **kwargs: Any) -> Read:
    """Concatenation. Each part receives its slice of the signal."""
    if context.name in {"hstack", "vstack"}:
        context.refuse("only `cat` and `stack` have a rule.", "Use torch.cat.")
    if "axis" in kwargs:
        dim = kwargs["axis"]
    parts = tuple(tensors)
    if any(part.dim() == 1 and part.numel() == 0 for part in parts):
        context.refuse("an empty tensor of one dimension is concatenated.", "Leave it out.")
    if context.name == "stack":
        d = dim % (parts[0].dim() + 1)

        def adjoint(signals: Sequence[torch.Tensor | None]) -> Sequence[torch.Tensor]:
            return _present(signals)[0].unbind(LEAD + d)

        def stacked(layouts: Sequence[Layout | None], shapes: Sequence[torch.Size]) -> Sequence[Layout]:
            beside = concatenated(layouts, -1, (), (*shapes[0][:d], *shapes[0][d + 1 :]))
            return [(*beside[:d], _copies(shapes[0][d]), *beside[d:])]

        return Arrangement((1.0,), lambda xs: (torch.stack(list(xs), d),), adjoint, laid=stacked), parts
    d = dim % parts[0].dim()
    sizes = [part.shape[d] for part in parts]

    def split(signals: Sequence[torch.Tensor | None]) -> Sequence[torch.Tensor]:
        return torch.split(_present(signals)[0], sizes, LEAD + d)

    beside = d == 1 and parts[0].dim() == 4

    def joined(layouts: Sequence[Layout | None], shapes: Sequence[torch.Size]) -> Sequence[Layout]:
        return [concatenated(layouts, d, sizes, shapes[0])]

    return Arrangement((1.0,), lambda xs: (torch.cat(list(xs), d),), split, pointwise=beside, laid=joined), parts


@reads("chunk", "split", "split_with_sizes", "tensor_split", "unbind", "unsafe_chunk", "unsafe_split")
def split(context: CallContext, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Splitting. The signals of the parts are concatenated."""
    name = context.name
    dim = kwargs.get("dim", args[0] if name == "unbind" and args else args[1] if len(args) > 1 else 0) % input.dim()
    method: Callable[..., Sequence[torch.Tensor]] = getattr(torch.Tensor, name)

    def apply(tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return tuple(method(tensors[0], *args, **kwargs))

    sizes = [part.shape for part in apply([torch.empty(input.shape, device="meta")])]

    def adjoint(signals: Sequence[torch.Tensor | None]) -> Sequence[torch.Tensor]:
        like = _present(signals)[0]
        parts = [
            like.new_zeros((*like.shape[:LEAD], *size)) if signal is None else signal
            for signal, size in zip(signals, sizes, strict=True)
        ]
        return [torch.stack(parts, LEAD + dim) if name == "unbind" else torch.cat(parts, LEAD + dim)]

    apart = dim == 1 and input.dim() == 4 and name != "unbind"

    def parted(layouts: Sequence[Layout | None], shapes: Sequence[torch.Size]) -> Sequence[Layout]:
        (layout,) = layouts
        assert layout is not None
        found, start = [], 0
        for shape in shapes:
            at = range(start, start + (1 if name == "unbind" else shape[dim]))
            axis = sliced(layout[dim], at)
            found.append((*layout[:dim], *(() if name == "unbind" else (axis,)), *layout[dim + 1 :]))
            start = at.stop
        return found

    return Arrangement(scale=(1.0,), apply=apply, adjoint=adjoint, pointwise=apart, laid=parted), (input,)


@reads("glu")
def gated_half(context: CallContext, input: torch.Tensor, dim: int = -1) -> Read:
    """GLU: the second half of the channels gates the first half. All signal passes to the first half."""
    del context
    d = dim % input.dim()
    half = input.shape[d] // 2

    def adjoint(p: torch.Tensor) -> torch.Tensor:
        return torch.cat([p, torch.zeros_like(p)], LEAD + d)

    operation, operands = _single(input, lambda x: x.narrow(d, 0, half), adjoint, laid=_cut({d: range(half)}))
    assert isinstance(operation, Arrangement)
    operation.factor = UNIT
    return operation, operands


@reads("pad")
def pad(
    context: CallContext, input: torch.Tensor, pad: Sequence[int], mode: str = "constant", value: Number | None = None
) -> Read:  # fmt: skip
    """Padding. Constant padding is not a neuron. Padding by reflection or replication contains copies of neurons.

    The constant must be zero, or minus infinity before a maximum, where padding is never the winner.
    """
    pads = [int(p) for p in pad]
    padded = {input.dim() - 1 - k // 2 for k, side in enumerate(pads) if side}
    axes = tuple(Resampled(place, 1.0) if place in padded else Kept(place) for place in range(input.dim()))
    if mode != "constant":
        return _indexed(input, lambda x: _pad_any(x, pads, mode), axes=axes)
    if value not in (None, 0, -math.inf):
        context.refuse(f"padding with {value} adds evidence at positions without a neuron.", "Pad with zeros.")

    def adjoint(p: torch.Tensor) -> torch.Tensor:
        return F.pad(p, [-side for side in pads])

    return _single(input, lambda x: F.pad(x, pads), adjoint, made=True, axes=axes)


def _pad_any(x: torch.Tensor, pads: list[int], mode: str) -> torch.Tensor:
    """Pad by copies, also for integers and masks, which PyTorch does not support. Exact up to 2^53 neurons."""
    if x.is_floating_point():
        return F.pad(x, pads, mode)
    return F.pad(x.to(torch.float64), pads, mode).to(x.dtype)
