"""Options of `excitation bench`, and functions that parse their values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from .._errors import ExcitationError
from ._options import DataSpec, Device, ModelSpec, NetworkName, load_network, read_method, split

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


Out = Annotated[Path, typer.Option("--out", metavar="RUN", help="File of the results.", show_default=False)]
MethodNames = Annotated[
    str,
    typer.Option(
        "--methods",
        metavar="NAMES",
        help="Comma-separated names from `excitation methods`, or centre. NAME@LAYER or NAME@LAYER+LAYER sets the"
        " layers"
        " of a method, NAME:OPTION=VALUE its options, including spatial.",
    ),
]
LayerNames = Annotated[
    str | None,
    typer.Option(
        "--layer",
        metavar="NAMES",
        help="Comma-separated layers for the methods of Excitation Backprop without @LAYER. Other methods without"
        " @LAYER"
        " use their default layers.",
        show_default=False,
    ),
]
Mapping = Annotated[
    Path | None,
    typer.Option("--mapping", metavar="FILE", help="JSON file with the classes of each category.", show_default=False),
]


MixtureName = Annotated[
    Parts,
    typer.Option("--mixture", help="Weights of the classes of a category with several classes: equal, or the"
                 " network's probabilities in the picture. The same for all methods; r-mwp always uses probabilities."),
]  # fmt: skip
Shortest = Annotated[
    int, typer.Option("--shortest", metavar="PIXELS", min=1, help="Shortest side of the network input.")
]
Limit = Annotated[
    int | None, typer.Option("--limit", metavar="N", min=1, help="Use only the first N images.", show_default=False)
]
Spatial = Annotated[
    str,
    typer.Option(
        "--spatial",
        metavar="NAMES",
        help="How the signal of a class is distributed over a score map: response, softmax or posterior."
        " Comma-separated"
        " values run every method with each.",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Run only the I-th of N equal parts; `excitation merge` joins the parts.",
        show_default=False,
    ),
]
Difficult = Annotated[
    Path | None,
    typer.Option("--difficult", metavar="FILE", help="List of difficult images that replaces the paper's rule: the"
        " image id,"
                 " then 0 or 1 for each category.", show_default=False),
]  # fmt: skip
Places = Annotated[
    Truth | None,
    typer.Option(
        "--truth", help="Ground truth: segments or boxes. Default: the choice of the data set.", show_default=False
    ),
]
Radius = Annotated[
    float,
    typer.Option("--tolerance", metavar="PIXELS", min=0, help="Largest distance from the object that counts as a hit."),
]
InFrame = Annotated[Frame, typer.Option("--frame", help="The image in whose pixels the tolerance is measured.")]
InShape = Annotated[Shape, typer.Option("--shape", help="Shape of the tolerance. disc is the Euclidean distance.")]
Crowds = Annotated[
    bool, typer.Option("--crowds/--no-crowds", help="Whether a point can hit the crowds of COCO. They"
                      " always count in the rule for difficult images, which uses the total area of a category.")
]  # fmt: skip
ScoreKind = Annotated[
    Kind,
    typer.Option("--probability", help="How scores become probabilities: softmax over classes, sigmoid for"
                 " independent classes, score if the scores are probabilities."),
]  # fmt: skip
SweptLayers = Annotated[
    str | None,
    typer.Option("--layer", metavar="NAMES", help="Comma-separated layers. Default: all layers that every path passes"
                 " through.", show_default=False),
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
    network: NetworkName = None
    device: Device = "cpu"

    def read(self) -> dict[str, Any]:
        """Parse the arguments of every run, fast ones first.

        Raises:
            ExcitationError: an argument is invalid.
        """
        from ..data import open_data, read_mapping

        shard = read_shard(self.shard)
        methods, layers = self.read_methods()
        mapping = None if self.mapping is None else read_mapping(self.mapping)
        data = open_data(self.data)
        return {
            "model": load_network(self.model, device=self.device), "data": data, "methods": methods, "layers": layers,
            "out": self.out, "mapping": mapping, "limit": self.limit, "shard": shard, "network": self.network,
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

    methods: dict[str, AnyMethod] = {}
    layers: dict[str, tuple[str | None, ...]] = {}
    weightings = [read_spatial(item) for item in split(spatial)] or ["response"]
    used = False
    for item in split(names):
        if item.partition("@")[0] == "centre":
            methods["centre"], layers["centre"] = Centre(), (None,)
            continue
        choice = read_method(item)
        options = dict(choice.options)
        asked = options.pop("spatial", None)
        plain = ":".join([choice.method.name, *(word for word in choice.words if not word.startswith("spatial="))])
        own: tuple[str | None, ...] = choice.layers or (None,)
        if not choice.layers and layer is not None and choice.method.family == "excitation":
            own, used = tuple(split(layer)), True
        for weighting in weightings if asked is None else [read_spatial(str(asked))]:
            shown = plain if weighting == "response" else f"{plain} ({weighting})"
            if shown in methods:
                raise ExcitationError(
                    f"method {shown!r} is given twice; give all its layers at once, NAME@LAYER+LAYER."
                )
            methods[shown] = NamedMethod(choice.method.name, weighting, tuple(sorted(options.items())))
            layers[shown] = own
    if layer is not None and not used:
        raise ExcitationError(
            f"--layer {layer} applies to no method: it is for methods of Excitation Backprop without @LAYER; give other"
            " methods their layers as NAME@LAYER."
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
