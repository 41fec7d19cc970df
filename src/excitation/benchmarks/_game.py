"""The pointing game on one image: which pairs it has, what methods answer, and whether that is right."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import torch

from .._errors import (
    EscapedTensorError,
    ExcitationError,
    LayerError,
    TargetError,
    TrainingModeError,
    UnsupportedOperationError,
)
from ..data._annotations import AnnotatedImage
from ..data._dataset import AnnotatedImages, Truth
from ..data._difficult import is_difficult
from ..data._mapping import category_target
from ..methods import NotApplicableError
from ..networks._loaded import LoadedModel, Preprocessing
from ..signals import Target
from ._identity import hash_content, hash_model
from ._methods import DEFAULT_LAYER, Centre, ManyLayers, Method, describe_method, maps_at
from ._pointing import Tolerance, is_hit, point_of_map, region
from ._sqlite import Row

AnyMethod = Method | ManyLayers | Centre

GIVE_UP = 3
"""A method that fails on this many images and has worked on none is taken for wrong, not the images."""

STOPPERS = (
    LayerError, TargetError, TrainingModeError, UnsupportedOperationError, EscapedTensorError, NotApplicableError,
    torch.cuda.OutOfMemoryError,
)  # fmt: skip
"""Errors that the next image would meet too."""


@dataclass
class PointingGame:
    """Everything one image needs."""

    model: LoadedModel
    data: AnnotatedImages
    methods: dict[str, AnyMethod]
    layers: dict[str, tuple[str | None, ...]]
    classes: Callable[[str], tuple[int, ...]]
    difficult: Mapping[str, Collection[str]] | None
    tolerance: Tolerance
    blur: frozenset[str]
    truth: Truth
    crowds: bool
    preprocessing: Preprocessing

    def __post_init__(self) -> None:
        """Nothing has worked or failed yet."""
        self._worked: set[str] = set()
        self._failed = dict.fromkeys(self.methods, 0)

    def configuration(self) -> dict[str, object]:
        """All that results depend on."""
        listed = None if self.difficult is None else {key: sorted(item) for key, item in self.difficult.items()}
        return {
            "game": "pointing",
            "data": {"name": self.data.name, "hash": self.data.fingerprint()},
            "model": {"hash": hash_model(self.model.model), "output": _output(self.model)},
            "preprocessing": dataclasses.asdict(self.preprocessing),
            "methods": {name: describe_method(method) for name, method in self.methods.items()},
            "layers": {name: list(layers) for name, layers in self.layers.items()},
            "classes": hash_content({name: list(self.classes(name)) for name in self.data.categories}),
            "difficult": "rule" if listed is None else hash_content(listed),
            "tolerance": dataclasses.asdict(self.tolerance),
            "blur": sorted(self.blur),
            "truth": self.truth,
            "crowds": self.crowds,
        }

    def play(self, image_id: str, device: torch.device) -> tuple[list[Row], list[tuple[str, str, str]]]:
        """Rows of one image, and its pairs that are left out."""
        image = self.data.image(image_id)
        picture = None if image is None else self.data.read(image)
        if image is None or picture is None:
            return [], []
        pairs, left_out = self._pairs(image)
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
        rows: list[Row] = []
        for name, method in self.methods.items():
            for category, layer, point, mass, seconds in self._answers(name, method, image, one, pairs, box):
                hit = is_hit(point, truths[category], radius, self.tolerance.shape)
                rows.append(Row(image.id, category, name, layer, *point, hit, hard[category], mass, seconds))
        return rows, left_out

    def _pairs(self, image: AnnotatedImage) -> tuple[dict[str, Target], list[tuple[str, str, str]]]:
        """Targets by category, and what is left out."""
        pairs: dict[str, Target] = {}
        left_out = []
        for category in image.categories:
            classes = self.classes(category)
            instances = [item for item in image.of(category) if self.crowds or not item.crowd]
            if not classes:
                left_out.append((image.id, category, "the category has no classes"))
            elif not instances:
                reason = "only crowds of it are annotated" if image.of(category) else "it is annotated without a place"
                left_out.append((image.id, category, reason))
            else:
                pairs[category] = category_target(classes)
        return pairs, left_out

    def _is_difficult(self, image: AnnotatedImage, category: str) -> bool:
        if self.difficult is None:
            return is_difficult(image, category, self.truth)
        if image.id not in self.difficult:
            self.data.problems.report(
                image.path, f"image {image.id!r} is not in the list of difficult images; taken for not difficult."
            )
        return category in self.difficult.get(image.id, ())

    def _answers(
        self,
        name: str,
        method: AnyMethod,
        image: AnnotatedImage,
        one: torch.Tensor,
        pairs: Mapping[str, Target],
        box: tuple[float, float, float, float],
    ) -> Iterable[tuple[str, str, tuple[int, int], float | None, float]]:
        """Category, layer, point, mass and seconds for each map of a method."""
        if isinstance(method, Centre):
            return [(category, "", method.point(image.size), None, 0.0) for category in pairs]
        layers = self.layers[name]
        start = time.perf_counter()
        try:
            found = maps_at(method, self.model, one, list(pairs.values()), layers)
            maps = [item[0].detach().to("cpu") for item in found]
        except STOPPERS:
            raise
        except (ExcitationError, RuntimeError) as error:
            self._fail(name, image, error)
            return []
        seconds = (time.perf_counter() - start) / (len(pairs) * len(layers))
        answers = []
        for layer, of_layer in zip(layers, maps, strict=True):
            for category, attention in zip(pairs, of_layer, strict=True):
                if not bool(torch.isfinite(attention).all()):
                    self._fail(name, image, ExcitationError(f"its map for {category} is not finite."))
                    continue
                point = point_of_map(attention, image.size, box=box, blur=name in self.blur)
                answers.append((category, layer or DEFAULT_LAYER, point, float(attention.double().sum()), seconds))
        if answers:
            self._worked.add(name)
        return answers

    def _fail(self, name: str, image: AnnotatedImage, error: Exception) -> None:
        self._failed[name] += 1
        if name not in self._worked and self._failed[name] >= GIVE_UP:
            raise ExcitationError(f"method {name!r} failed on {GIVE_UP} images and worked on none: {error}") from error
        words = " ".join(str(error).split())
        self.data.problems.report(image.path, f"method {name!r} failed: {words} Its results are missing.")


def _output(model: LoadedModel) -> str | int | None:
    chosen = model.output
    return chosen if chosen is None or isinstance(chosen, (str, int)) else describe_method(chosen)
