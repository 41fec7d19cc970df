"""Options of `excitation bench`, and functions that parse their values."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from .._errors import ExcitationError
from ._options import ModelSpec

if TYPE_CHECKING:
    from ..core import SpatialWeighting
    from ..evaluation._method_runner import AnyMethod


class Parts(str, Enum):
    """The weights of a category's classes in its target."""

    equal = "equal"
    probability = "probability"


class Truth(str, Enum):
    """The ground truth of an instance's location."""

    segments = "segments"
    boxes = "boxes"


class Frame(str, Enum):
    """The image that defines the pixels of a tolerance."""

    picture = "picture"
    input = "input"


class Shape(str, Enum):
    """The shape of the tolerance."""

    disc = "disc"
    square = "square"


class Kind(str, Enum):
    """The kind of class scores."""

    softmax = "softmax"
    sigmoid = "sigmoid"
    score = "score"


DataSpec = Annotated[
    str, typer.Option("--data", metavar="SPEC", help="coco:ROOT, voc:ROOT or imagenet:ROOT.", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", metavar="RUN", help="The file of results.", show_default=False)]
MethodNames = Annotated[
    str,
    typer.Option(
        "--methods",
        metavar="NAMES",
        help="With commas between: those of `excitation methods`, and centre. NAME@LAYER or NAME@LAYER+LAYER for layers"
        " of its own, NAME:OPTION=VALUE for its options, spatial among them.",
    ),
]
LayerNames = Annotated[
    str | None,
    typer.Option(
        "--layer",
        metavar="NAMES",
        help="Where Excitation Backprop's maps are taken, with commas between; all others have NAME@LAYER or their"
        " own choice.",
        show_default=False,
    ),
]
Mapping = Annotated[
    Path | None,
    typer.Option("--mapping", metavar="FILE", help="JSON: the classes of each category.", show_default=False),
]


MixtureName = Annotated[
    Parts,
    typer.Option("--mixture", help="Of the several classes of a category: in equal parts, or by the network's own"
                 " probabilities in the picture, for all methods alike (r-mwp always takes the latter)."),
]  # fmt: skip
Shortest = Annotated[
    int, typer.Option("--shortest", metavar="PIXELS", min=1, help="Shortest side of the network's input.")
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first images.", show_default=False)
]
Spatial = Annotated[
    str,
    typer.Option(
        "--spatial",
        metavar="NAMES",
        help="How a class is spread over a score map: response, softmax, posterior; with commas between, every method"
        " is asked with each.",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only the I-th of N equal parts; `excitation merge` joins them.",
        show_default=False,
    ),
]
Network = Annotated[
    str | None,
    typer.Option("--network", metavar="NAME", help="What tables call the model.", show_default=False),
]
Difficult = Annotated[
    Path | None,
    typer.Option("--difficult", metavar="FILE", help="A list of difficult images instead of the paper's rule: id, then"
                 " 0 or 1 per category.", show_default=False),
]  # fmt: skip
Places = Annotated[
    Truth | None, typer.Option("--truth", help="Segments or boxes; the data set's own.", show_default=False)
]
Radius = Annotated[float, typer.Option("--tolerance", metavar="PIXELS", min=0, help="How far a point may be off.")]
InFrame = Annotated[Frame, typer.Option("--frame", help="Whose pixels the tolerance is in.")]
InShape = Annotated[Shape, typer.Option("--shape", help="Disc: Euclidean distance.")]
Crowds = Annotated[bool, typer.Option("--crowds/--no-crowds", help="Whether COCO's crowds count as instances that a"
                      " point can hit. For what is difficult they always count: the paper's rule takes the whole area"
                      " of a category in the picture.")]  # fmt: skip
ScoreKind = Annotated[
    Kind,
    typer.Option("--probability", help="What makes probabilities of the scores: softmax over classes, sigmoid for"
                 " classes that are independent, score if they are probabilities already."),
]  # fmt: skip
SweptLayers = Annotated[
    str | None,
    typer.Option("--layer", metavar="NAMES", help="With commas between; all that all evidence passes through if"
                 " left out.", show_default=False),
]  # fmt: skip


@dataclass(kw_only=True)
class RunOptions:
    """Options of all games. `excitation bench GAME --help` describes them."""

    data: DataSpec
    model: ModelSpec
    out: Out
    methods: MethodNames
    layer: LayerNames = None
    spatial: Spatial = "response"
    mapping: Mapping = None
    limit: Limit = None
    shard: Shard = None
    network: Network = None

    def read(self) -> dict[str, Any]:
        """Parse the arguments of every run, fast ones first.

        Raises:
            ExcitationError: an argument is invalid.
        """
        from ..data import open_data, read_mapping
        from ..models._catalogue import load_model

        shard = read_shard(self.shard)
        methods, layers = self.read_methods()
        mapping = None if self.mapping is None else read_mapping(self.mapping)
        data = open_data(self.data)
        return {
            "model": load_model(self.model), "data": data, "methods": methods, "layers": layers, "out": self.out,
            "mapping": mapping, "limit": self.limit, "shard": shard, "network": self.network,
        }  # fmt: skip

    def read_methods(self) -> tuple[dict[str, AnyMethod], dict[str, tuple[str | None, ...]]]:
        """Return methods by their names in tables, and the layers of each. Errors are those of `read_methods`."""
        return read_methods(self.methods, self.layer, self.spatial)


@dataclass(kw_only=True)
class PictureOptions(RunOptions):
    """Options of games that compute a map for each category of a picture."""

    mixture: MixtureName = Parts.equal

    def read(self) -> dict[str, Any]:
        """As `RunOptions.read`."""
        return {**super().read(), "mixture": self.mixture.value}


@dataclass(kw_only=True)
class PointOptions(PictureOptions):
    """Options of the pointing game."""

    shortest: Shortest = 224
    difficult: Difficult = None
    truth: Places = None
    tolerance: Radius = 15
    frame: InFrame = Frame.picture
    shape: InShape = Shape.disc
    crowds: Crowds = True

    def read(self) -> dict[str, Any]:
        """As `RunOptions.read`."""
        from ..data import read_difficult_list
        from ..evaluation import Tolerance

        given = super().read()
        categories = given["data"].categories
        return {
            **given,
            "shortest": self.shortest,
            "difficult": None if self.difficult is None else read_difficult_list(self.difficult, categories),
            "truth": None if self.truth is None else self.truth.value,
            "tolerance": Tolerance(self.tolerance, self.shape.value, self.frame.value),
            "crowds": self.crowds,
        }


@dataclass(kw_only=True)
class SweepOptions(PointOptions):
    """Options of the layer sweep, which uses the same layers for all methods."""

    layer: SweptLayers = None

    def read(self) -> dict[str, Any]:
        """As `RunOptions.read`. Methods without layers of their own use all layers of the sweep."""
        from ..evaluation import sweep_layers

        given = super().read()
        swept = tuple(split(self.layer or "")) or sweep_layers(given["model"], given["data"], self.shortest)
        layers = {name: swept if places == (None,) else places for name, places in given["layers"].items()}
        return {**given, "layers": layers}

    def read_methods(self) -> tuple[dict[str, AnyMethod], dict[str, tuple[str | None, ...]]]:
        """As `RunOptions.read_methods`."""
        return read_methods(self.methods, None, self.spatial)


def read_shard(text: str | None) -> tuple[int, int]:
    """Parse `I/N`, counted from 1, to `(index, count)`, counted from 0.

    Raises:
        ExcitationError: the text is not a shard.
    """
    if text is None:
        return 0, 1
    first, slash, count = text.partition("/")
    if slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count):
        return int(first) - 1, int(count)
    raise ExcitationError(f"shard {text!r} is not of the form I/N with I from 1 to N, such as 2/4.")


def read_methods(
    names: str, layer: str | None, spatial: str
) -> tuple[dict[str, AnyMethod], dict[str, tuple[str | None, ...]]]:
    """Return methods by their names in tables, and the layers of each.

    Args:
        names: names of the methods, as in the option.
        layer: layer for the methods of Excitation Backprop.
        spatial: one or more spatial weightings. Names in tables contain the weighting if it is not the response.

    Raises:
        ExcitationError: a method, option or spatial weighting does not exist, a method is given twice, or `layer`
            applies to no method.
    """
    from ..evaluation import Centre, NamedMethod
    from ..methods import find_method

    methods: dict[str, AnyMethod] = {}
    layers: dict[str, tuple[str | None, ...]] = {}
    weightings = [read_spatial(item) for item in split(spatial)] or ["response"]
    used = False
    for item in split(names):
        text, _, own = item.partition("@")
        name, *words = text.split(":")
        if name == "centre":
            methods[name], layers[name] = Centre(), (None,)
            continue
        found = find_method(name)
        options = dict(_option(word, text) for word in words)
        unknown = sorted(set(options) - {*found.options, "spatial"})
        if unknown:
            known = ", ".join([*found.options, "spatial"])
            raise ExcitationError(f"method {name!r} has no option {unknown[0]!r}; its options: {known}.")
        asked = options.pop("spatial", None)
        for weighting in weightings if asked is None else [read_spatial(str(asked))]:
            plain = ":".join([name, *(word for word in words if not word.startswith("spatial="))])
            shown = plain if weighting == "response" else f"{plain} ({weighting})"
            places: tuple[str | None, ...] = tuple(own.split("+")) if own else (None,)
            if not own and layer is not None and found.family == "excitation":
                places, used = tuple(split(layer)), True
            if shown in methods:
                raise ExcitationError(
                    f"method {shown!r} is named twice; give all its layers at once, NAME@LAYER+LAYER."
                )
            methods[shown] = NamedMethod(found.name, weighting, tuple(sorted(options.items())))
            layers[shown] = places
    if layer is not None and not used:
        raise ExcitationError(
            f"--layer {layer} is for Excitation Backprop's own methods without a layer of their own, of which none is"
            " asked; name the others' layers as METHOD@LAYER."
        )
    return methods, layers


def read_spatial(text: str) -> SpatialWeighting:
    """Return a spatial weighting by name.

    Raises:
        ExcitationError: there is no spatial weighting with this name.
    """
    from ..core import SpatialWeighting

    known: tuple[SpatialWeighting, ...] = get_args(SpatialWeighting)
    for weighting in known:
        if text == weighting:
            return weighting
    raise ExcitationError(f"spatial weighting {text!r} is not one of {', '.join(known)}.")


def split(text: str) -> list[str]:
    """Split a comma-separated list."""
    return [word for word in map(str.strip, text.split(",")) if word]


def _option(word: str, text: str) -> tuple[str, object]:
    name, equals, value = word.partition("=")
    if not name or not equals:
        raise ExcitationError(f"method {text!r}: {word!r} is not of the form OPTION=VALUE.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value  # a word needs no quotation marks
