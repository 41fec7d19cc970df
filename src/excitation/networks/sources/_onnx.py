"""ONNX files, through onnx2torch: `onnx:FILE`."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from .._loaded import LoadedModel, ModelError, Preprocessing
from ._needs import needed
from ._weights import last_weighted

FORM = "onnx:FILE"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of values from 0 to 1."""
SIDE = 224


def load_onnx(rest: str) -> LoadedModel:
    """A classifier from an ONNX file, turned into modules by onnx2torch. Needs the extra `onnx`.

    Args:
        rest: the file. Its first input is pictures `(image, 3, height, width)`. External data lie beside it.

    Returns:
        The model. ONNX says nothing about preprocessing: values from 0 to 1, less ImageNet's mean and divided by its
        deviation, as torchvision's exports expect; pictures squashed to the input's size, or 224 pixels at the
        shortest side where it is open. Class names from the metadata `names`, if they are there.

    Raises:
        ModelError: onnx2torch is missing; no such file, not whole, an operation it cannot convert, no pictures.
    """
    path = Path(rest)
    if not path.is_file():
        raise ModelError(f"ONNX file {rest!r}: no such file; expected {FORM}.")
    onnx, onnx2torch = needed("onnx", "onnx"), needed("onnx2torch", "onnx")
    content = _read(onnx, path)
    size = _input_size(content, path)
    try:
        model = onnx2torch.convert(content)
    except (NotImplementedError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"onnx2torch cannot convert {path}: {' '.join(str(error).split())[:300]}") from error
    return LoadedModel(
        model.eval(),
        f"onnx:{rest}",
        Preprocessing(size=size or (SIDE, SIDE), resize="squash" if size else "shortest", mean=MEAN, std=DEVIATION),
        _class_names(content),
        classifier_layer=last_weighted(model),
    )


def onnx_files(rest: str) -> list[Path]:
    """The file, and those that hold its external data.

    Raises:
        ModelError: it is not whole, or names data outside its own folder.
    """
    path = Path(rest)
    if not path.is_file():
        return [path]
    content = _parsed(needed("onnx", "onnx"), path)
    beside = {
        entry.value for tensor in content.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }
    for name in sorted(beside):
        # A file from elsewhere could otherwise have any file of this machine read for its hash, or a device for ever.
        if not (path.parent / name).resolve().is_relative_to(path.parent.resolve()):
            raise ModelError(f"ONNX file {path} names external data {name!r}, which do not lie in its own folder.")
    return [path, *(path.parent / name for name in sorted(beside))]


def _parsed(onnx: Any, path: Path) -> Any:
    """The file without its external data."""
    from google.protobuf.message import DecodeError  # comes with onnx

    try:
        return onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise ModelError(f"ONNX file {path} is not whole: {' '.join(str(error).split())[:300]}") from error


def _read(onnx: Any, path: Path) -> Any:
    from google.protobuf.message import DecodeError  # comes with onnx

    try:
        content = onnx.load(path)
        onnx.checker.check_model(content)
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"ONNX file {path} is not whole: {' '.join(str(error).split())[:300]}") from error
    return content


def _input_size(content: Any, path: Path) -> tuple[int, int] | None:
    """Height and width of the pictures; `None` if the file leaves them open."""
    stored = {tensor.name for tensor in content.graph.initializer}
    inputs = [item for item in content.graph.input if item.name not in stored]
    shape = inputs[0].type.tensor_type.shape.dim if len(inputs) == 1 else []
    if len(shape) != 4 or shape[1].dim_value not in {0, 3}:
        shown = "; ".join(" x ".join(str(d.dim_value or d.dim_param or "?") for d in item.type.tensor_type.shape.dim)
                          for item in inputs)  # fmt: skip
        raise ModelError(f"ONNX file {path} takes {len(inputs)} inputs ({shown}); one of pictures,"
                         " image x 3 x height x width, is expected.")  # fmt: skip
    height, width = (int(d.dim_value) for d in shape[2:])
    return (height, width) if height and width else None


def _class_names(content: Any) -> tuple[str, ...] | None:
    """Names in the metadata, as some exporters write them: `{0: 'cat', 1: 'dog'}`."""
    text = next((item.value for item in content.metadata_props if item.key == "names"), None)
    if text is None:
        return None
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    ordered = [names[key] for key in sorted(names)] if isinstance(names, dict) else names
    return tuple(map(str, ordered)) if isinstance(ordered, (list, tuple)) else None
