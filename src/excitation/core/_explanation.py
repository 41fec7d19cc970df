"""The result of an explanation: attention maps and the data needed to interpret them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float, Int

from .._checks import SIDES, check_number, check_size
from .._errors import ExcitationError
from .._maps import Box, boxes_of_map, find_peak
from ._figures import Drawable, Options, count_maps, draw
from ._postprocessing import normalize_maps, resize_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Maps = Float[torch.Tensor, "image target *space"]


@dataclass(frozen=True)
class Frame:
    """The source picture of a map.

    Attributes:
        size: size of the full picture in pixels, `(height, width)` in two dimensions.
        box: the crop that the network received, `(x0, y0, x1, y1)` in pixels; `None` for the full picture.
    """

    size: tuple[int, ...]
    box: Box | None = None


@dataclass(frozen=True, eq=False)
class Explanation(Drawable):
    """Attention maps of a batch of images, with the data needed to interpret them.

    `explanation.maps` returns the maps of a single-layer explanation. `explanation["layer3"]` returns the maps of one
    of several layers. For methods with mass (MWP), a map sums over space to the probability that the winner walk
    passes through the layer.

    Attributes:
        by_layer: maps of each layer, `(image, target, height, width)`; float32, or float64 if the network computes in
            float64. If images have different numbers of targets, the maps beyond an image's own targets are zero. If
            pictures have different sizes, the value is a list of `(target, height, width)` tensors, one per picture.
        targets: the label of each target of each image.
        scores: the score of each target, `(image, target)`: target weights times class scores, averaged over
            positions.
        method: name of the method.
        frames: the source picture of each image.
        top: mass of the top-down signal, `(image, target)`. `None` for methods without mass; `share`,
            `strides` and `is_cut` are then empty.
        share: for each layer, the mass at the layer divided by `top`, before negative values are set to zero. NaN for
            contrasts, for which `top` is zero.
        strides: for each layer, the number of image pixels per map cell.
        is_cut: for each layer, whether every path from the images to the scores passes through it. Such a layer cuts
            the network in two.
        pictures: the pictures as they were given (PIL pictures, paths or arrays; references, not copies), which figures
            show. `None` for images given as tensors.
        origin: of resized or normalized maps, the explanation with the raw maps: figures take masses from it.
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
    pictures: tuple[Any, ...] | None = field(default=None, repr=False)
    origin: Explanation | None = field(default=None, repr=False)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of all layers."""
        return tuple(self.by_layer)

    @property
    def layer(self) -> str:
        """Name of the only layer.

        Raises:
            ExcitationError: the explanation has several layers.
        """
        if len(self.by_layer) > 1:
            names = ", ".join(map(repr, self.by_layer))
            raise ExcitationError(f"this explanation has maps at layers {names}; select one layer: result[name].")
        return next(iter(self.by_layer))

    @property
    def maps(self) -> Maps:
        """Maps of the only layer, `(image, target, height, width)`.

        Raises:
            ExcitationError: the explanation has several layers, or its pictures have different sizes.
        """
        return self[self.layer]

    def __getitem__(self, layer: str) -> Maps:
        """Maps of one layer, `(image, target, height, width)`.

        Raises:
            ExcitationError: the explanation does not contain this layer, or its pictures have different sizes.
        """
        maps = self._of(layer)
        if isinstance(maps, list):
            sizes = ", ".join(dict.fromkeys(" x ".join(map(str, item.shape[1:])) for item in maps))
            raise ExcitationError(f"the maps have different sizes ({sizes}); take a list of them: result.per_image().")
        return maps

    def at(self, layer: str) -> Explanation:
        """Return the explanation restricted to one layer.

        Raises:
            ExcitationError: the explanation does not contain this layer.
        """
        self._of(layer)

        def only(values: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in values.items() if name == layer}

        return replace(
            self, by_layer=only(self.by_layer), share=only(self.share), strides=only(self.strides),
            is_cut=only(self.is_cut), views=only(self.views), origin=self.origin and self.origin.at(layer),
        )  # fmt: skip

    def image(self, index: int) -> Explanation:
        """Return the explanation of one image, with the targets of this image only.

        Args:
            index: position of the image, counted from 0.

        Raises:
            ExcitationError: there is no such image.
        """
        check_number("index", index, f"an image from 0 to {len(self.targets) - 1}", least=0, whole=True)
        if index >= len(self.targets):
            raise ExcitationError(f"index is {index}; there are {len(self.targets)} images, counted from 0.")
        count = len(self.targets[index])

        def row(values: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
            return values[index][None, :count]

        return replace(
            self,
            by_layer={name: row(maps) for name, maps in self.by_layer.items()},
            targets=(self.targets[index],),
            scores=row(self.scores),
            frames=(self.frames[index],),
            top=None if self.top is None else row(self.top),
            share={name: row(values) for name, values in self.share.items()},
            pictures=None if self.pictures is None else (self.pictures[index],),
            measure=None,
            origin=self.origin and self.origin.image(index),
        )

    def per_image(self, layer: str | None = None) -> list[Float[torch.Tensor, "_ ..."]]:
        """Return the maps of each image, `(target, height, width)`, without the padding for missing targets."""
        maps = self._of(self.layer if layer is None else layer)
        return [item[: len(names)] for item, names in zip(maps, self.targets, strict=True)]

    @cached_property
    def balance(self) -> Any:
        """The balance of probability mass (`MassBalance`). The first access runs another forward pass and sweep.

        Raises:
            ExcitationError: the method has no mass, the explanation has several layers, or it was not made by an
                `Explainer`.
        """
        if self.measure is None:
            raise ExcitationError(
                f"method {self.method!r} has no mass balance here; the methods mwp, c-mwp and r-mwp have one."
            )
        return self.measure()

    def resized(self, size: Sequence[int] | None = None) -> Explanation:
        """Resize the maps to the size of each picture, or to a given size, by bicubic interpolation.

        Resized maps no longer sum to the mass. Bicubic interpolation can produce negative values next to a peak (down
        to -12 % of the maximum); `.clamp(min=0)` removes them. Outside the crop that the network received, maps are
        zero.

        Args:
            size: target size in pixels, one number per spatial dimension; the size of each picture if not given.

        Raises:
            ExcitationError: `size` is not a valid size.
        """
        resized = {name: self._resized(name, size) for name in self.by_layer}
        # Without a size, maps cover the full pictures, no longer the crops.
        frames = self.frames if size is not None else tuple(Frame(frame.size) for frame in self.frames)
        return replace(self, by_layer=resized, frames=frames, origin=self.origin or self)

    def normalized(self, by: Literal["max", "sum"] = "max") -> Explanation:
        """Divide each map by its largest absolute value or by its absolute sum. Empty maps are not changed."""

        def scaled(maps: Maps | list[torch.Tensor]) -> Maps | list[torch.Tensor]:
            if isinstance(maps, list):
                return [normalize_maps(item[None], by)[0] for item in maps]
            return normalize_maps(maps, by)

        by_layer = {name: scaled(maps) for name, maps in self.by_layer.items()}
        return replace(self, by_layer=by_layer, origin=self.origin or self)

    def peaks(self) -> Int[torch.Tensor, "image target 2"]:
        """The position of the maximum of each map, in pixels of its picture, after resizing to the picture.

        Returns:
            `(image, target, 2)`: column and row, counted from the upper left corner. -1 for constant maps, which
            include empty maps.

        Raises:
            ExcitationError: the maps are not two-dimensional, or the explanation has several layers.
        """
        positions = torch.full((len(self.targets), max(map(len, self.targets)), 2), -1)
        for i, k, attention, frame in self._each():
            peak = find_peak(attention, (frame.size[0], frame.size[1]), box=frame.box)
            if peak is not None:
                positions[i, k] = torch.tensor(peak)
        return positions

    def boxes(self, alpha: float) -> Float[torch.Tensor, "image target 4"]:
        """The smallest box around all values above `alpha` times the mean of the map (Sec. 4.2).

        Args:
            alpha: multiple of the mean. The paper selects it for each method on held-out images (Table 3).

        Returns:
            `(image, target, 4)`: half-open boxes `(x0, y0, x1, y1)` in pixels of the picture; NaN if no value exceeds
            the threshold.

        Raises:
            ExcitationError: `alpha` is not a finite number; or an error of `peaks`.
        """
        check_number("alpha", alpha, "a multiple of the map's mean")
        drawn = torch.full((len(self.targets), max(map(len, self.targets)), 4), torch.nan, dtype=torch.float64)
        for i, k, attention, frame in self._each():
            x0, y0, x1, y1 = frame.box or (0.0, 0.0, float(frame.size[1]), float(frame.size[0]))
            (box,) = boxes_of_map(attention, (1, 1), [alpha])
            if box is not None:
                wide, tall = x1 - x0, y1 - y0
                corners = (x0 + wide * box[0], y0 + tall * box[1], x0 + wide * box[2], y0 + tall * box[3])
                drawn[i, k] = torch.tensor(corners)
        return drawn

    def _draw(self, pictures: Any, options: Options) -> Figure:
        return draw(self, pictures, options)

    def _count(self) -> int:
        return count_maps(self)

    def __repr__(self) -> str:
        """Summarise the method, the layers, the targets and the share of the mass."""
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
        """Drop the reference to the network, which only `balance` needs."""
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
            target, space = size, maps.dim() - 2 - self.views.get(layer, 0)
            if size is None and len(set(self.frames)) == 1 and self.frames[0].box is None:
                target = self.frames[0].size[-space:]
            if target is not None:
                return resize_maps(maps, check_size("size", target, SIDES[space], dimensions=space))
        resized: list[torch.Tensor] = []
        for item, frame in zip(maps, self.frames, strict=True):
            resized.append(resize_maps(item[None], size)[0] if size is not None else _in_frame(item, frame))
        same = len({item.shape for item in resized}) == 1
        return torch.stack(resized) if same else resized

    def _each(self) -> list[tuple[int, int, torch.Tensor, Frame]]:
        """Image index, target index, map and picture of each (image, target) pair."""
        items: list[tuple[int, int, torch.Tensor, Frame]] = []
        for i, (maps, frame) in enumerate(zip(self.per_image(), self.frames, strict=True)):
            if maps.dim() != 3 or len(frame.size) != 2:
                raise ExcitationError(
                    f"maps have shape {tuple(maps.shape)}; peaks and boxes need maps (target, height, width)."
                )
            items.extend((i, k, attention, frame) for k, attention in enumerate(maps))
        return items


def _in_frame(maps: Float[torch.Tensor, "target height width"], frame: Frame) -> torch.Tensor:
    """Paste the maps of one image into the frame of its full picture."""
    if frame.box is None:
        return resize_maps(maps[None], frame.size)[0]
    x0, y0, x1, y1 = (round(side) for side in frame.box)
    whole = maps.new_zeros((len(maps), *frame.size))
    whole[:, y0:y1, x0:x1] = resize_maps(maps[None], (y1 - y0, x1 - x0))[0]
    return whole
