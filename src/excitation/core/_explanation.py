"""The result of explaining: attention maps with what is needed to read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from jaxtyping import Float, Int

from .._checks import SIDES, check_number, check_size
from .._errors import ExcitationError
from .._maps import Box, boxes_of_map, find_peak
from ._postprocessing import normalize_maps, resize_maps

Maps = Float[torch.Tensor, "image target *space"]


@dataclass(frozen=True)
class Frame:
    """The picture that a map lies on.

    Attributes:
        size: of the whole picture in pixels, `(height, width)` for two dimensions.
        box: the part of it that the network saw, `(x0, y0, x1, y1)` in pixels; `None` for all of it.
    """

    size: tuple[int, ...]
    box: Box | None = None


@dataclass(frozen=True, eq=False)
class Explanation:
    """Attention maps of some images, with what is needed to read them.

    `explanation.maps` are the maps of the one layer, `explanation["layer3"]` those of one of several. Maps of a method
    with mass (MWP) sum over space to the probability that the winners' walk passes the layer.

    Attributes:
        by_layer: `(image, target, height, width)` by layer: float32, or float64 if the network computes in it. With
            fewer targets in some images than in others, maps beyond an image's own are zero. Where pictures have
            different sizes, a list of `(target, height, width)`, one for each picture.
        targets: what was explained in each image, as text.
        scores: the network's score of each target: weights times class scores, averaged over positions.
        method: its name.
        frames: the picture each image comes from.
        top: mass of the top-down signal; `None` for methods without mass, like the next three.
        share: by layer: its mass over the mass on top, before negative values are cut; NaN for contrasts, whose mass
            on top is zero.
        strides: by layer: image pixels per map step.
        is_cut: by layer: whether all evidence passes it, so that the layer cuts the network in two.
    """

    by_layer: Mapping[str, Maps | list[torch.Tensor]]
    targets: tuple[tuple[str, ...], ...]
    scores: Float[torch.Tensor, "image target"]
    method: str
    frames: tuple[Frame, ...]
    top: Float[torch.Tensor, "image target"] | None = None
    share: Mapping[str, Float[torch.Tensor, "image target"]] = field(default_factory=dict)
    strides: Mapping[str, tuple[float, ...] | None] = field(default_factory=dict)
    is_cut: Mapping[str, bool] = field(default_factory=dict)
    views: Mapping[str, int] = field(default_factory=dict, repr=False)
    measure: Callable[[], Any] | None = field(default=None, repr=False)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers."""
        return tuple(self.by_layer)

    @property
    def layer(self) -> str:
        """The name of the only layer.

        Raises:
            ExcitationError: there are several.
        """
        if len(self.by_layer) > 1:
            names = ", ".join(map(repr, self.by_layer))
            raise ExcitationError(f"this explanation has maps at layers {names}; take those of one: result[name].")
        return next(iter(self.by_layer))

    @property
    def maps(self) -> Maps:
        """Maps of the only layer: `(image, target, height, width)`.

        Raises:
            ExcitationError: there are several layers, or pictures of different sizes.
        """
        return self[self.layer]

    def __getitem__(self, layer: str) -> Maps:
        """Maps of one layer.

        Raises:
            ExcitationError: there are none of this layer, or pictures of different sizes.
        """
        maps = self._of(layer)
        if isinstance(maps, list):
            sizes = ", ".join(dict.fromkeys(" x ".join(map(str, item.shape[1:])) for item in maps))
            raise ExcitationError(f"the maps have different sizes ({sizes}); take a list of them: result.per_image().")
        return maps

    def at(self, layer: str) -> Explanation:
        """The same explanation with one of its layers alone.

        Raises:
            ExcitationError: it has no such layer.
        """
        self._of(layer)

        def only(values: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in values.items() if name == layer}

        return replace(
            self, by_layer=only(self.by_layer), share=only(self.share), strides=only(self.strides),
            is_cut=only(self.is_cut), views=only(self.views),
        )  # fmt: skip

    def per_image(self, layer: str | None = None) -> list[Float[torch.Tensor, "_ ..."]]:
        """The maps of each image: `(target, height, width)`, with the image's own number of targets."""
        maps = self._of(self.layer if layer is None else layer)
        return [item[: len(names)] for item, names in zip(maps, self.targets, strict=True)]

    @cached_property
    def balance(self) -> Any:
        """The balance of probability mass (`MassBalance`), by another forward pass and sweep when first asked for.

        Raises:
            ExcitationError: the method has no mass, there are several layers, or the explanation was not made by an
                explainer.
        """
        if self.measure is None:
            raise ExcitationError(f"method {self.method!r} has no balance of mass here; mwp, c-mwp and r-mwp have one.")
        return self.measure()

    def resized(self, size: Sequence[int] | None = None) -> Explanation:
        """Maps at the size of each picture, or at another one: bicubic.

        Values no longer sum to mass, and beside a peak they can be negative though the map is not (-12 % of its maximum
        was seen; `.clamp(min=0)` helps). Outside the part of a picture that the network saw they are zero.

        Args:
            size: of the dimensions of space, in pixels; each picture's own if not given.

        Raises:
            ExcitationError: a size that is none.
        """
        return replace(self, by_layer={name: self._resized(name, size) for name in self.by_layer})

    def normalized(self, by: Literal["max", "sum"] = "max") -> Explanation:
        """Maps divided by their largest absolute value, or their absolute sum; empty maps stay empty."""

        def scaled(maps: Maps | list[torch.Tensor]) -> Maps | list[torch.Tensor]:
            if isinstance(maps, list):
                return [normalize_maps(item[None], by)[0] for item in maps]
            return normalize_maps(maps, by)

        return replace(self, by_layer={name: scaled(maps) for name, maps in self.by_layer.items()})

    def peaks(self) -> Int[torch.Tensor, "image target 2"]:
        """Where each map, in the size of its picture, is largest: `(x, y)` in the picture's pixels.

        Returns:
            Column and row from the upper left corner; -1 for maps that are the same everywhere, as empty ones are.

        Raises:
            ExcitationError: maps have another number of dimensions than two, or there are several layers.
        """
        found = torch.full((len(self.targets), max(map(len, self.targets)), 2), -1)
        for i, k, attention, frame in self._each():
            peak = find_peak(attention, (frame.size[0], frame.size[1]), box=frame.box)
            if peak is not None:
                found[i, k] = torch.tensor(peak)
        return found

    def boxes(self, alpha: float) -> Float[torch.Tensor, "image target 4"]:
        """The smallest box around all values above a multiple of the map's mean (Sec. 4.2).

        Args:
            alpha: the multiple; the paper chooses it for each method on held-out images (Table 3).

        Returns:
            `(x0, y0, x1, y1)` in the picture's pixels, half open; NaN where no value is above.

        Raises:
            ExcitationError: `alpha` is no finite number; or as `peaks`.
        """
        check_number("alpha", alpha, "a multiple of the map's mean")
        found = torch.full((len(self.targets), max(map(len, self.targets)), 4), torch.nan, dtype=torch.float64)
        for i, k, attention, frame in self._each():
            x0, y0, x1, y1 = frame.box or (0.0, 0.0, float(frame.size[1]), float(frame.size[0]))
            (box,) = boxes_of_map(attention, (1, 1), [alpha])
            if box is not None:
                wide, tall = x1 - x0, y1 - y0
                corners = (x0 + wide * box[0], y0 + tall * box[1], x0 + wide * box[2], y0 + tall * box[3])
                found[i, k] = torch.tensor(corners)
        return found

    def __repr__(self) -> str:
        """What was explained, where, and how much mass arrived."""
        numbers = {len(names) for names in self.targets}
        count = str(numbers.pop()) if len(numbers) == 1 else f"{min(numbers)} to {max(numbers)}"
        images = len(self.targets)
        same = len(set(self.targets)) == 1
        shown = ", ".join(self.targets[0][:5]) + (", ..." if len(self.targets[0]) > 5 else "") if same else ""
        layers = ", ".join(f"{name} {self._sizes(name)}" for name in self.by_layer)
        return (
            f"Explanation({self.method} of {images} image{'s' * (images != 1)} x {count} target"
            f"{'s' * (count != '1')}{f' ({shown})' if shown else ''} at {layers})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Without the network, which is needed for the balance alone."""
        return {**{key: value for key, value in vars(self).items() if key != "balance"}, "measure": None}

    def _of(self, layer: str) -> Maps | list[torch.Tensor]:
        if layer not in self.by_layer:
            names = ", ".join(map(repr, self.by_layer))
            raise ExcitationError(f"this explanation has no maps at layer {layer!r}; it has them at {names}.")
        return self.by_layer[layer]

    def _sizes(self, layer: str) -> str:
        space = 2 + self.views.get(layer, 0)
        maps = self.by_layer[layer]
        shapes = [item.shape[space - 1 :] for item in maps] if isinstance(maps, list) else [maps.shape[space:]]
        return " or ".join(dict.fromkeys(" x ".join(map(str, shape)) for shape in shapes))

    def _resized(self, layer: str, size: Sequence[int] | None) -> Maps | list[torch.Tensor]:
        maps = self._of(layer)
        if size is None and layer.startswith("input["):
            return maps  # one of several inputs, in its own size
        if not isinstance(maps, list):
            wanted, space = size, maps.dim() - 2 - self.views.get(layer, 0)
            if size is None and len(set(self.frames)) == 1 and self.frames[0].box is None:
                wanted = self.frames[0].size[-space:]
            if wanted is not None:
                return resize_maps(maps, check_size("size", wanted, SIDES[space], dimensions=space))
        found: list[torch.Tensor] = []
        for item, frame in zip(maps, self.frames, strict=True):
            found.append(resize_maps(item[None], size)[0] if size is not None else _in_frame(item, frame))
        same = len({item.shape for item in found}) == 1
        return torch.stack(found) if same else found

    def _each(self) -> list[tuple[int, int, torch.Tensor, Frame]]:
        """Image, target, map and picture of each pair that was asked for."""
        found: list[tuple[int, int, torch.Tensor, Frame]] = []
        for i, (maps, frame) in enumerate(zip(self.per_image(), self.frames, strict=True)):
            if maps.dim() != 3 or len(frame.size) != 2:
                raise ExcitationError(
                    f"maps have shape {tuple(maps.shape)}; peaks and boxes are those of maps (target, height, width)."
                )
            found.extend((i, k, attention, frame) for k, attention in enumerate(maps))
        return found


def _in_frame(maps: Float[torch.Tensor, "target height width"], frame: Frame) -> torch.Tensor:
    """Maps of one image on its whole picture."""
    if frame.box is None:
        return resize_maps(maps[None], frame.size)[0]
    x0, y0, x1, y1 = (round(side) for side in frame.box)
    whole = maps.new_zeros((len(maps), *frame.size))
    whole[:, y0:y1, x0:x1] = resize_maps(maps[None], (y1 - y0, x1 - x0))[0]
    return whole
