"""The roles of a tensor's axes: images, channels, space, tokens, views. The record stores them; they are not guessed.

Each axis of a tensor is a product of *factors*, in row-major order: `(N * V, C, H, W)` has the factors `[N, V]`, `[C]`,
`[H]` and `[W]`. An *origin* is an axis that an operation created. A factor is an origin or a part of one. Reshaping `H`
to `(H / 7, 7)` gives two factors of one origin, and the inverse reshape joins them again. The role of an origin is
determined when an operation uses it. For example, a convolution has channels on its second axis and spatial axes after
it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from .._errors import UnsupportedOperationError
from ._axes import Axes, Kept, Made, Resampled


class Role(Enum):
    """The meaning of the positions of an axis."""

    IMAGE = "image"
    VIEW = "view"
    CHANNEL = "channel"
    SPACE = "space"
    TOKEN = "token"
    OPEN = "unknown"


@dataclass(slots=True, eq=False)
class Origin:
    """An axis created by an operation.

    Attributes:
        size: number of positions.
        own: its own role; `Role.OPEN` if it is not known yet.
        below: the origin that it was resampled from. It has the same role.
        stride: number of image pixels per position, for a spatial axis with a known scale.
        order: index of the spatial axis; 0 for the first.
        fallback: the role if no operation determines it.
        parts: for a concatenation, the concatenated axes (`None` for constants) and their sizes.
    """

    size: int
    own: Role = Role.OPEN
    below: Origin | None = None
    stride: float | None = None
    order: int = 0
    fallback: Role = Role.OPEN
    parts: tuple[tuple[Axis | None, int], ...] | None = None

    def root(self) -> Origin:
        """The origin that stores the role."""
        origin = self
        while origin.below is not None:
            origin = origin.below
        return origin

    @property
    def role(self) -> Role:
        """The role of the axis."""
        root = self.root()
        return root.own if root.own is not Role.OPEN else root.fallback

    def claim(self, role: Role, order: int = 0) -> None:
        """Set the role if it is not set yet."""
        root = self.root()
        if root.own is Role.OPEN:
            root.own, root.order = role, order


@dataclass(frozen=True, slots=True)
class Factor:
    """A part of an origin. Position `i` of the origin has the index `(i // step) % size` in this factor."""

    origin: Origin
    step: int
    size: int


Axis = tuple[Factor, ...]
"""Factors in row-major order; none for an axis with one position of no meaning."""

Layout = tuple[Axis, ...]
"""The axes of a tensor."""


class MixedImagesError(Exception):
    """An operation combines, selects or repeats images of the batch."""


def whole(origin: Origin) -> Axis:
    """Return the axis that consists of a whole origin."""
    return (Factor(origin, 1, origin.size),)


def size_of(axis: Axis) -> int:
    """Return the number of positions of an axis."""
    return math.prod([factor.size for factor in axis])


def images_axis(layout: Layout) -> int | None:
    """Return the index of the image axis; `None` if no axis or more than one axis contains the images."""
    found = [place for place, axis in enumerate(layout) if any(f.origin.own is Role.IMAGE for f in axis)]
    return found[0] if len(found) == 1 else None


def holds_images(axis: Axis) -> bool:
    """Whether an axis contains the images of the batch."""
    return any(factor.origin.own is Role.IMAGE and factor.size > 1 for factor in axis)


def input_layout(shape: Sequence[int], images: Origin | None = None) -> Layout:
    """Return the layout of an input. The first axis is the batch. Later operations determine the roles of the others.

    Args:
        shape: shape of the tensor.
        images: the origin of the batch axis, if several inputs share it.
    """
    images = images or Origin(shape[0], Role.IMAGE)
    rest = [Origin(size, stride=1.0) for size in shape[1:]]
    if len(shape) in {3, 4}:
        rest[0].fallback = Role.CHANNEL
        for order, origin in enumerate(rest[1:]):
            origin.fallback, origin.order = Role.SPACE, order
    elif rest:  # views, or channels of a volume: a three-dimensional convolution determines which
        rest[0].fallback = Role.VIEW
    return (whole(images), *(whole(origin) for origin in rest))


def assumed(shape: Sequence[int], images: Origin) -> Layout | None:
    """Return the layout of a result of an operation without a rule. The first axis is the batch if the sizes agree."""
    if not shape or shape[0] != images.size:
        return None
    return (whole(images), *(whole(Origin(size)) for size in shape[1:]))


def reduced(layout: Layout, shape: Sequence[int]) -> Layout | None:
    """Return the layout of a tensor after reduction of some axes to size one; `None` if the shape does not agree."""
    if len(layout) != len(shape):
        return None
    result = []
    for axis, size in zip(layout, shape, strict=True):
        if size not in {size_of(axis), 1} or (size == 1 and holds_images(axis)):
            return None
        result.append(axis if size == size_of(axis) else ())
    return tuple(result)


# How operations treat layouts ----------------------------------------------------------------------------------------


def claim_channels(layout: Layout, axis: int) -> None:
    """Set the role of an axis to channels, because the operation defines it so."""
    for factor in layout[axis]:
        factor.origin.claim(Role.CHANNEL)


def suggest_channels(layout: Layout, axis: int) -> None:
    """Set the fallback role of an axis to channels, because the operation mixes its positions.

    This is only a fallback: a linear layer can also mix the pixels of a flattened image.
    """
    if len(layout[axis]) == 1 and layout[axis][0].origin.root().fallback is Role.OPEN:
        layout[axis][0].origin.claim(Role.CHANNEL)


def claim_space(layout: Layout, count: int) -> None:
    """Set the roles of the last axes, because the operation uses channels followed by `count` spatial axes."""
    for factor in layout[0]:
        factor.origin.claim(Role.VIEW)
    # Space first: if blocks of pixels were stacked as channels, an image axis is part of both.
    for order, axis in enumerate(layout[-count:]):
        for factor in axis:
            factor.origin.claim(Role.SPACE, order)
    claim_channels(layout, 1)


def by_axes(layout: Layout, axes: Axes, shape: Sequence[int]) -> Layout:
    """Return the layout of an output. `axes` describes the relation of its axes to the axes of the input.

    Raises:
        MixedImagesError: the output does not keep the image axis.
    """
    kept = {source.axis % len(layout) for source in axes if isinstance(source, Kept)}
    for place, axis in enumerate(layout):
        if place not in kept and holds_images(axis):
            raise MixedImagesError
    mixed = [axis for place, axis in enumerate(layout) if place not in kept]
    result: list[Axis] = []
    for source, size in zip(axes, shape, strict=True):
        if isinstance(source, Made):
            result.append(() if size == 1 else whole(Origin(size, _made(mixed))))
        elif isinstance(source, Kept):
            result.append(layout[source.axis])
        else:
            result.append(_resampled(layout[source.axis], source, size))
    return tuple(result)


def _made(mixed: Sequence[Axis]) -> Role:
    """Return the role of an axis that combines other axes: channels, unless only spatial axes were combined."""
    roles = {factor.origin.role for axis in mixed for factor in axis}
    return Role.OPEN if roles and roles <= {Role.SPACE, Role.TOKEN} else Role.CHANNEL


def _resampled(axis: Axis, source: Resampled, size: int) -> Axis:
    # A block of positions is a larger position.
    if len(axis) != 1 or axis[0].step * axis[0].size != axis[0].origin.size:
        return whole(Origin(size))
    below = axis[0].origin
    step = source.step if source.step is not None else axis[0].size / size if size else 0.0
    stride = None if below.stride is None else below.stride * axis[0].step * step
    return whole(Origin(size, below=below, stride=stride))


def broadcast(layouts: Sequence[Layout], shape: Sequence[int]) -> Layout:
    """Return the layout of the result of an element-wise operation with broadcasting.

    Raises:
        MixedImagesError: the operation combines different images.
    """
    result: list[Axis] = []
    for back in range(len(shape), 0, -1):
        size = shape[-back]
        axes = [layout[-back] for layout in layouts if len(layout) >= back and size_of(layout[-back]) == size]
        axes = [axis for axis in axes if axis]
        # If only constants have more than one position, the axis is new.
        result.append(merged(axes) if axes or size == 1 else whole(Origin(size)))
    check_images(result, layouts)
    return tuple(result)


def check_images(result: Sequence[Axis], layouts: Sequence[Layout]) -> None:
    """Refuse results that do not contain each image exactly once.

    Raises:
        MixedImagesError: an image is missing, or images are combined.
    """
    for layout in layouts:
        for axis in layout:
            for factor in axis:
                if factor.origin.own is Role.IMAGE and factor.origin.size > 1:
                    counts = [f.size for other in result for f in other if f.origin is factor.origin]
                    if math.prod(counts) != factor.origin.size:
                        raise MixedImagesError
                    return


RANK = {Role.IMAGE: 0, Role.TOKEN: 1, Role.SPACE: 2, Role.VIEW: 3, Role.CHANNEL: 4, Role.OPEN: 5}
"""Which of several axes that meet says what their positions are: the smallest."""


def merged(axes: Sequence[Axis]) -> Axis:
    """Merge axes that are combined position by position."""
    if not axes:
        return ()
    first = axes[0]
    if len(axes) == 1 or all(axis is first for axis in axes):
        return first
    if any(holds_images(axis) for axis in axes):
        images = [images_of(axis) for axis in axes]
        if any(found != images[0] for found in images):
            raise MixedImagesError
    best = min(axes, key=lambda axis: min([RANK[f.origin.role] for f in axis], default=9))
    for axis in axes:
        if len(axis) == len(best):
            for factor, other in zip(axis, best, strict=True):
                if factor.size == other.size:
                    factor.origin.claim(other.origin.role, other.origin.root().order)
    return best


def images_of(axis: Axis) -> tuple[tuple[int, int, int], ...]:
    """Return the image factors of an axis: the number of positions after each factor, its step and its size."""
    found, behind = [], 1
    for factor in reversed(axis):
        if factor.origin.own is Role.IMAGE and factor.size > 1:
            found.append((behind, factor.step, factor.size))
        behind *= factor.size
    return tuple(found)


def reshaped(layout: Layout, shape: Sequence[int]) -> Layout:
    """Return the layout after a reshape to `shape`, in row-major order."""
    factors = [factor for axis in layout for factor in axis]
    if not all(shape):
        return tuple(whole(Origin(size)) for size in shape)
    result: list[Axis] = []
    place = 0
    rest: Factor | None = None
    for index, size in enumerate(shape):
        axis: list[Factor] = []
        left = size
        last = index == len(shape) - 1
        while True:
            factor = rest if rest is not None else factors[place] if place < len(factors) else None
            if factor is None:
                break
            if factor.size == 1:
                # An axis of size one takes one factor of size one. A larger axis takes those between its own factors.
                if left == 1 and axis and not last:
                    break
                axis.append(factor)
                rest, place = None, place + (rest is None)
                if size == 1 and not last:
                    break
                continue
            if left == 1:
                break
            take = math.gcd(left, factor.size)
            if take == factor.size:
                axis.append(factor)
                place += rest is None
                rest = None
            elif take > 1 and left == take:
                inner = factor.size // take
                axis.append(Factor(factor.origin, factor.step * inner, take))
                place += rest is None
                rest = Factor(factor.origin, factor.step, inner)
            else:
                return _unrelated(layout, shape)
            left //= take
        if left != 1:
            return _unrelated(layout, shape)
        result.append(_joined(axis))
    return tuple(result)


def _unrelated(layout: Layout, shape: Sequence[int]) -> Layout:
    """Return the layout after a reshape that splits axes across their borders. These axes lose their roles."""
    axis = images_axis(layout)
    if axis is None or not any(holds_images(part) for part in layout):
        return tuple(() if size == 1 else whole(Origin(size)) for size in shape)
    if axis == 0 and len(layout[0]) == 1 and shape and shape[0] == size_of(layout[0]):
        return (layout[0], *(whole(Origin(size)) for size in shape[1:]))
    raise MixedImagesError


def _joined(axis: Sequence[Factor]) -> Axis:
    """Join neighbouring factors of one origin. Factors of size one remain only if there are no others."""
    result: list[Factor] = []
    for factor in axis:
        if result and result[-1].origin is factor.origin and result[-1].step == factor.step * factor.size:
            result[-1] = Factor(factor.origin, factor.step, result[-1].size * factor.size)
        else:
            result.append(factor)
    many = [factor for factor in result if factor.size > 1 or factor.origin.own is Role.IMAGE]
    return tuple(many or result)


def first_image(axis: Axis) -> int:
    """Return the index of the first image factor of an axis. View factors can precede it."""
    return next(place for place, factor in enumerate(axis) if factor.origin.own is Role.IMAGE)


def refusal(where: str, kind: str = "picks, combines or repeats images of the batch") -> UnsupportedOperationError:
    """Return the error for an operation that makes the map of an image depend on other images."""
    return UnsupportedOperationError(
        f"{where}: it {kind}, so images would not have separate maps. Explain the images one by one, or choose a"
        " layer above it."
    )
