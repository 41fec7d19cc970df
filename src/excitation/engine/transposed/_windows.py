"""Windows of maps: the part of each activation from which a tile of positions can be reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float

from ..operations import Reach

Map = Float[torch.Tensor, "image channel rows columns"]
Patches = Float[torch.Tensor, "signal image channel height width"]
Reframed = Float[torch.Tensor, "signal image channel new_height new_width"]


@dataclass(frozen=True)
class Frame:
    """Intervals of equal length along one dimension, one for each tile. They can extend beyond the map.

    Attributes:
        starts: starts of the intervals.
        length: length of each interval.
    """

    starts: tuple[int, ...]
    length: int


@dataclass(frozen=True)
class Span:
    """For each tile, the positions along one dimension of a map from which the tile can be reached.

    Attributes:
        supports: first and last position of each tile, inside the map.
        size: size of the map.
    """

    supports: tuple[tuple[int, int], ...]
    size: int

    @cached_property
    def frame(self) -> Frame:
        """Return intervals of equal length that contain the supports, inside the map."""
        length = max(last - first + 1 for first, last in self.supports)
        return Frame(tuple(min(first, self.size - length) for first, _ in self.supports), length)

    def above(self, reach: Reach, axis: int, size: int) -> Span:
        """Return the span of the outputs of an operation with `size` outputs."""
        kernel, stride, before, dilation = (
            part[axis] for part in (reach.kernel, reach.stride, reach.before, reach.dilation)
        )
        span = (kernel - 1) * dilation
        found = []
        for first, last in self.supports:
            low = min(max(-((span - first - before) // stride), 0), size - 1)
            # A stride can skip a tile. The support then has one position, at which the probability is zero.
            found.append((low, max(low, min((last + before) // stride, size - 1))))
        return Span(tuple(found), size)

    def joined(self, other: Span) -> Span:
        """Return the positions from which the tile can be reached through either span."""
        pairs = zip(self.supports, other.supports, strict=True)
        return Span(tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in pairs), self.size)


@dataclass(frozen=True)
class Window:
    """The windows of all tiles in one map: intervals of rows and of columns."""

    rows: Span
    columns: Span

    def above(self, reach: Reach, shape: Sequence[int]) -> Window:
        """Return the windows of an operation's output with this shape."""
        return Window(self.rows.above(reach, 0, shape[-2]), self.columns.above(reach, 1, shape[-1]))

    def joined(self, others: Sequence[Window]) -> Window:
        """Return windows that contain the windows of several maps of the same size."""
        window = self
        for other in others:
            if other != window:
                window = Window(window.rows.joined(other.rows), window.columns.joined(other.columns))
        return window

    @cached_property
    def frames(self) -> tuple[Frame, Frame]:
        """Return the frames of the rows and the columns."""
        return self.rows.frame, self.columns.frame

    @property
    def whole(self) -> tuple[Frame, Frame]:
        """Return frames that cover the whole map, for each tile."""
        zeros = (0,) * len(self.rows.supports)
        return Frame(zeros, self.rows.size), Frame(zeros, self.columns.size)

    def below(self, reach: Reach) -> tuple[Frame, Frame]:
        """Return the frames of the inputs that these output windows depend on, including padding."""
        rows, columns = (
            Frame(
                tuple(start * stride - before for start in frame.starts),
                (frame.length - 1) * stride + (kernel - 1) * dilation + 1,
            )
            for frame, kernel, stride, before, dilation in zip(
                self.frames, reach.kernel, reach.stride, reach.before, reach.dilation, strict=True
            )
        )
        return rows, columns

    def places(self) -> int:
        """Number of positions in the window of one tile."""
        rows, columns = self.frames
        return rows.length * columns.length


def framed(
    patches: Patches, source: tuple[Frame, Frame], factor: Map | None, target: tuple[Frame, Frame]
) -> Reframed:  # fmt: skip
    """Convert patches to other frames, with zeros outside the source frames, and multiply them by a map.

    Args:
        patches: signals tile by tile, with the same number for each tile.
        source: frames of the patches, inside the map.
        factor: factors on the whole map; `None` for one.
        target: frames of the result.
    """
    if factor is None and source == target:
        return patches
    tiles = len(source[0].starts)
    height, width = (frame.length for frame in target)
    buffer = _empty((patches.shape[0], *patches.shape[1:3], height, width), patches, zero=source != target)
    old, new = (torch.unflatten(x, 0, (tiles, x.shape[0] // tiles)) for x in (patches, buffer))
    for tile in range(tiles):
        parts = [_overlap(s, t, tile) for s, t in zip(source, target, strict=True)]
        if None in parts:
            continue
        (from_rows, to_rows, rows), (from_columns, to_columns, columns) = parts  # type: ignore[misc]
        part, room = old[tile, ..., from_rows, from_columns], new[tile, ..., to_rows, to_columns]
        if factor is None:
            room.copy_(part)
        else:
            torch.mul(part, factor[..., rows, columns], out=room)
    return buffer


def _overlap(source: Frame, target: Frame, tile: int) -> tuple[slice, slice, slice] | None:
    """Return the overlap of two intervals, as slices of the first interval, the second interval and the map."""
    a, b = source.starts[tile], target.starts[tile]
    first, stop = max(a, b), min(a + source.length, b + target.length)
    if first >= stop:
        return None
    return slice(first - a, stop - a), slice(first - b, stop - b), slice(first, stop)


def _empty(shape: tuple[int, ...], like: torch.Tensor, *, zero: bool) -> torch.Tensor:
    """Allocate patches with channels last, so that a row of a window is contiguous in memory."""
    flat = torch.empty(
        (shape[0] * shape[1], *shape[2:]), dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )
    return torch.unflatten(flat.zero_() if zero else flat, 0, shape[:2])


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return a map in the channels-last memory format. Other tensors are returned unchanged."""
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
