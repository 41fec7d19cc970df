"""Construction of modules from layers: the registry of builders, and helpers to read layer options."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .._loaded import ModelError
from ._plan import Layer
from ._schema import OPTIONS

Shape = tuple[int, ...]
"""Shape of a blob of one image, with the batch axis first."""

Builder = Callable[[Layer, Sequence[Shape]], torch.nn.Module]
"""Function from a layer and its input shapes to a module with parameters on the meta device."""

PARAMETERS = ("weight", "bias", "mean", "variance", "factor")
"""Attribute names of a module's parameters, in the order of Caffe's parameter blobs."""


@dataclass(frozen=True)
class Kind:
    """A type of layer.

    Attributes:
        build: creates the module.
        bottoms: minimum and maximum number of inputs.
        tops: maximum number of outputs.
    """

    build: Builder
    bottoms: tuple[int, int]
    tops: int


KINDS: dict[str, Kind] = {}
MANY = 1 << 20


def builds(kind: str, bottoms: tuple[int, int] = (1, 1), tops: int = 1) -> Callable[[Builder], Builder]:
    """Register a builder for a type of layer."""

    def register(build: Builder) -> Builder:
        KINDS[kind] = Kind(build, bottoms, tops)
        return build

    return register


def build(layer: Layer, shapes: Sequence[Shape]) -> torch.nn.Module:
    """Build the module of a layer.

    Raises:
        ModelError: an unsupported type, or options and inputs that do not match.
    """
    kind = KINDS.get(layer.kind)
    if kind is None:
        near = next((kind for kind in KINDS if kind.lower() == layer.kind.lower()), None)
        hint = (
            "the documentation, docs/how-to/caffe.md, lists those that are." if near is None else f"is {near!r} meant?"
        )
        layer.fail(f"layers of type {layer.kind!r} are not supported; {hint}")
    if layer.strange:
        layer.fail(f"its {layer.strange[0]!r} is not known, so it is unknown what it computes; correct or remove it.")
    low, high = kind.bottoms
    if not low <= len(shapes) <= high:
        layer.fail(f"it has {len(shapes)} bottoms, {low if low == high else f'{low} or more'} expected.")
    if len(layer.outputs) > kind.tops:
        layer.fail(f"it has {len(layer.outputs)} tops, {kind.tops} expected.")
    for option, value in layer.message.ListFields():
        numbers = [value for _, value in value.ListFields()] if option.name in OPTIONS else []
        if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
            layer.fail(f"an option in {option.name} is NaN or infinite.")
    try:
        return kind.build(layer, shapes)
    except ModelError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, OverflowError) as error:
        layer.fail(f"its options make no sense: {' '.join(str(error).split())[:200]}")


def axis_of(layer: Layer, value: int, dims: int, *, images: bool = False, end: bool = False) -> int:
    """An axis as a non-negative index.

    Args:
        layer: the layer, for messages.
        value: the axis in the file; negative values count from the last axis.
        dims: number of dimensions of the blob.
        images: whether the batch axis is allowed.
        end: whether the position after the last axis is allowed.
    """
    axis = value + dims + (1 if end else 0) if value < 0 else value
    if not 0 <= axis < dims + (1 if end else 0):
        layer.fail(f"axis {value} does not exist in its input of {dims} dimensions.")
    if axis == 0 and not images:
        layer.fail("axis 0 would mix the images of a batch; only networks that treat images alike are read.")
    return axis


def spatial(layer: Layer, options: Any, name: str, dims: int, default: int | None = None) -> tuple[int, ...]:
    """`kernel_size`, `stride`, `pad` or `dilation`, given once, per dimension, or as `_h` and `_w`."""
    given = list(getattr(options, name))
    short = name.removesuffix("_size")
    both = [f"{short}_{side}" for side in ("h", "w")]
    apart = [getattr(options, part) for part in both if both[0] in options.DESCRIPTOR.fields_by_name]
    if any(options.HasField(part) for part in both[: len(apart)]):
        if given or dims != 2:
            layer.fail(f"give either {name} or, in two dimensions of space, {both[0]} and {both[1]}.")
        least = default or 0
        given = [value if options.HasField(part) else least for part, value in zip(both, apart, strict=True)]
    if not given:
        if default is None:
            layer.fail(f"{name} is missing.")
        given = [default]
    if len(given) not in {1, dims}:
        layer.fail(f"{name} has {len(given)} values, 1 or {dims} expected.")
    if name != "pad" and min(given) < 1:
        layer.fail(f"{name} is {given}; it must be at least 1.")
    return tuple(given) * (dims if len(given) == 1 else 1)


def count_of(layer: Layer, options: Any) -> int:
    """`num_output`."""
    if options.num_output < 1:
        layer.fail("num_output is missing.")
    number: int = options.num_output
    return number


def space_of(layer: Layer, shape: Shape, dims: Sequence[int] = (1, 2, 3)) -> int:
    """The number of spatial dimensions of the input."""
    if len(shape) - 2 not in dims:
        layer.fail(f"its input of shape {shape} has {len(shape)} dimensions; {min(dims) + 2} or more expected.")
    return len(shape) - 2
