"""Reading an untrusted ONNX file as a message: its content is limited before it is parsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._loaded import ModelError
from .._wire import WireError, fields
from ..sources._requirements import needed

FORM = "onnx:FILE"

MAX_BYTES = (1 << 31) - 1
"""Size limit of protobuf; larger networks use external data."""

MAX_FIELDS = 1_000_000
"""Maximum number of fields in all messages: ten times that of the largest classifiers."""

MAX_DEPTH = 16
"""Maximum nesting of messages; a graph without subgraphs has seven levels."""


def read_proto(path: Path) -> Any:
    """Read the file as a `ModelProto`, without external data.

    Raises:
        ModelError: the package onnx is missing; the file is missing, too large, or not in protobuf's format; or its
            messages are too many or too deeply nested.
    """
    if not path.is_file():
        raise ModelError(f"ONNX file {str(path)!r}: no such file; expected {FORM}.")
    onnx = needed("onnx", "onnx")
    from google.protobuf.message import DecodeError  # comes with onnx

    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(f"ONNX file {path} has {size} bytes; protobuf files end at {MAX_BYTES}.")
        content = path.read_bytes()
        _check(memoryview(content), onnx.ModelProto.DESCRIPTOR)
        return onnx.ModelProto.FromString(content)
    except (DecodeError, WireError, OSError) as error:
        raise ModelError(f"ONNX file {path} is not whole: {' '.join(str(error).split())[:300]}.") from error


def _check_text(content: memoryview, name: str) -> None:
    """Check that a text is valid UTF-8; protobuf returns bytes otherwise.

    Raises:
        WireError: the text is not valid UTF-8.
    """
    try:
        str(content, "utf-8")
    except UnicodeDecodeError as error:
        raise WireError(f"a text ({name}) is not UTF-8") from error


def _check(content: memoryview, descriptor: Any) -> None:
    """Count the fields of a message and of all nested messages, and decode their texts.

    Some of protobuf's parsers return a text that is not UTF-8 as bytes.

    Raises:
        WireError: not protobuf's format, too many fields, too deep nesting, or a text that is not UTF-8.
    """
    left = MAX_FIELDS
    waiting = [(content, descriptor, 1)]
    while waiting:
        message, kind, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise WireError(f"messages are nested more than {MAX_DEPTH} deep; subgraphs (If, Loop) are not supported")
        for field, part in fields(message, left):
            left -= 1
            inner = kind.fields_by_number.get(field)
            if inner is None:
                continue
            if inner.message_type is not None:
                waiting.append((part, inner.message_type, depth + 1))
            elif inner.type == inner.TYPE_STRING:
                _check_text(part, inner.name)
        if left < 0:
            raise WireError(f"the file has more than {MAX_FIELDS} fields")
