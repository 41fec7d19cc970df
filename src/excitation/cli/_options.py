"""Options that several commands share, and functions that read their values."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import torch
import typer
from PIL import Image

from .._checks import check_choice
from .._errors import ExcitationError
from .._files import read_at_most
from ..data._pictures import PictureError, find_pictures, read_picture
from ..engine import Policies
from ..methods import Method, find_method
from ..models import LoadedModel, load_model
from ..models._catalogue import model_files
from ._console import report_line


class Format(str, Enum):
    """The file format of figures."""

    png = "png"
    pdf = "pdf"
    svg = "svg"
    none = "none"


class Scale(str, Enum):
    """The colour scale of the maps in a figure."""

    shared = "shared"
    own = "own"


ModelSpec = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="SPEC",
        help="The network. Bundled: symbols, symbols:resnet, symbols:tags; lite, lite1, lite2 (extra lite)."
        " From libraries: torchvision:NAME[@WEIGHTS], timm:NAME[@WEIGHTS], hf:REPO_OR_FOLDER."
        " From files: onnx:FILE; caffe:PROTOTXT,CAFFEMODEL[,MEAN.binaryproto]; paper:NAME@WEIGHTS;"
        " trained:FILE, written by `excitation train`."
        " From Python: package.module:factory[@weights.safetensors]; the factory is called without arguments."
        " The prefix convolutional: makes a classifier fully convolutional; pool-first: makes it classify after"
        " pooling.",
        show_default=False,
    ),
]
Targets = Annotated[
    list[str],
    typer.Option(
        "--target",
        metavar="CLASS",
        help="A class index, a class name, a word for several classes such as dog, or top1, top5, ... for the classes"
        " with the highest scores in each picture. May be repeated.",
        show_default=False,
    ),
]
ClassNames = Annotated[
    Path | None,
    typer.Option(
        "--class-names",
        metavar="FILE",
        help="Class names, one per line, for networks without class names.",
        show_default=False,
    ),
]
NetworkName = Annotated[
    str | None,
    typer.Option(
        "--network", metavar="NAME", help="Name of the network in figures and tables. Default: a short form of"
        " --model.",
        show_default=False,
    ),
]  # fmt: skip
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Where to compute: cpu, cuda, cuda:1 or mps.")]
Policy = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="NAME=VALUE",
        help="A choice that the paper leaves open, for methods of Excitation Backprop: residual=branch,"
        " batch_norm=copy, normaliser=spread, threshold=0.001, signed=original, bounded=original, product=halves."
        " May be repeated.",
        show_default=False,
    ),
]
FigureFormat = Annotated[Format, typer.Option("--format", help="File format of figures; none writes no figures.")]
ColourScale = Annotated[
    Scale,
    typer.Option(
        "--scale",
        help="shared: all maps of a figure have one colour scale, so that weak maps look weak. own: each map has its"
        " own, from zero to its maximum.",
    ),
]
DataSpec = Annotated[
    str, typer.Option("--data", metavar="SPEC", help="coco:ROOT, voc:ROOT or imagenet:ROOT.", show_default=False)
]
Folder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the results.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def split(text: str) -> list[str]:
    """Split a comma-separated list."""
    return [word for word in map(str.strip, text.split(",")) if word]


def class_or_index(text: str) -> int | str:
    """Parse a target: an integer is a class index, any other text is a class name or `topN`."""
    return int(text) if text.strip().isdecimal() else text


@dataclass(frozen=True)
class MethodChoice:
    """A method with its options and layers.

    Attributes:
        method: the method.
        words: the options as typed, `OPTION=VALUE`.
        options: the options, with parsed values. `spatial` is possible for each method.
        layers: the layers; empty for the default.
    """

    method: Method
    words: tuple[str, ...]
    options: Mapping[str, Any]
    layers: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the method, with its options as typed."""
        return ":".join([self.method.name, *self.words])


def read_method(text: str) -> MethodChoice:
    """Parse `NAME[:OPTION=VALUE...][@LAYER[+LAYER...]]`.

    Raises:
        ExcitationError: an unknown method or option.
    """
    head, _, layers = text.partition("@")
    name, *words = head.split(":")
    method = find_method(name)
    options = dict(read_option(word, head) for word in words)
    unknown = sorted(set(options) - {*method.options, "spatial"})
    if unknown:
        known = ", ".join([*method.options, "spatial"])
        raise ExcitationError(f"method {name!r} has no option {unknown[0]!r}; its options: {known}.")
    return MethodChoice(method, tuple(words), options, tuple(filter(None, map(str.strip, layers.split("+")))))


def read_option(word: str, method: str) -> tuple[str, object]:
    """Parse `OPTION=VALUE` of a method.

    Raises:
        ExcitationError: the text has another form.
    """
    name, equals, value = word.partition("=")
    if not name or not equals:
        raise ExcitationError(f"method {method!r}: {word!r} is not of the form OPTION=VALUE.")
    return name, _value(value)


def read_policies(words: Sequence[str] | None) -> Policies | None:
    """Parse `NAME=VALUE` for each policy; `None` for the default policies.

    Raises:
        ExcitationError: an unknown policy or value.
    """
    if not words:
        return None
    known = get_type_hints(Policies)
    values: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in known:
            raise ExcitationError(f"--policy {word} is not of the form NAME=VALUE; the names: {', '.join(known)}.")
        if name in values:
            raise ExcitationError(f"--policy {name} is given twice; give it once.")
        values[name] = _policy(name, value, get_args(known[name]))
    return Policies(**values)


def _policy(name: str, text: str, choices: Sequence[object]) -> object:
    if name != "threshold":
        check_choice(f"policy {name}", text, choices)
        return text
    try:
        return float(text)
    except ValueError:
        raise ExcitationError(f"policy threshold is {text!r}; a number from 0 to 1 is expected.") from None


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # a word needs no quotation marks


def load_network(spec: str, *, device: str = "cpu", class_names: Path | None = None) -> LoadedModel:
    """Load a network onto a device.

    Args:
        spec: the value of `--model`.
        device: the value of `--device`.
        class_names: a file with class names that replace those of the model.

    Raises:
        ExcitationError: the network cannot be loaded, or the device does not exist.
    """
    place = read_device(device)
    loaded = load_model(spec)
    loaded.model.to(place)
    if class_names is None:
        return loaded
    return dataclasses.replace(loaded, class_names=read_class_names(class_names))


MAX_NAMES = 2**24
"""Bytes of a file of class names: 16 MB."""


def read_class_names(path: Path) -> list[str]:
    """Read the class names in a file, one per line.

    Raises:
        ExcitationError: the file cannot be read, is too large, or is not text in UTF-8.
    """

    def fail(clause: str) -> ExcitationError:
        return ExcitationError(f"--class-names {path} {clause}")

    expected = "give a text file in UTF-8 with one class name per line."
    content = read_at_most(path, MAX_NAMES, fail, f"has more than {MAX_NAMES} bytes; {expected}")
    try:
        return content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise fail(f"is not text in UTF-8; {expected}") from error


def read_device(name: str) -> torch.device:
    """Return a device.

    Raises:
        ExcitationError: there is no such device on this machine.
    """
    known = f"--device {name} does not exist here; choose one of {', '.join(devices())}."
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:  # torch has no common error for missing devices
        raise ExcitationError(known) from error
    if device.type == "meta":
        raise ExcitationError(known)
    return device


def devices() -> list[str]:
    """Names of the devices of this machine."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{i}" for i in range(1, torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def base_configuration(model: str, targets: Sequence[str], class_names: Path | None) -> dict[str, object]:
    """The settings that all maps of a run depend on. Results of another configuration are never used.

    Raises:
        ModelError: an unknown source of models.
        ExcitationError: the class names cannot be read.
    """
    from .. import __version__
    from ._results import digest

    if class_names is not None:
        read_class_names(class_names)  # a file that is too large or of another kind is refused before it is hashed
    found: dict[str, object] = {
        "version": __version__,
        "model": model,
        "weights": [digest(path) for path in model_files(model) if path.is_file()],
        "targets": list(targets),
    }
    return {**found, "class_names": None if class_names is None else digest(class_names)}


def read_for(loaded: LoadedModel, path: Path) -> Image.Image | PictureError:
    """Read a picture for a network; return the error if it cannot be read, or if its shape is not supported."""
    try:
        picture = read_picture(path)
        loaded.preprocessing.input_size((picture.height, picture.width))
    except PictureError as error:
        return error
    except ExcitationError as error:
        return PictureError(f"{path}: {error}")
    return picture


NAMED = 5
"""Largest number of files that a message names."""


def pictures_of(places: Sequence[Path], out: Path, *, recursive: bool = True) -> dict[Path, Path]:
    """Return the pictures in files and folders, with their names (see `find_pictures`). Report files without a picture.

    Raises:
        PictureError: a path does not exist, a folder contains no picture, or `out` is one of the folders.
    """
    found = find_pictures(places, out=out, recursive=recursive)
    if found.others:
        more = f" and {len(found.others) - NAMED} more" if len(found.others) > NAMED else ""
        names = ", ".join(path.name for path in found.others[:NAMED])
        report_line(f"skipped, because the names do not end like those of pictures: {names}{more}.")
    return found.pictures
