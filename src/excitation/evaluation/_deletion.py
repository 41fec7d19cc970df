"""Deletion and insertion: how the score of a category moves as pixels go, or come, in the order of a map."""

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

Score = Callable[[Float[torch.Tensor, "step channel height width"]], Float[torch.Tensor, " step"]]
"""The probability (or score) of the target for each input of a batch."""


@dataclass(frozen=True)
class Curve:
    """Scores while pixels change, the most attended first.

    Attributes:
        parts: of the pixels that are changed, 0 to 1.
        scores: at each.
        area: under the curve, by trapezoids.
    """

    parts: tuple[float, ...]
    scores: tuple[float, ...]
    area: float


def deletion(
    score: Score,
    image: Float[torch.Tensor, "channel height width"],
    attention: Float[torch.Tensor, "map_height map_width"],
    *,
    steps: int = 50,
    batch: int = 16,
) -> Curve:
    """Scores while pixels are set to zero (the mean colour, after preprocessing); low areas are good.

    Source: Petsiuk, Das, Saenko, "RISE", BMVC 2018.
    """
    return changing(score, image, torch.zeros_like(image), attention, steps=steps, batch=batch)


def insertion(
    score: Score,
    image: Float[torch.Tensor, "channel height width"],
    attention: Float[torch.Tensor, "map_height map_width"],
    *,
    steps: int = 50,
    batch: int = 16,
    blur: float | int = 5,
) -> Curve:
    """Scores while pixels of a blurred copy become sharp; high areas are good.

    Args:
        score: of a batch.
        image: the network's input.
        attention: the map.
        steps: pixels change in this many equal parts.
        batch: inputs at a time.
        blur: standard deviation of the copy's blur in pixels.

    Source: Petsiuk, Das, Saenko, "RISE", BMVC 2018.
    """
    dull = torch.stack([gaussian_blur(plane, blur) for plane in image.cpu()]).to(image)
    return changing(score, dull, image, attention, steps=steps, batch=batch)


def changing(
    score: Score,
    start: Float[torch.Tensor, "channel height width"],
    end: Float[torch.Tensor, "channel height width"],
    attention: Float[torch.Tensor, "map_height map_width"],
    *,
    steps: int = 50,
    batch: int = 16,
) -> Curve:
    """Scores on the way from one input to another, pixel by pixel in the order of attention.

    Args:
        score: of a batch.
        start: the first input.
        end: the last.
        attention: the map, enlarged bicubically; equal values in reading order.
        steps: number of equal parts, at least 1.
        batch: inputs at a time.

    Raises:
        ExcitationError: no step, or a score that is not one number per input.
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
        found = score(inputs)
        if found.shape != (len(inputs),):
            raise ExcitationError(
                f"the score of {len(inputs)} inputs has shape {tuple(found.shape)}; one each expected."
            )
        scores += found.detach().double().tolist()
    area = sum((a + b) / 2 for a, b in itertools.pairwise(scores)) / steps
    return Curve(tuple(parts.tolist()), tuple(scores), area)


@dataclass
class DeletionGame(Game):
    """Does the score fall early as the most attended pixels go, and rise early as they come?

    Attributes:
        probability: what the network's scores are.
        steps: pixels change in this many equal parts.
    """

    probability: Probability
    steps: int

    name = "deletion"
    called = "deletion and insertion"
    title = "Deletion (low is good) and insertion (high is good): area under the curve of the score, in percent"
    columns = (
        Column("Deletion", lambda row: row.series[0], "lowest"),
        Column("Insertion", lambda row: row.series[1]),
        Column("Difference", value),
    )

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Rows of one image, and its pairs that are left out."""
        return self.setup.play(image_id, device, self._rows, places=False)

    def _rows(self, image: AnnotatedImage, one: torch.Tensor, pairs: Pairs) -> Iterator[Row]:
        for answer in self.setup.runner.run(image.path, one, pairs):
            classes = list(self.setup.classes(answer.category))
            attention = self.setup.smoothed(answer, (one.shape[2], one.shape[3]))

            def score(
                inputs: Float[torch.Tensor, "step channel height width"], classes: list[int] = classes
            ) -> Float[torch.Tensor, " step"]:
                return probabilities(self.setup.model, inputs, self.probability)[:, classes].sum(1)

            gone = deletion(score, one[0], attention, steps=self.steps).area
            come = insertion(score, one[0], attention, steps=self.steps).area
            mass = float(answer.attention.double().sum())
            yield Row(
                image.id, answer.category, answer.method, answer.layer, None, None, come > gone, False, mass,
                answer.seconds, come - gone, (gone, come),
            )  # fmt: skip


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
    """Delete and insert pixels for each category of each image, or go on where an earlier call was stopped.

    A row's series holds the areas under the curves of deletion (low is good) and insertion (high is good), its value
    insertion minus deletion, its hit whether that is positive.

    Args:
        model: the network with its preprocessing.
        data: annotated images; places are not needed.
        methods: by the name that tables show; the centre, which has no map, is passed over.
        layers: where maps are taken, for all methods or for each by name; `None` is the method's or model's choice.
        out: the file of results (see `open_store`).
        mapping: classes of each category, as `run_pointing` takes it; the probabilities of several are added.
        mixture: the parts of a category's classes in its target: `"equal"`, or by the network's own
            `"probability"` in the picture, for all methods alike (r-MWP always takes the latter).
        blur: names of methods whose maps are smoothed first; those with `"blur"` among their `steps` if not given.
        probability: what the network's scores are.
        steps: pixels change in this many equal parts; each costs two forward passes for a map.
        shortest: shortest side of the network's input, aspect ratio kept; `None` for the model's own preprocessing.
        limit: only the first images.
        shard: `(index, count)`: only every count-th image from the index-th, counted from 0.
        network: the model's name in tables; its spec if not given.
        progress: called after each image.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: the model, a layer or a method cannot be used as asked.

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
