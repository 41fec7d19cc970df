"""Readers for operations that move neurons about: reshaping, slicing, concatenation, padding, casting.

Adjoints act on signals, which have two dimensions (polarity, target) in front of the activation's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ._families import Activation, Arrangement
from ._reading import Number, Read, Reading, reads

LEAD = 2
"""Dimensions of a signal in front of the activation's own."""


def _single(
    input: torch.Tensor,
    apply: Callable[[torch.Tensor], Any],
    adjoint: Callable[[torch.Tensor], torch.Tensor],
    *,
    scale: tuple[float, ...] | None = (1.0,),
    made: bool = False,
    pointwise: bool = False,
) -> Read:
    """An arrangement of one tensor into one."""
    return (
        Arrangement(
            scale=scale,
            apply=lambda tensors: (apply(tensors[0]),),
            adjoint=lambda signals: [adjoint(_present(signals)[0])],
            made=made,
            pointwise=pointwise,
        ),
        (input,),
    )


def _present(signals: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
    """Signals of which at least one arrived, the rest filled with zeros where shapes agree (see `_filled`)."""
    return [signal for signal in signals if signal is not None]


@reads("contiguous", "clone", "detach", "detach_", "data.__get__", "alias", "positive", "requires_grad_", "lift_fresh")
def same(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """The same numbers."""
    del reading, args, kwargs
    return Activation(scale=(1.0,), floor=None, linear=True), (input,)


@reads("to", "type", "type_as", "float", "double", "half", "bfloat16", "cpu", "cuda")
def cast(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read | None:
    """Another precision or device; the sweep has its own precision."""
    del args, kwargs
    if not input.is_floating_point():
        reading.refuse("numbers without gradients (masks, indices) become activations.")
    device = input.device
    return _single(input, lambda x: x, lambda p: p.to(device), pointwise=input.dim() == 4)


@reads(
    "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "ravel", "atleast_2d",
    "atleast_3d", "_unsafe_view",
)  # fmt: skip
def reshape(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """The same numbers in row-major order under another shape."""
    method: Callable[..., torch.Tensor] = getattr(torch.Tensor, reading.name, None) or getattr(torch, reading.name)

    def adjoint(p: torch.Tensor) -> torch.Tensor:
        return p.reshape(*p.shape[:LEAD], *input_shape)

    if any(isinstance(arg, torch.dtype) for arg in args) or "dtype" in kwargs:
        reading.refuse("viewing the bits as another type has no rule.")
    input_shape = input.shape
    return _single(input, lambda x: method(x.contiguous(), *args, **kwargs), adjoint, scale=())


@reads("permute", "transpose", "swapaxes", "swapdims", "t", "movedim", "moveaxis", "T.__get__", "mT.__get__")
def permute(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Dimensions in another order."""
    name = reading.name

    def apply(x: torch.Tensor) -> torch.Tensor:
        if name.endswith(".__get__"):
            return x.mT if name.startswith("m") else x.permute(*range(x.dim() - 1, -1, -1))
        result: torch.Tensor = getattr(torch.Tensor, name)(x, *args, **kwargs)
        return result

    # An index tensor of distinct sizes is not needed: the order of dimensions is read off strides of an empty shape.
    order = _order(apply, input.dim())
    back = sorted(range(len(order)), key=order.__getitem__)

    def adjoint(p: torch.Tensor) -> torch.Tensor:
        return p.permute(*range(LEAD), *(LEAD + d for d in back))

    return _single(input, apply, adjoint, scale=())


def _order(apply: Callable[[torch.Tensor], torch.Tensor], dims: int) -> list[int]:
    """Which input dimension each output dimension is, found by permuting a tensor of distinct sizes."""
    return [size - 1 for size in apply(torch.empty(tuple(range(1, dims + 1)), device="meta")).shape]


@reads("expand", "expand_as", "repeat", "tile", "repeat_interleave", "broadcast_to")
def repeat(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Copies: their signals add up."""
    method: Callable[..., torch.Tensor] = getattr(torch.Tensor, reading.name)
    return _indexed(input, lambda x: method(x, *args, **kwargs))


@reads("roll", "flip", "fliplr", "flipud", "index_select", "gather", "take_along_dim", "pixel_shuffle",
       "pixel_unshuffle", "channel_shuffle", "narrow", "select", "diagonal", "tril", "triu")  # fmt: skip
def shuffle(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Neurons taken from given places."""
    if any(reading.carries(item) for item in (*args, *kwargs.values())):
        reading.refuse("the places it takes neurons from depend on the images.")
    name = reading.name
    owner = next(place for place in (torch.Tensor, torch, F) if hasattr(place, name))
    method: Callable[..., torch.Tensor] = getattr(owner, name)
    return _indexed(input, lambda x: method(x, *args, **kwargs))


@reads("getitem")
def getitem(reading: Reading, input: torch.Tensor, index: Any) -> Read:
    """Slicing and indexing by constants."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(reading.carries(part) for part in parts):
        reading.refuse("the places it takes neurons from depend on the images.")
    basic = all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)
    if not basic or any(isinstance(part, bool) for part in parts):
        return _indexed(input, lambda x: x[index])
    shape = input.shape

    def adjoint(p: torch.Tensor) -> torch.Tensor:
        whole = p.new_zeros((*p.shape[:LEAD], *shape))
        whole[(slice(None),) * LEAD + parts] = p
        return whole

    # Images chosen by number would choose among signals.
    channels = len(parts) == 2 and parts[0] == slice(None) and isinstance(parts[1], slice) and input.dim() == 4
    return _single(input, lambda x: x[index], adjoint, pointwise=channels)


def _indexed(input: torch.Tensor, apply: Callable[[torch.Tensor], torch.Tensor]) -> Read:
    """Any choice of neurons, told by what it does to their numbers; places left empty are numbered 0 of 1 + count."""
    shape, count = input.shape, input.numel()

    def adjoint(p: torch.Tensor) -> torch.Tensor:
        numbers = torch.arange(1, count + 1, device=p.device).reshape(shape)
        places = apply(numbers).flatten()
        whole = p.new_zeros((*p.shape[:LEAD], count + 1))
        whole.index_add_(-1, places, p.flatten(LEAD))
        return whole[..., 1:].reshape(*p.shape[:LEAD], *shape)

    return _single(input, apply, adjoint)


@reads("cat", "concat", "concatenate", "stack", "hstack", "vstack")
def concatenate(reading: Reading, tensors: Sequence[torch.Tensor], dim: int = 0, **kwargs: Any) -> Read:
    """Concatenation: each part takes its slice of the signal."""
    if reading.name in {"hstack", "vstack"}:
        reading.refuse("only `cat` and `stack` have a rule.", "Use torch.cat.")
    if "axis" in kwargs:
        dim = kwargs["axis"]
    parts = tuple(tensors)
    if any(part.dim() == 1 and part.numel() == 0 for part in parts):
        reading.refuse("an empty tensor of one dimension is concatenated.", "Leave it out.")
    if reading.name == "stack":
        d = dim % (parts[0].dim() + 1)

        def adjoint(signals: Sequence[torch.Tensor | None]) -> Sequence[torch.Tensor]:
            return _present(signals)[0].unbind(LEAD + d)

        return Arrangement(scale=(1.0,), apply=lambda xs: (torch.stack(list(xs), d),), adjoint=adjoint), parts
    d = dim % parts[0].dim()
    sizes = [part.shape[d] for part in parts]

    def split(signals: Sequence[torch.Tensor | None]) -> Sequence[torch.Tensor]:
        return torch.split(_present(signals)[0], sizes, LEAD + d)

    beside = d == 1 and parts[0].dim() == 4
    return Arrangement((1.0,), lambda xs: (torch.cat(list(xs), d),), split, pointwise=beside), parts


@reads("chunk", "split", "split_with_sizes", "tensor_split", "unbind", "unsafe_chunk", "unsafe_split")
def split(reading: Reading, input: torch.Tensor, *args: Any, **kwargs: Any) -> Read:
    """Splitting: the parts' signals are put back side by side."""
    name = reading.name
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
    return Arrangement(scale=(1.0,), apply=apply, adjoint=adjoint, pointwise=apart), (input,)


@reads("pad")
def pad(
    reading: Reading, input: torch.Tensor, pad: Sequence[int], mode: str = "constant", value: Number | None = None
) -> Read:  # fmt: skip
    """Padding: with a constant its places are no neurons; by reflection or repetition they are copies.

    The constant is zero, or minus infinity before a maximum, which it cannot win.
    """
    pads = [int(p) for p in pad]
    if mode != "constant":
        return _indexed(input, lambda x: _pad_any(x, pads, mode))
    if value not in (None, 0, -math.inf):
        reading.refuse(f"padding with {value} puts evidence where there is no neuron.", "Pad with zeros.")

    def adjoint(p: torch.Tensor) -> torch.Tensor:
        return F.pad(p, [-side for side in pads])

    return _single(input, lambda x: F.pad(x, pads), adjoint, made=True)


def _pad_any(x: torch.Tensor, pads: list[int], mode: str) -> torch.Tensor:
    """Padding by copies also for numbers and masks, whose types PyTorch does not pad; exact up to 2^53 neurons."""
    if x.is_floating_point():
        return F.pad(x, pads, mode)
    return F.pad(x.to(torch.float64), pads, mode).to(x.dtype)
