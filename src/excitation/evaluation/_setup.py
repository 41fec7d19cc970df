"""The setup of all games: methods and their layers, classes, preprocessing, and the evaluation of an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import get_args

import torch
from jaxtyping import Float

from .._checks import check_choice, check_instance, check_number
from .._errors import ExcitationError
from .._maps import enlarge_map
from ..core import Target
from ..data._annotations import AnnotatedImage
from ..data._dataset import AnnotatedImages
from ..methods import blur as smooth_planes
from ..models._loaded import LoadedModel, Preprocessing
from ._classes import Classes, Mixture, classes_of, mixed_by_probability
from ._configuration import hash_content, hash_model
from ._method_runner import Answer, AnyMethod, MethodRunner
from ._methods import Centre, ManyLayers, Method, describe_method
from ._running import Layers, LeftOut, layers_of, pairs_of
from ._store import Row

BLUR = 0.02
"""Standard deviation of the blur of pixel-level maps, as a fraction of the longest side of the picture (Sec. 4.1)."""

SHORTEST = 224
"""Shortest side of the network input, in pixels (Sec. 4.1)."""

Pairs = Mapping[str, Target]
"""Targets of an image by query; the name of the category in games on annotated images."""

RowsOf = Callable[[AnnotatedImage, torch.Tensor, Pairs], Iterable[Row]]
"""Function `rows(image, one, pairs)` that returns the rows of an image. `one` is the network input, a batch of one."""


@dataclass
class Setup:
    """The setup of a game.

    Attributes:
        model: the network.
        data: annotated images.
        methods: methods by their names in tables.
        layers: layers of each method.
        classes: classes of the categories.
        preprocessing: preprocessing of pictures for the network.
        blur: names of methods with smoothed maps; `None` if the game does not smooth maps.
        mixture: weights of a category's classes in its target.
    """

    model: LoadedModel
    data: AnnotatedImages
    methods: Mapping[str, AnyMethod]
    layers: Mapping[str, tuple[str | None, ...]]
    classes: Classes
    preprocessing: Preprocessing
    blur: frozenset[str] | None
    mixture: Mixture = "equal"

    def __post_init__(self) -> None:
        """Initialise the internal state."""
        self.runner = MethodRunner(self.model, self.methods, self.layers, self.data.problems)

    def configuration(self, game: str, network: str | None, limit: int | None) -> dict[str, object]:
        """Return the settings that the results of every game depend on.

        Args:
            game: name of the game.
            network: name of the model in tables; by default, its label.
            limit: number of images, from the first; all images if `None`.
        """
        if limit is not None:
            check_number("limit", limit, "a whole number of images from 1 on", least=1, whole=True)
        output = self.model.output
        smoothed = {} if self.blur is None else {"blur": sorted(self.blur)}
        return {
            "game": game,
            "data": {"name": self.data.name, "hash": self.data.fingerprint()},
            "model": {
                "hash": hash_model(self.model.model),
                "output": output if output is None or isinstance(output, (str, int)) else describe_method(output),
            },
            "methods": {name: describe_method(method) for name, method in self.methods.items()},
            "layers": {name: list(layers) for name, layers in self.layers.items()},
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "classes": hash_content({name: list(self.classes(name)) for name in self.data.categories}),
            "mixture": self.mixture,
            **({"classes_note": self.classes.note} if self.classes.note else {}),
            "network": network or self.model.label,
            "limit": limit,
            **smoothed,
        }

    def play(
        self, image_id: str, device: torch.device, rows: RowsOf, *, crowds: bool = True, need_instances: bool = True
    ) -> tuple[list[Row], LeftOut]:
        """Return the rows of one image, and its omitted pairs.

        Args:
            image_id: id of the image. If it has problems, they are recorded and there are no rows.
            device: device of the network.
            rows: function that computes the rows.
            crowds: whether crowds count as instances.
            need_instances: whether to omit categories without instances.
        """
        image = self.data.image(image_id)
        picture = None if image is None else self.data.read(image)
        if image is None or picture is None:
            return [], []
        pairs, left_out = pairs_of(image, self.classes, crowds=crowds, need_instances=need_instances)
        if not pairs:
            return [], left_out
        try:
            one = self.preprocessing(picture)[None].to(device)
        except ValueError as error:
            self.data.problems.report(image.path, f"cannot be preprocessed: {error} Image omitted.")
            return [], left_out
        if self.mixture == "probability":
            pairs = mixed_by_probability(self.model, one, pairs)
        return list(rows(image, one, pairs)), left_out

    def smoothed(self, answer: Answer, size: tuple[int, int]) -> Float[torch.Tensor, "_ _"]:
        """Return the map of an answer. Maps of methods in `blur` are resized to `(height, width)` and smoothed."""
        if self.blur is None or answer.method not in self.blur:
            return answer.attention
        return gaussian_blur(torch.from_numpy(enlarge_map(answer.attention, size)), BLUR * max(size))


def set_up(
    model: LoadedModel,
    data: AnnotatedImages,
    methods: Mapping[str, AnyMethod],
    layers: Layers | Mapping[str, Layers],
    mapping: Mapping[str, Collection[int]] | None,
    preprocessing: Preprocessing,
    *,
    blur: Collection[str] | None = None,
    smooth: bool = True,
    centre: bool = False,
    mixture: Mixture = "equal",
) -> Setup:
    """Create the setup of a game from the arguments of its run.

    Args:
        model: the network.
        data: annotated images.
        methods: methods by their names in tables.
        layers: layers for all methods, or by method name.
        mapping: classes of each category (see `classes_of`).
        preprocessing: preprocessing of pictures for the network.
        blur: names of methods with smoothed maps; `None` for the methods with `"blur"` among their `steps`.
        smooth: whether the game smooths maps.
        centre: whether the game includes the centre, which has no map.
        mixture: weights of a category's classes in its target.

    Raises:
        ExcitationError: there is no method, a method has no layer, layers are given for an unknown method, or no
            category has a class.
    """
    check_instance("data", data, AnnotatedImages)
    check_choice("mixture", mixture, get_args(Mixture))
    for category, classes in (mapping or {}).items():
        if not isinstance(classes, Collection) or not all(isinstance(index, Integral) for index in classes):
            raise ExcitationError(f"mapping has {classes!r} for {category!r}; give a list of class indices.")
    for name, method in methods.items():
        if not isinstance(method, (Method, ManyLayers, Centre)):
            raise ExcitationError(
                f"method {name!r} is a {type(method).__name__}; give a NamedMethod or an object with its interface."
            )
    unknown = [name for name in layers if name not in methods] if isinstance(layers, Mapping) else []
    if unknown:
        raise ExcitationError(
            f"layers are given for {unknown[0]!r}, which is not one of the methods: {', '.join(methods)}."
        )
    used = {name: method for name, method in methods.items() if centre or not isinstance(method, Centre)}
    usual = [name for name, method in used.items() if "blur" in getattr(method, "steps", ())]
    return Setup(
        model=model,
        data=data,
        methods=used,
        layers=layers_of(used, layers),
        classes=classes_of(model, data, mapping, preprocessing),
        preprocessing=preprocessing,
        blur=frozenset(usual if blur is None else blur) if smooth else None,
        mixture=mixture,
    )


def gaussian_blur(
    values: Float[torch.Tensor, "height width"], sigma: float | int
) -> Float[torch.Tensor, "height width"]:
    """Smooth a map with a Gaussian of standard deviation `sigma` in pixels, as `methods.blur`. 0 changes nothing."""
    return smooth_planes(values[None, None], sigma=sigma / max(values.shape))[0, 0]


def shortest_side(model: LoadedModel, pixels: int | None) -> Preprocessing:
    """Return the model's preprocessing with this shortest side and the original aspect ratio; unchanged for `None`."""
    check_instance("model", model, LoadedModel)
    if pixels is None:
        return model.preprocessing
    return dataclasses.replace(model.preprocessing, resize="shortest", size=(pixels, pixels), resize_to=None)


def squashed(model: LoadedModel, side: int) -> Preprocessing:
    """Return the model's preprocessing with pictures resized to a square of this side in pixels."""
    check_instance("model", model, LoadedModel)
    return dataclasses.replace(model.preprocessing, resize="squash", size=(side, side), resize_to=None)
