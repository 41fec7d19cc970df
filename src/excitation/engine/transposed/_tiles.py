"""Groups of positions that are propagated together: tiles of neighbours with windows of similar size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ._windows import Span, Window

TILE = 2
"""Height and width of a tile. Larger ones have larger windows; single positions leave half of a stride unused."""

BUCKETS = 3
"""Groups along each dimension: windows at a border are smaller, but small groups use a processor badly."""


@dataclass(frozen=True)
class Tiling:
    """Tiles of a map. The last tiles overlap their neighbours if the map size is not a multiple of the tile size.

    Attributes:
        height: height of the map.
        width: width of the map.
        tile: maximum number of rows and columns of a tile.
    """

    height: int
    width: int
    tile: int

    @property
    def sides(self) -> tuple[int, int]:
        """Number of rows and columns of each tile."""
        return min(self.tile, self.height), min(self.tile, self.width)

    @property
    def each(self) -> int:
        """Number of positions of a tile."""
        return self.sides[0] * self.sides[1]

    def lines(self) -> Window:
        """Return the rows of all tiles and the columns of all tiles. The windows above depend only on these."""
        spans = []
        for size, side in zip((self.height, self.width), self.sides, strict=True):
            starts = [min(start, size - side) for start in range(0, size, side)]
            spans.append(Span(tuple((start, start + side - 1) for start in starts), size))
        return Window(*spans)

    def window(self, tiles: Sequence[tuple[int, int]]) -> Window:
        """Return the window of some tiles, each given by its row index and its column index."""
        lines = self.lines()
        rows, columns = (
            Span(tuple(line.supports[tile[axis]] for tile in tiles), line.size)
            for axis, line in enumerate((lines.rows, lines.columns))
        )
        return Window(rows, columns)

    def positions(self, window: Window) -> list[int]:
        """Return the positions of all tiles of a window as row-major indices, in the order of their signals."""
        rows, columns = self.sides
        return [
            (row + i) * self.width + column + j
            for row, column in zip(window.rows.frame.starts, window.columns.frame.starts, strict=True)
            for i in range(rows)
            for j in range(columns)
        ]

    def ones(self, window: Window, images: int, channels: int, like: torch.Tensor) -> torch.Tensor:
        """Return signals that are one at their own position and zero elsewhere, in the windows of the tiles."""
        each, sides = self.each, self.sides
        eye = torch.eye(each, dtype=like.dtype, device=like.device).reshape(1, each, 1, 1, *sides)
        count = len(window.rows.supports)
        return eye.expand(count, each, images, channels, *sides).flatten(0, 1)


def groups(windows: Sequence[Window]) -> list[list[tuple[int, int]]]:
    """Group tiles with windows of similar size, given the windows of all rows and columns of tiles in the maps."""
    lines = []
    for spans in ([w.rows for w in windows], [w.columns for w in windows]):
        sizes = [sum(s.supports[i][1] - s.supports[i][0] for s in spans) for i in range(len(spans[0].supports))]
        order = sorted(range(len(sizes)), key=sizes.__getitem__)
        count = min(BUCKETS, len(order))
        lines.append([order[len(order) * i // count : len(order) * (i + 1) // count] for i in range(count)])
    return [[(row, column) for row in rows for column in columns] for rows in lines[0] for columns in lines[1]]
