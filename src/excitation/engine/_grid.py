"""Converts tensors to maps: which axes of a tensor form the map, and in which order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ._concatenation import parts_of
from ._layout import Axis, Layout, Role, first_image, images_axis, size_of


@dataclass(frozen=True)
class Grid:
    """How a tensor becomes `(image, channel, *views, *space)`.

    Attributes:
        shape: sizes of the factors, axis by axis.
        order: indices of the factors for images, channels, views and spatial axes, in this order.
        images: number of images.
        views: sizes of the view axes.
        space: sizes of the spatial axes.
        strides: number of image pixels per position of each spatial axis; `None` if unknown.
        plain: whether the tensor already has the shape `(image, channel, *space)`.
        patches: for tokens of which only some are patches of the image: the token axis, the first patch and the number
            of patches; else `None`.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    images: int
    views: tuple[int, ...]
    space: tuple[int, ...]
    strides: tuple[float | None, ...]
    plain: bool
    patches: tuple[int, int, int] | None = None

    def arranged(self, x: torch.Tensor, lead: int = 0) -> torch.Tensor:
        """Reshape a tensor with `lead` leading dimensions to `(*lead, image, channel, *views, *space)`.

        Tokens that are no patches of the image are left out.
        """
        if self.patches is not None:
            axis, start, length = self.patches
            x = x.narrow(lead + axis, start, length)
        before = tuple(x.shape[:lead])
        count = x[(0,) * lead].numel() // max(1, math.prod(self.shape)) if self.images == 1 else 1
        shape = list(self.shape)
        if count > 1:  # the layout was computed with one image
            shape[self.order[0]] = count
        images = shape[self.order[0]]
        moved = x.reshape(*before, *shape).permute(*range(lead), *(lead + place for place in self.order))
        return moved.reshape(*before, images, -1, *self.views, *self.space)


def axis_names(layout: Layout | None, count: int) -> tuple[str, ...]:
    """Return the name of each of `count` axes; `1` for an axis of size one without a role."""
    if layout is None:
        return (Role.OPEN.value,) * count
    return tuple("*".join(factor.origin.role.value for factor in axis) or "1" for axis in layout)


def describe(layout: Layout) -> str:
    """Describe the axes for messages, for example `(image, token, channel)`."""
    return f"({', '.join(axis_names(layout, len(layout)))})"


def grid_of(layout: Layout | None, shape: Sequence[int]) -> Grid | str:
    """Return how a tensor is converted to maps. If it has no maps, return the reason, which completes a sentence."""
    if layout is None:
        return "it was made by an operation without a rule, so it is unknown which of its axes are spatial"
    factors = [factor for axis in layout for factor in (axis or ())]
    sizes = tuple(factor.size for factor in factors)
    places: dict[Role, list[int]] = {role: [] for role in Role}
    for place, factor in enumerate(factors):
        places[factor.origin.role].append(place)
    if places[Role.TOKEN]:
        return _grid_of_tokens(layout, shape)
    if places[Role.OPEN]:
        return f"its axes are {describe(layout)}: it is unknown whether they are spatial"
    if not places[Role.SPACE]:
        return f"it has no spatial axes: its output is {tuple(shape)}, {describe(layout)}"
    origins: dict[int, list[int]] = {}
    for place in places[Role.SPACE]:
        origins.setdefault(id(factors[place].origin), []).append(place)
    groups = sorted(origins.values(), key=lambda group: factors[group[0]].origin.root().order)
    order: list[int] = []
    space, strides = [], []
    for group in groups:
        group.sort(key=lambda place: -factors[place].step)
        origin = factors[group[0]].origin
        if math.prod(sizes[place] for place in group) != origin.size:
            return f"its axes are {describe(layout)}: it has only some of the positions"
        order += group
        space.append(origin.size)
        strides.append(origin.stride)
    images = places[Role.IMAGE]
    if len(images) != 1 and math.prod(sizes[place] for place in images) > 1:
        return f"its axes are {describe(layout)}: several of them contain images"
    if not images:
        sizes, images = (*sizes, 1), [len(sizes)]
    head = [*images, *places[Role.CHANNEL], *places[Role.VIEW]]
    views = tuple(sizes[place] for place in places[Role.VIEW] if sizes[place] > 1)
    every = (*head, *order)
    plain = not views and sizes == tuple(shape) and every == tuple(range(len(sizes)))
    return Grid(sizes, every, sizes[images[0]], views, tuple(space), tuple(strides), plain)


def _grid_of_tokens(layout: Layout, shape: Sequence[int]) -> Grid | str:
    """Return the grid of those tokens that are patches of the image, or the reason why there is none."""
    places = [place for place, axis in enumerate(layout) if any(f.origin.role is Role.TOKEN for f in axis)]
    found = _patches(layout[places[0]]) if len(places) == 1 else None
    if found is None:
        return f"its axes are {describe(layout)}: which tokens are patches of the picture is unknown"
    start, patches = found
    place, length = places[0], size_of(patches)
    inner = grid_of(
        (*layout[:place], patches, *layout[place + 1 :]), (*shape[:place], length, *shape[place + 1 :])
    )  # fmt: skip
    return inner if isinstance(inner, str) else replace(inner, plain=False, patches=(place, start, length))


def _patches(axis: Axis) -> tuple[int, Axis] | None:
    """Return the first patch and the axis of the patches among concatenated tokens.

    The other tokens must be constants or single summaries, such as class tokens; else the result is `None`.
    """
    found: list[tuple[int, Axis]] = []
    start = 0
    for part, size in parts_of(axis):
        if part is not None and {factor.origin.role for factor in part} == {Role.SPACE}:
            found.append((start, part))
        elif part:
            return None
        start += size
    return found[0] if len(found) == 1 else None


def per_image(layout: Layout | None, x: torch.Tensor, lead: int) -> torch.Tensor:
    """Sum over all axes except the `lead` leading dimensions and the images. The result has shape `(*lead, image)`.

    Without a layout, the first axis is the image axis.
    """
    axis = 0 if layout is None else images_axis(layout)
    if axis is None:
        return x.flatten(lead).sum(-1, keepdim=True)
    at = 0
    sizes = [1, x.shape[lead + axis], 1]
    if layout is not None:
        at = first_image(layout[axis])
        before = math.prod([f.size for f in layout[axis][:at]])
        behind = math.prod([f.size for f in layout[axis][at + 1 :]])
        sizes = [before, x.shape[lead + axis] // (before * behind), behind]
    rest = tuple(x.shape[lead:])
    x = x.reshape(*x.shape[:lead], *rest[:axis], *sizes, *rest[axis + 1 :])
    image = lead + axis + 1
    return x.movedim(image, lead).flatten(lead + 1).sum(-1)
