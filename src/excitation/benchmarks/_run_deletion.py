"""Deletion and insertion on a data set: how the score moves as pixels go, or come, in the order of a map."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float

from ..data._dataset import AnnotatedImages
from ..networks._loaded import LoadedModel, Preprocessing
from ..views import enlarge_map
from ._answers import AnyMethod, Asker
from ._curves import deletion, insertion
from ._identity import hash_content
from ._methods import Centre
from ._pointing import BLUR, gaussian_blur
from ._probabilities import Probability, probabilities
from ._results import Results
from ._run_pointing import SHORTEST
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

STEPS = 50


@dataclass
class DeletionGame:
    """Everything one image needs."""

    model: LoadedModel
    data: AnnotatedImages
    methods: Mapping[str, AnyMethod]
    layers: Mapping[str, tuple[str | None, ...]]
    classes: Classes
    blur: frozenset[str]
    preprocessing: Preprocessing
    probability: Probability
    steps: int

    def __post_init__(self) -> None:
        """Nothing has been asked yet."""
        self._asker = Asker(self.model, self.methods, self.layers, self.data.problems)

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], LeftOut]:
        """Rows of one image, and its pairs that are left out."""
        image = self.data.image(image_id)
        picture = None if image is None else self.data.read(image)
        if image is None or picture is None:
            return [], []
        pairs, left_out = pairs_of(image, self.classes, places=False)
        if not pairs:
            return [], left_out
        try:
            one = self.preprocessing(picture)[None].to(device)
        except ValueError as error:
            self.data.problems.report(image.path, f"cannot be made an input: {error} Image left out.")
            return [], left_out
        rows = []
        for answer in self._asker.ask(image.path, one, pairs):
            classes = list(self.classes(answer.category))
            attention = self._smoothed(answer.attention, one) if answer.method in self.blur else answer.attention

            def score(
                inputs: Float[torch.Tensor, "step channel height width"], classes: list[int] = classes
            ) -> Float[torch.Tensor, " step"]:
                return probabilities(self.model, inputs, self.probability)[:, classes].sum(1)

            gone = deletion(score, one[0], attention, steps=self.steps).area
            come = insertion(score, one[0], attention, steps=self.steps).area
            mass = float(answer.attention.double().sum())
            rows.append(
                Row(image.id, answer.category, answer.method, answer.layer, None, None, come > gone, False, mass,
                    answer.seconds, come - gone, (gone, come))
            )  # fmt: skip
        return rows, left_out

    def _smoothed(
        self, attention: Float[torch.Tensor, "height width"], one: torch.Tensor
    ) -> Float[torch.Tensor, "_ _"]:
        size = (one.shape[2], one.shape[3])
        return gaussian_blur(torch.from_numpy(enlarge_map(attention, size)), BLUR * max(size))


def run_deletion(
    model: LoadedModel,
    data: AnnotatedImages,
    methods: Mapping[str, AnyMethod],
    layers: Layers | Mapping[str, Layers] = (None,),
    *,
    out: str | os.PathLike[str],
    mapping: Mapping[str, Collection[int]] | None = None,
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
    asked = {name: method for name, method in methods.items() if not isinstance(method, Centre)}
    prepare = model.preprocessing
    if shortest is not None:
        prepare = dataclasses.replace(prepare, resize="shortest", size=(shortest, shortest), resize_to=None)
    game = DeletionGame(
        model=model,
        data=data,
        methods=asked,
        layers=layers_of(asked, layers),
        classes=classes_of(model, data, mapping),
        blur=frozenset(blurred(asked) if blur is None else blur),
        preprocessing=prepare,
        probability=probability,
        steps=steps,
    )
    configuration = {
        **common_configuration("deletion", model, data, asked, game.layers),
        "preprocessing": dataclasses.asdict(prepare),
        "classes": hash_content({name: list(game.classes(name)) for name in data.categories}),
        "blur": sorted(game.blur), "probability": probability, "steps": steps, "network": network or model.spec,
        "limit": limit,
    }  # fmt: skip
    return run_units(
        out, configuration, data.ids[:limit], game.play, model=model, data=data, shard=shard, progress=progress
    )
