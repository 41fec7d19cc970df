"""The pointing game on one image: which pairs it has, and whether what methods answer is right."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from .._maps import enlarge_map, points_nowhere
from ..data._annotations import AnnotatedImage, box_pixels
from ..data._dataset import Truth
from ..data._difficult import is_difficult
from ._curves import energy_in_region
from ._identity import hash_content
from ._methods import Centre
from ._pointing import Tolerance, is_hit, point_of_map, region
from ._running import LeftOut
from ._setup import Pairs, Setup
from ._sqlite import Row


@dataclass
class PointingGame:
    """Everything one image needs."""

    setup: Setup
    difficult: Mapping[str, Collection[str]] | None
    tolerance: Tolerance
    truth: Truth
    crowds: bool

    def configuration(self, game: str, network: str | None, limit: int | None) -> dict[str, object]:
        """All that results depend on."""
        listed = None if self.difficult is None else {key: sorted(item) for key, item in self.difficult.items()}
        return {
            **self.setup.configuration(game, network, limit),
            "difficult": "rule" if listed is None else hash_content(listed),
            "tolerance": dataclasses.asdict(self.tolerance),
            "truth": self.truth,
            "crowds": self.crowds,
        }

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Rows of one image, and its pairs that are left out."""
        return self.setup.play(image_id, device, self._rows, crowds=self.crowds)

    def _rows(self, image: AnnotatedImage, one: torch.Tensor, pairs: Pairs) -> Iterator[Row]:
        box = self.setup.preprocessing.field_of_view(image.size)
        seen = (round(box[3] - box[1]), round(box[2] - box[0]))
        radius = self.tolerance.pixels(seen, (one.shape[2], one.shape[3]))
        truths = {category: region(image, category, self.truth, crowds=self.crowds) for category in pairs}
        hard = {category: self._is_difficult(image, category) for category in pairs}
        blur = self.setup.blur or ()
        for name, method in self.setup.methods.items():
            if isinstance(method, Centre):
                for category in pairs:
                    yield self._row(image, name, "", category, method.point(image.size), truths, hard, radius)
        for answer in self.setup.runner.run(image.path, one, pairs):
            mass = float(answer.attention.double().sum())
            x0, y0, x1, y1 = box_pixels(box, image.size)
            # Enlarged once for both measures: on small networks this takes as long as the map itself.
            enlarged = torch.from_numpy(enlarge_map(answer.attention, (y1 - y0, x1 - x0)))
            point: tuple[int, int] | None = None
            if not points_nowhere(answer.attention):
                point = point_of_map(enlarged, image.size, box=box, blur=answer.method in blur)
            row = self._row(image, answer.method, answer.layer, answer.category, point, truths, hard, radius)
            energy = energy_in_region(enlarged, truths[answer.category][y0:y1, x0:x1])
            yield dataclasses.replace(row, mass=mass, seconds=answer.seconds, value=energy)

    def _row(
        self,
        image: AnnotatedImage,
        method: str,
        layer: str,
        category: str,
        point: tuple[int, int] | None,
        truths: Mapping[str, np.ndarray],
        hard: Mapping[str, bool],
        radius: float,
    ) -> Row:
        hit = point is not None and is_hit(point, truths[category], radius, self.tolerance.shape)
        x, y = point or (None, None)
        return Row(image.id, category, method, layer, x, y, hit, hard[category], None, 0.0)

    def _is_difficult(self, image: AnnotatedImage, category: str) -> bool:
        if self.difficult is None:
            return is_difficult(image, category, self.truth)
        if image.id not in self.difficult:
            self.setup.data.problems.report(
                image.path, f"image {image.id!r} is not in the list of difficult images; taken for not difficult."
            )
        return category in self.difficult.get(image.id, ())
