"""The axes of concatenations and of slices: which part of a row of tokens is what."""

from __future__ import annotations

from collections.abc import Sequence

from ._layout import (
    Axis,
    Layout,
    MixedImagesError,
    Origin,
    Role,
    check_images,
    first_image,
    holds_images,
    images_of,
    merged,
    size_of,
    whole,
)


def concatenated(layouts: Sequence[Layout | None], dim: int, sizes: Sequence[int], shape: Sequence[int]) -> Layout:
    """Return the layout of a concatenation along `dim`. Layouts of constants are `None`.

    Raises:
        MixedImagesError: the concatenation mixes images.
    """
    known = [layout for layout in layouts if layout is not None]
    result: list[Axis] = []
    for place in range(len(shape)):
        if place != dim:
            result.append(merged([layout[place] for layout in known]))
            continue
        axes = [None if layout is None else layout[place] for layout in layouts]
        if any(axis is not None and holds_images(axis) for axis in axes):
            result.append(_more_views(axes, sizes))
        else:
            result.append(_in_a_row(axes, sizes))
    check_images(result, known)
    return tuple(result)


def _more_views(axes: Sequence[Axis | None], sizes: Sequence[int]) -> Axis:
    """Concatenate batches: they become views of the same images."""
    first = axes[0]
    if first is None or any(axis is None or images_of(axis) != images_of(first) for axis in axes):
        raise MixedImagesError
    if len(set(sizes)) != 1:
        raise MixedImagesError
    return (*whole(Origin(len(axes), fallback=Role.VIEW)), *first)


def _in_a_row(axes: Sequence[Axis | None], sizes: Sequence[int]) -> Axis:
    """Concatenate axes. Concatenated channels are channels; concatenated positions are tokens."""
    roles = {factor.origin.role for axis in axes if axis is not None for factor in axis}
    origin = Origin(sum(sizes))
    if roles == {Role.CHANNEL}:
        origin.own = Role.CHANNEL
    elif roles & {Role.SPACE, Role.TOKEN}:
        origin.own = Role.TOKEN
        origin.parts = tuple(zip(axes, sizes, strict=True))
    else:
        origin.fallback = Role.CHANNEL if roles and roles <= {Role.CHANNEL, Role.OPEN} else Role.OPEN
    return whole(origin)


def sliced(axis: Axis, positions: range) -> Axis:
    """Return the axis for a slice of its positions.

    Raises:
        MixedImagesError: the slice omits images or changes their order.
    """
    if positions == range(size_of(axis)):
        return axis
    if holds_images(axis):
        return _sliced_views(axis, positions)
    if len(axis) == 1 and axis[0].step == 1 and axis[0].size == axis[0].origin.size:
        below = axis[0].origin
        if below.parts is not None and positions.step == 1:
            axes, sizes = _whole_parts(axis, positions)
            if sum(sizes) == len(positions):
                return axes[0] or () if len(axes) == 1 else _in_a_row(axes, sizes)
        if len(positions) == 1:
            return ()
        stride = None if below.stride is None else below.stride * abs(positions.step)
        if below.parts is not None:
            return whole(Origin(len(positions)))
        return whole(Origin(len(positions), below=below, stride=stride))
    return () if len(positions) == 1 else whole(Origin(len(positions)))


def parts_of(axis: Axis) -> list[tuple[Axis | None, int]]:
    """Return the concatenated axes of an axis of tokens and their sizes; only the axis itself if it is no such axis."""
    if len(axis) != 1 or axis[0].origin.parts is None or axis[0].size != axis[0].origin.size:
        return [(axis, size_of(axis))]
    found: list[tuple[Axis | None, int]] = []
    for part, size in axis[0].origin.parts:
        found += [(part, size)] if part is None else parts_of(part)
    return found


def _whole_parts(axis: Axis, positions: range) -> tuple[list[Axis | None], list[int]]:
    """Return those concatenated axes that lie between two positions, and their sizes."""
    axes, sizes, start = [], [], 0
    for part, size in parts_of(axis):
        if positions.start <= start and start + size <= positions.stop:
            axes.append(part)
            sizes.append(size)
        start += size
    return axes, sizes


def _sliced_views(axis: Axis, positions: range) -> Axis:
    """Return the axis for a slice of the views that precede the images."""
    rest = axis[first_image(axis) :]
    inner = size_of(rest)
    if positions.step != 1 or positions.start % inner or len(positions) % inner:
        raise MixedImagesError
    views = len(positions) // inner
    return rest if views == 1 else (*whole(Origin(views, fallback=Role.VIEW)), *rest)
