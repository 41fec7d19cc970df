"""Dominant-object localization on a data set: one box per image, category and method, at every threshold."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import torch

from .._checks import check_number
from .._maps import ALPHAS, SIDE, boxes_of_map
from ..data._annotations import AnnotatedImage
from ..data._dataset import AnnotatedImages
from ..models._loaded import LoadedModel
from ._localization import OVERLAP, best_overlap
from ._method_runner import AnyMethod
from ._probabilities import Mixture
from ._results import Results
from ._running import Layers, LeftOut, Progress, run_units
from ._setup import Pairs, Setup, set_up, squashed
from ._sqlite import Row

HELD_OUT = 5
"""Every fifth image chooses the threshold."""


@dataclass
class LocalizationGame:
    """Everything one image needs."""

    setup: Setup

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Rows of one image, and its pairs that are left out."""
        return self.setup.play(image_id, device, self._rows, crowds=False)

    def _rows(self, image: AnnotatedImage, one: torch.Tensor, pairs: Pairs) -> Iterator[Row]:
        grid = self.setup.preprocessing.size
        for answer in self.setup.runner.run(image.path, one, pairs):
            boxes = boxes_of_map(self.setup.smoothed(answer, grid), image.size, ALPHAS, grid=grid)
            truths = [item.box for item in image.of(answer.category) if not item.crowd]
            overlaps = tuple(best_overlap(box, truths) for box in boxes)
            best = max(overlaps)
            mass = float(answer.attention.double().sum())
            yield Row(
                image.id, answer.category, answer.method, answer.layer, None, None, best >= OVERLAP, False, mass,
                answer.seconds, best, overlaps,
            )  # fmt: skip


def run_localization(
    model: LoadedModel,
    data: AnnotatedImages,
    methods: Mapping[str, AnyMethod],
    layers: Layers | Mapping[str, Layers] = (None,),
    *,
    out: str | os.PathLike[str],
    mapping: Mapping[str, Collection[int]] | None = None,
    mixture: Mixture = "equal",
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
        mixture: the parts of a category's classes in its target: `"equal"`, or by the network's own
            `"probability"` in the picture, for all methods alike (r-MWP always takes the latter).
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
    check_number("held_out", held_out, "a whole number from 2 on", least=2, whole=True)
    setup = set_up(model, data, methods, layers, mapping, squashed(model, side), mixture=mixture, blur=blur)
    configuration = {
        **setup.configuration("localization", network, limit),
        "alphas": list(ALPHAS), "overlap": OVERLAP, "held_out": held_out,
    }  # fmt: skip
    return run_units(
        out, configuration, data.ids[:limit], LocalizationGame(setup).play, model=model, data=data, runner=setup.runner,
        shard=shard, progress=progress,
    )  # fmt: skip
