"""From an ONNX file to a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .._loaded import LoadedModel, ModelError, Preprocessing
from ..sources._weights import last_weighted
from . import _activations, _arithmetic, _arranging, _pooling, _resizing, _shaping, _weighted
from ._build import build
from ._call import shown
from ._external import ExternalData
from ._file import read_proto
from ._folding import fold
from ._fusion import fuse
from ._graph import read_graph
from ._trial import try_out

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of values from 0 to 1."""

SIDE = 224

MAX_MESSAGE = 600
"""Characters of an error: files can hold names and sizes of any length."""

MAX_NAMES = 1 << 20
"""Characters of the metadata's class names."""

_NAME = re.compile(r"""\s*(?:(\d{1,7})\s*:\s*)?(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*(?:,|$)""")
"""One entry of a list of texts, or of a dictionary from numbers to texts, as Python and JSON write them."""

# Imported for the operators they put into the table.
del _arithmetic, _activations, _arranging, _pooling, _resizing, _shaping, _weighted


def load_onnx(rest: str) -> LoadedModel:
    """A classifier from an ONNX file, whose nodes are computed by PyTorch's functions. Needs the extra `onnx`.

    Nothing in the file is run as code. Operators of opsets 7 to 22 that image classifiers use are supported.

    Args:
        rest: the file. Its only input is pictures `(image, 3, height, width)`. External data lie in its folder.

    Returns:
        The model, in single precision. ONNX says nothing about preprocessing: values from 0 to 1, less ImageNet's mean
        and divided by its deviation, as torchvision's exports expect; pictures squashed to the input's size, or 224
        pixels at the shortest side where it is open. Class names from the metadata `names`, if they are there.

    Raises:
        ModelError: the package onnx is missing; no such file, not whole, too large; an operator, a type or external
            data that are not supported; nodes that do not fit each other; no pictures.
    """
    try:
        return _load(Path(rest), rest)
    except ModelError as error:
        if len(str(error)) <= MAX_MESSAGE:
            raise
        raise ModelError(f"{str(error)[: MAX_MESSAGE // 2]} ... {str(error)[-MAX_MESSAGE // 2 :]}") from error


def _load(path: Path, rest: str) -> LoadedModel:
    proto = read_proto(path)
    names = _class_names(proto)
    graph = fuse(fold(read_graph(proto, path)))
    del proto  # its numbers are in memory twice until here
    net, weights = build(graph)
    height, width = graph.shape[2:]
    size = (height, width) if height and width else None
    try_out(net, (height or SIDE, width or SIDE))
    weights.place()
    return LoadedModel(
        net,
        f"onnx:{rest}",
        Preprocessing(size=size or (SIDE, SIDE), resize="squash" if size else "shortest", mean=MEAN, std=DEVIATION),
        names,
        classifier_layer=last_weighted(net),
    )


def onnx_files(rest: str) -> list[Path]:
    """The file, and those that hold its external data.

    Raises:
        ModelError: it is not whole, or names data that may not be read.
    """
    path = Path(rest)
    if not path.is_file():
        return [path]
    proto, outside = read_proto(path), ExternalData(path)
    beside = {
        outside.locate(tensor, f"ONNX file {path}, initialiser {shown(tensor.name)}")
        for tensor in proto.graph.initializer
        if tensor.data_location == 1
    }
    return [path, *sorted(beside)]


def _class_names(proto: Any) -> tuple[str, ...] | None:
    """Names in the metadata, as some exporters write them: `{0: 'cat', 1: 'dog'}`; `None` for any other text."""
    text = next((item.value for item in proto.metadata_props if item.key == "names"), "").strip()
    if len(text) > MAX_NAMES or text[:1] + text[-1:] not in {"{}", "[]", "()"}:
        return None
    inner, place, found = text[1:-1].strip(), 0, []
    while place < len(inner):
        entry = _NAME.match(inner, place)
        if entry is None:
            return None
        found.append((entry[1], re.sub(r"\\(.)", r"\1", entry[2] if entry[2] is not None else entry[3])))
        place = entry.end()
    numbered = text[0] == "{"
    numbers = [int(number) if number is not None else -1 for number, _ in found]
    if not found or sorted(numbers) != (list(range(len(found))) if numbered else [-1] * len(found)):
        return None
    return tuple(name for _, (_, name) in sorted(zip(numbers, found, strict=True), key=lambda pair: pair[0]))
