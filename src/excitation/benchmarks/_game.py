"""The pointing game on one image: which pairs it has, and whether what methods answer is right."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..data._annotations import AnnotatedImage, box_pixels
from ..data._dataset import AnnotatedImages, Truth
from ..data._difficult import is_difficult
from ..networks._loaded import LoadedModel, Preprocessing
from ..views import enlarge_map, points_nowhere
from ._answers import AnyMethod, Asker
from ._curves import energy_in_region
from ._identity import hash_content
from ._methods import Centre
from ._pointing import Tolerance, is_hit, point_of_map, region
from ._running import Classes, LeftOut, common_configuration, pairs_of
from ._sqlite import Row


@dataclass
class PointingGame:
    """Everything one image needs."""

    model: LoadedModel
    data: AnnotatedImages
    methods: Mapping[str, AnyMethod]
    layers: Mapping[str, tuple[str | None, ...]]
    classes: Classes
    difficult: Mapping[str, Collection[str]] | None
    tolerance: Tolerance
    blur: frozenset[str]
    truth: Truth
    crowds: bool
    preprocessing: Preprocessing
    game: str = "pointing"

    def __post_init__(self) -> None:
        """Nothing has been asked yet."""
        self._asker = Asker(self.model, self.methods, self.layers, self.data.problems)

    def configuration(self) -> dict[str, object]:
        """All that results depend on."""
        listed = None if self.difficult is None else {key: sorted(item) for key, item in self.difficult.items()}
        return {
            **common_configuration(self.game, self.model, self.data, self.methods, self.layers),
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "classes": hash_content({name: list(self.classes(name)) for name in self.data.categories}),
            "difficult": "rule" if listed is None else hash_content(listed),
            "tolerance": dataclasses.asdict(self.tolerance),
            "blur": sorted(self.blur),
            "truth": self.truth,
            "crowds": self.crowds,
        }

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Rows of one image, and its pairs that are left out."""
        image = self.data.image(image_id)
        picture = None if image is None else self.data.read(image)
        if image is None or picture is None:
            return [], []
        pairs, left_out = pairs_of(image, self.classes, crowds=self.crowds)
        if not pairs:
            return [], left_out
        try:
            one = self.preprocessing(picture)[None].to(device)
        except ValueError as error:
            self.data.problems.report(image.path, f"cannot be made an input: {error} Image left out.")
            return [], left_out
        box = self.preprocessing.field_of_view(image.size)
        seen = (round(box[3] - box[1]), round(box[2] - box[0]))
        radius = self.tolerance.pixels(seen, (one.shape[2], one.shape[3]))
        truths = {category: region(image, category, self.truth, crowds=self.crowds) for category in pairs}
        hard = {category: self._is_difficult(image, category) for category in pairs}
        rows = [
            self._row(image, name, "", category, method.point(image.size), truths, hard, radius)
            for name, method in self.methods.items()
            if isinstance(method, Centre)
            for category in pairs
        ]
        for answer in self._asker.ask(image.path, one, pairs):
            mass = float(answer.attention.double().sum())
            x0, y0, x1, y1 = box_pixels(box, image.size)
            # Enlarged once for both measures: on small networks this takes as long as the map itself.
            enlarged = torch.from_numpy(enlarge_map(answer.attention, (y1 - y0, x1 - x0)))
            point: tuple[int, int] | None = None
            if not points_nowhere(answer.attention):
                point = point_of_map(enlarged, image.size, box=box, blur=answer.method in self.blur)
            row = self._row(image, answer.method, answer.layer, answer.category, point, truths, hard, radius)
            energy = energy_in_region(enlarged, truths[answer.category][y0:y1, x0:x1])
            rows.append(dataclasses.replace(row, mass=mass, seconds=answer.seconds, value=energy))
        return rows, left_out

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
            self.data.problems.report(
                image.path, f"image {image.id!r} is not in the list of difficult images; taken for not difficult."
            )
        return category in self.difficult.get(image.id, ())
