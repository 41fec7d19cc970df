"""Deletion and insertion on a data set: how the score moves as pixels go, or come, in the order of a map."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float

from ..data._annotations import AnnotatedImage
from ..data._dataset import AnnotatedImages
from ..models._loaded import LoadedModel
from ._curves import deletion, insertion
from ._method_runner import AnyMethod
from ._probabilities import Mixture, Probability, probabilities
from ._results import Results
from ._run_pointing import SHORTEST
from ._running import Layers, LeftOut, Progress, run_units
from ._setup import Pairs, Setup, set_up, shortest_side
from ._sqlite import Row

STEPS = 50


@dataclass
class DeletionGame:
    """Everything one image needs."""

    setup: Setup
    probability: Probability
    steps: int

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
    configuration = {**setup.configuration("deletion", network, limit), "probability": probability, "steps": steps}
    return run_units(
        out, configuration, data.ids[:limit], game.play, model=model, data=data, runner=setup.runner, shard=shard,
        progress=progress,
    )  # fmt: skip
