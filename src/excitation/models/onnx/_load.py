"""Loading an ONNX file as a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .._loaded import LoadedModel, ModelError, Preprocessing, shown
from ..sources._weights import last_weighted
from . import _activations, _arithmetic, _arranging, _pooling, _resizing, _shaping, _weighted
from ._build import build
from ._external import ExternalData
from ._file import read_proto
from ._folding import fold
from ._fusion import fuse
from ._graph import read_graph
from ._trial import try_out

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet, for values in [0, 1]."""

SIDE = 224

MAX_MESSAGE = 600
"""Maximum length of an error message: files can contain names and sizes of any length."""

MAX_NAMES = 1 << 20
"""Maximum length of the class names in the metadata."""

_NAME = re.compile(r"""\s*(?:(\d{1,7})\s*:\s*)?(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*(?:,|$)""")
"""One entry of a list of strings, or of a dictionary from integers to strings, in Python or JSON syntax."""

# Importing these modules registers their operators.
del _arithmetic, _activations, _arranging, _pooling, _resizing, _shaping, _weighted


def load_onnx(rest: str) -> LoadedModel:
    """Load a classifier from an ONNX file; PyTorch functions compute its nodes. Requires the extra `onnx`.

    No part of the file runs as code. The operators of opsets 7 to 22 that image classifiers use are supported.

    Args:
        rest: the file. Its only input must be images `(image, 3, height, width)`. External data must be in its folder.

    Returns:
        The model, in single precision. ONNX does not specify preprocessing. Values in [0, 1] are normalised with
        ImageNet's mean and standard deviation, as torchvision's exports expect. Pictures are squashed to a fixed input
        size, or resized to 224 pixels at the shortest side if the size is not fixed. Class names come from the metadata
        entry `names`, if present.

    Raises:
        ModelError: the package onnx is missing; the file is missing, incomplete or too large; an operator, type or
            external data are not supported; nodes do not match each other; or the input is not images.
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
    del proto  # frees the second copy of the weights
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
    """The file, and the files with its external data.

    Raises:
        ModelError: the file is incomplete, or names external data that must not be read.
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
    """Class names from the metadata, in the format of some exporters: `{0: 'cat', 1: 'dog'}`; otherwise `None`."""
    text = next((item.value for item in proto.metadata_props if item.key == "names"), "").strip()
    if len(text) > MAX_NAMES or text[:1] + text[-1:] not in {"{}", "[]", "()"}:
        return None
    inner, place, names = text[1:-1].strip(), 0, []
    while place < len(inner):
        entry = _NAME.match(inner, place)
        if entry is None:
            return None
        names.append((entry[1], re.sub(r"\\(.)", r"\1", entry[2] if entry[2] is not None else entry[3])))
        place = entry.end()
    numbered = text[0] == "{"
    numbers = [int(number) if number is not None else -1 for number, _ in names]
    if not names or sorted(numbers) != (list(range(len(names))) if numbered else [-1] * len(names)):
        return None
    return tuple(name for _, (_, name) in sorted(zip(numbers, names, strict=True), key=lambda pair: pair[0]))
