"""Dominant-object localization on a data set: one box per image, category and method, at every threshold."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float

from ..data._annotations import AnnotatedImage
from ..data._dataset import AnnotatedImages
from ..networks._loaded import LoadedModel, Preprocessing
from ..views import enlarge_map
from ._answers import AnyMethod, Asker
from ._identity import hash_content
from ._localization import ALPHAS, OVERLAP, SIDE, best_overlap, boxes_of_map
from ._methods import Centre
from ._pointing import BLUR, gaussian_blur
from ._results import Results
from ._running import (
    Classes,
    Layers,
    LeftOut,
    Progress,
    blurred,
    classes_of,
    common_configuration,
    layers_of,
    pairs_of,
    run_units,
)  # fmt: skip
from ._sqlite import Row

HELD_OUT = 5
"""Every fifth image chooses the threshold."""


@dataclass
class LocalizationGame:
    """Everything one image needs."""

    model: LoadedModel
    data: AnnotatedImages
    methods: Mapping[str, AnyMethod]
    layers: Mapping[str, tuple[str | None, ...]]
    classes: Classes
    blur: frozenset[str]
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        """Nothing has been asked yet."""
        self._asker = Asker(self.model, self.methods, self.layers, self.data.problems)

    def configuration(self) -> dict[str, object]:
        """All that results depend on."""
        return {
            **common_configuration("localization", self.model, self.data, self.methods, self.layers),
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "classes": hash_content({name: list(self.classes(name)) for name in self.data.categories}),
            "blur": sorted(self.blur),
            "alphas": list(ALPHAS),
            "overlap": OVERLAP,
        }

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Rows of one image, and its pairs that are left out."""
        image = self.data.image(image_id)
        picture = None if image is None else self.data.read(image)
        if image is None or picture is None:
            return [], []
        pairs, left_out = pairs_of(image, self.classes, crowds=False)
        if not pairs:
            return [], left_out
        one = self.preprocessing(picture)[None].to(device)
        rows = []
        for answer in self._asker.ask(image.path, one, pairs):
            overlaps = self._overlaps(answer.attention, image, answer.category, smooth=answer.method in self.blur)
            best = max(overlaps)
            mass = float(answer.attention.double().sum())
            rows.append(
                Row(image.id, answer.category, answer.method, answer.layer, None, None, best >= OVERLAP, False, mass,
                    answer.seconds, best, overlaps)
            )  # fmt: skip
        return rows, left_out

    def _overlaps(
        self, attention: Float[torch.Tensor, "height width"], image: AnnotatedImage, category: str, *, smooth: bool
    ) -> tuple[float, ...]:
        grid = self.preprocessing.size
        if smooth:
            attention = gaussian_blur(torch.from_numpy(enlarge_map(attention, grid)), BLUR * max(grid))
        truths = [item.box for item in image.of(category) if not item.crowd]
        return tuple(best_overlap(box, truths) for box in boxes_of_map(attention, image.size, ALPHAS, grid=grid))


def run_localization(
    model: LoadedModel,
    data: AnnotatedImages,
    methods: Mapping[str, AnyMethod],
    layers: Layers | Mapping[str, Layers] = (None,),
    *,
    out: str | os.PathLike[str],
    mapping: Mapping[str, Collection[int]] | None = None,
    blur: Collection[str] | None = None,
    side: int = SIDE,
    held_out: int = HELD_OUT,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    network: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Locate the object of each category that an image is known to hold, or go on where an earlier call was stopped.

    The picture is squashed to a square, the label is given, and at each threshold the box is put around all values
    above that multiple of the map's mean. A row's series holds the box's overlap with the best instance at each
    threshold, its value the largest of them. The threshold is chosen later, on every K-th image.

    Args:
        model: the network with its preprocessing.
        data: annotated images.
        methods: by the name that tables show; the centre, which has no map, is passed over.
        layers: where maps are taken, for all methods or for each by name; `None` is the method's or model's choice.
        out: the file of results (see `open_store`).
        mapping: classes of each category, as `run_pointing` takes it.
        blur: names of methods whose maps are smoothed first; those with `"blur"` among their `steps` if not given.
        side: of the square, in pixels.
        held_out: K.
        limit: only the first images.
        shard: `(index, count)`: only every count-th image from the index-th, counted from 0.
        network: the model's name in tables; its spec if not given.
        progress: called after each image.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: the model, a layer or a method cannot be used as asked.

    Source: Zhang et al., ECCV 2016, Sec. 4.2.
    """
    asked = {name: method for name, method in methods.items() if not isinstance(method, Centre)}
    game = LocalizationGame(
        model=model,
        data=data,
        methods=asked,
        layers=layers_of(asked, layers),
        classes=classes_of(model, data, mapping),
        blur=frozenset(blurred(asked) if blur is None else blur),
        preprocessing=dataclasses.replace(model.preprocessing, resize="squash", size=(side, side), resize_to=None),
    )
    configuration = {
        **game.configuration(), "network": network or model.spec, "limit": limit, "held_out": held_out,
    }  # fmt: skip
    return run_units(
        out, configuration, data.ids[:limit], game.play, model=model, data=data, shard=shard, progress=progress
    )
