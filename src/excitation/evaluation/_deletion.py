"""Deletion and insertion: the score of a category while pixels are removed or added in the order of a map."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from .._errors import ExcitationError
from .._maps import enlarge_map
from ..data._annotations import AnnotatedImage
from ..data._dataset import AnnotatedImages
from ..models._loaded import LoadedModel
from ._classes import Mixture, Probability, probabilities
from ._game import Column, Game, Progress
from ._method_runner import AnyMethod
from ._results import Results
from ._rows import value
from ._running import Layers, LeftOut
from ._setup import SHORTEST, Pairs, gaussian_blur, set_up, shortest_side
from ._store import Row

STEPS = 50
"""Equal parts in which the pixels change."""

Score = Callable[[Float[torch.Tensor, "step channel height width"]], Float[torch.Tensor, " step"]]
"""The probability (or score) of the target for each input of a batch."""


@dataclass(frozen=True)
class Curve:
    """Scores while pixels change, in the order of decreasing attention.

    Attributes:
        parts: fractions of changed pixels, 0 to 1.
        scores: score at each fraction.
        area: area under the curve, by the trapezoidal rule.
    """

    parts: tuple[float, ...]
    scores: tuple[float, ...]
    area: float


def deletion(
    score: Score,
    image: Float[torch.Tensor, "channel height width"],
    attention: Float[torch.Tensor, "map_height map_width"],
    *,
    steps: int = STEPS,
    batch: int = 16,
) -> Curve:
    """Compute scores while pixels are set to zero (the mean colour, after preprocessing). Low areas are better.

    Source: Petsiuk, Das, Saenko, "RISE", BMVC 2018.
    """
    return changing(score, image, torch.zeros_like(image), attention, steps=steps, batch=batch)


def insertion(
    score: Score,
    image: Float[torch.Tensor, "channel height width"],
    attention: Float[torch.Tensor, "map_height map_width"],
    *,
    steps: int = STEPS,
    batch: int = 16,
    blur: float | int = 5,
) -> Curve:
    """Compute scores while pixels of a blurred copy are replaced by sharp pixels. High areas are better.

    Args:
        score: function that returns the score of each input of a batch.
        image: the network input.
        attention: the attention map, of any size.
        steps: number of equal parts in which the pixels change.
        batch: number of inputs in a forward pass.
        blur: standard deviation of the blur in pixels.

    Source: Petsiuk, Das, Saenko, "RISE", BMVC 2018.
    """
    blurred = torch.stack([gaussian_blur(plane, blur) for plane in image.cpu()]).to(image)
    return changing(score, blurred, image, attention, steps=steps, batch=batch)


def changing(
    score: Score,
    start: Float[torch.Tensor, "channel height width"],
    end: Float[torch.Tensor, "channel height width"],
    attention: Float[torch.Tensor, "map_height map_width"],
    *,
    steps: int = STEPS,
    batch: int = 16,
) -> Curve:
    """Compute scores while one input is changed to another, in the order of decreasing attention.

    Args:
        score: function that returns the score of each input of a batch.
        start: the first input.
        end: the last input.
        attention: the attention map, resized bicubically. Equal values are in row-major order.
        steps: number of equal parts, at least 1.
        batch: number of inputs in a forward pass.

    Raises:
        ExcitationError: `steps` is less than 1, or `score` does not return one number per input.
    """
    if steps < 1 or batch < 1:
        raise ExcitationError(f"steps are {steps} and the batch is {batch}; give at least 1 of each.")
    values = enlarge_map(attention, (start.shape[1], start.shape[2])).ravel()
    rank = np.empty(values.size, dtype=np.int64)
    rank[np.argsort(-values, kind="stable")] = np.arange(values.size)
    order = torch.from_numpy(rank).reshape(start.shape[1:]).to(start.device)
    parts = np.arange(steps + 1) / steps
    counts = np.rint(parts * values.size).astype(int).tolist()
    scores: list[float] = []
    for first in range(0, len(counts), batch):
        inputs = torch.stack([torch.where(order < count, end, start) for count in counts[first : first + batch]])
        batch_scores = score(inputs)
        if batch_scores.shape != (len(inputs),):
            raise ExcitationError(
                f"the scores of {len(inputs)} inputs have shape {tuple(batch_scores.shape)}; return one score for"
                " each input."
            )
        scores += batch_scores.detach().double().tolist()
    area = sum((a + b) / 2 for a, b in itertools.pairwise(scores)) / steps
    return Curve(tuple(parts.tolist()), tuple(scores), area)


@dataclass
class DeletionGame(Game):
    """The deletion and insertion game: scores while the pixels with the highest attention are removed or added first.

    Attributes:
        probability: kind of the network's scores.
        steps: number of equal parts in which the pixels change.
    """

    probability: Probability
    steps: int

    name = "deletion"
    label = "deletion and insertion"
    title = "Deletion (low is good) and insertion (high is good): area under the curve of the score, in percent"
    columns = (
        Column("Deletion", lambda row: row.series[0], "lowest"),
        Column("Insertion", lambda row: row.series[1]),
        Column("Difference", value),
    )

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Return the rows of one image, and its omitted pairs."""
        return self.setup.play(image_id, device, self._rows, need_instances=False)

    def _rows(self, image: AnnotatedImage, one: torch.Tensor, pairs: Pairs) -> Iterator[Row]:
        for answer in self.setup.runner.run(image.path, one, pairs):
            classes = list(self.setup.classes(answer.query))
            attention = self.setup.smoothed(answer, (one.shape[2], one.shape[3]))

            def score(
                inputs: Float[torch.Tensor, "step channel height width"], classes: list[int] = classes
            ) -> Float[torch.Tensor, " step"]:
                return probabilities(self.setup.model, inputs, self.probability)[:, classes].sum(1)

            removed = deletion(score, one[0], attention, steps=self.steps).area
            added = insertion(score, one[0], attention, steps=self.steps).area
            yield answer.row(image.id, hit=added > removed, value=added - removed, series=(removed, added))


def run_deletion(
    model: LoadedModel,
    data: AnnotatedImages,
    methods: Mapping[str, AnyMethod],
    layers: Layers | Mapping[str, Layers] = (None,),
    *,
    out: str | os.PathLike[str],
    mapping: Mapping[str, Collection[int]] | None = None,
    mixture: Mixture = "equal",
    blur: Collection[str] | None = None,
    probability: Probability = "softmax",
    steps: int = STEPS,
    shortest: int | None = SHORTEST,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    network: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Delete and insert pixels for each category of each image. An interrupted run is continued.

    The series of a row contains the areas under the deletion curve (low is better) and the insertion curve (high is
    better). Its value is insertion minus deletion. Its hit is whether the value is positive.

    Args:
        model: the network with its preprocessing.
        data: annotated images. Locations of objects are not required.
        methods: methods by their names in tables. The centre is skipped, because it has no map.
        layers: layers of the maps, for all methods or by method name; `None` for the method's or model's choice.
        out: file of results (see `open_store`).
        mapping: classes of each category (see `run_pointing`). Probabilities of several classes are summed.
        mixture: weights of a category's classes in its target: `"equal"`, or `"probability"` for the network's
            probabilities in the picture. The weights are the same for all methods (r-MWP always uses probabilities).
        blur: names of methods with smoothed maps; by default, the methods with `"blur"` among their `steps`.
        probability: kind of the network's scores.
        steps: number of equal parts in which the pixels change. Each map requires two forward passes per part.
        shortest: shortest side of the network's input, aspect ratio kept; `None` for the model's own preprocessing.
        limit: number of images, from the first; all images if `None`.
        shard: `(index, count)`: use every `count`-th image, starting at `index` (from 0).
        network: name of the model in tables; by default, its label.
        progress: function that is called after each image.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: the model, a layer or a method cannot be used with these arguments.

    Source: Petsiuk, Das, Saenko, "RISE", BMVC 2018.
    """
    setup = set_up(model, data, methods, layers, mapping, shortest_side(model, shortest), mixture=mixture, blur=blur)
    game = DeletionGame(setup, probability, steps)
    configuration = {
        **setup.configuration(DeletionGame.name, network, limit),
        "probability": probability,
        "steps": steps,
    }
    return game.run(out, configuration, data.ids[:limit], shard=shard, progress=progress)
