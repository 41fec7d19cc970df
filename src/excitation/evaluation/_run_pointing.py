"""The pointing game on a data set: every image, category, method and layer, into one file of results."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import get_args

from .._checks import check_choice
from ..data._dataset import AnnotatedImages, Truth
from ..models._loaded import LoadedModel
from ._game import PointingGame
from ._method_runner import AnyMethod
from ._pointing import Tolerance
from ._probabilities import Mixture
from ._results import Results
from ._running import Layers, Progress, run_units
from ._setup import set_up, shortest_side

SHORTEST = 224
"""Shortest side of the network's input in the pointing game (Sec. 4.1)."""


def run_pointing(
    model: LoadedModel,
    data: AnnotatedImages,
    methods: Mapping[str, AnyMethod],
    layers: Layers | Mapping[str, Layers] = (None,),
    *,
    out: str | os.PathLike[str],
    mapping: Mapping[str, Collection[int]] | None = None,
    difficult: Mapping[str, Collection[str]] | None = None,
    tolerance: Tolerance | None = None,
    mixture: Mixture = "equal",
    blur: Collection[str] | None = None,
    truth: Truth | None = None,
    crowds: bool = True,
    shortest: int | None = SHORTEST,
    limit: int | None = None,
    shard: tuple[int, int] = (0, 1),
    network: str | None = None,
    name: str = "pointing",
    extra: Mapping[str, object] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Play the pointing game, or go on where an earlier call was stopped.

    All categories of an image are asked at once, and all layers too where a method can; each method sees each image
    once. What is wrong with an image is noted, and the run goes on.

    Args:
        model: the network with its preprocessing.
        data: annotated images.
        methods: by the name that tables show.
        layers: where maps are taken, for all methods or for each by name; `None` is the method's or model's choice.
        out: the file of results (see `open_store`).
        mapping: classes of each category. If not given, the data set's own; if it has none, a category is the class
            of the same name. A category without classes is left out and counted.
        difficult: categories of each image that are difficult, from a list; by the paper's rule if not given.
        tolerance: how near a maximum must be; 15 pixels of the original picture if not given.
        mixture: the parts of a category's classes in its target: `"equal"`, or by the network's own
            `"probability"` in the picture, for all methods alike (r-MWP always takes the latter).
        blur: names of methods whose maps are smoothed first; those with `"blur"` among their `steps` if not given.
        truth: by segments or boxes; the data set's own if not given.
        crowds: whether crowd regions are instances that a point can hit. For the rule of what is difficult they always
            count: it is about the picture, of which they cover a part.
        shortest: shortest side of the network's input, aspect ratio kept; `None` for the model's own preprocessing.
        limit: only the first images.
        shard: `(index, count)`: only every count-th image from the index-th, counted from 0.
        network: the model's name in tables; its spec if not given.
        name: of the game, which decides how it is reported: `"pointing"`, `"layers"` or `"contrast"`.
        extra: what else belongs to the configuration, as JSON can hold it.
        progress: called after each image.

    Returns:
        All results of the file.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: the model, a layer or a method cannot be used as asked.

    Source: Zhang et al., ECCV 2016, Sec. 4.1.
    """
    setup = set_up(
        model, data, methods, layers, mapping, shortest_side(model, shortest), mixture=mixture, blur=blur, centre=True
    )
    if truth is not None:
        check_choice("truth", truth, get_args(Truth))
    game = PointingGame(setup, difficult, tolerance or Tolerance(), truth or data.truth, crowds)
    configuration = {**game.configuration(name, network, limit), **(extra or {})}
    return run_units(
        out, configuration, data.ids[:limit], game.play, model=model, data=data, runner=setup.runner, shard=shard,
        progress=progress,
    )  # fmt: skip
