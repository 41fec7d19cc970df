"""Reading a prototxt: the message, and the first line of each layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from ..._files import read_at_most
from .._loaded import ModelError
from ._schema import HARMLESS, OPTIONS, message
from ._tokens import Token, Tokens, content_of, float_of, integer_of

MAX_TEXT = 1 << 20
"""Maximum size of a prototxt in bytes; the longest published ones have about 300 000."""

MAX_LAYERS = 4000
MAX_DEPTH = 16
"""Maximum nesting of messages; Caffe's own have four levels."""

CLOSING = {"{": "}", "<": ">"}

LIMITS = {
    FieldDescriptor.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT32: (0, (1 << 32) - 1),
}
"""Smallest and largest value of each integer type in the schema."""

BOOLEANS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}


@dataclass(frozen=True)
class Text:
    """The content of a prototxt.

    Attributes:
        path: path of the file, for messages.
        net: the message; layers are in `net.layer` (new dialect) or `net.layers` (old dialect).
        lines: the first line of each layer, in order.
        strange: unknown messages in each layer, which may belong to an unsupported layer type or be misspelt.
    """

    path: Path
    net: Any
    lines: tuple[int, ...]
    strange: tuple[tuple[str, ...], ...]


def read_text(path: Path) -> Text:
    """Read a prototxt of either dialect.

    Unknown fields are skipped if they concern training, or layers that are not used here. An unknown option of a
    layer that computes is an error, because skipping it could change the result.

    Raises:
        ModelError: the file is missing, is not text, or has a syntax error (with its line) or an unknown option.
    """
    too_large = f"has more than {MAX_TEXT >> 20} MiB; is it a caffemodel?"
    content = read_at_most(path, MAX_TEXT, lambda clause: ModelError(f"prototxt {path} {clause}"), too_large)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"prototxt {path} is not a text: {error.reason} at byte {error.start}.") from error
    reader = _Reader(text, f"prototxt {path}")
    net = reader.read()
    if net.layer and net.layers:
        raise ModelError(f"prototxt {path} mixes the dialects `layer` and `layers`; write all layers in one of them.")
    return Text(path, net, tuple(reader.lines), tuple(map(tuple, reader.strange)))


class _Reader:
    """A parser that fills the messages of the schema in one pass over the tokens.

    The grammar is protobuf's text format: <https://protobuf.dev/reference/protobuf/textformat-spec/>.

    Attributes:
        lines: first lines of the layers.
        strange: unknown messages in each layer.
    """

    def __init__(self, text: str, what: str) -> None:
        self.what = what
        self.tokens = Tokens(text, what)
        self.lines: list[int] = []
        self.strange: list[list[str]] = []

    def read(self) -> Any:
        """Parse the full text as a network."""
        net = message("text", "Net")()
        self._fields(net, "", 0)
        return net

    def _fields(self, target: Any, closing: str, depth: int) -> None:
        """Parse the fields of one message up to its end; `target` is `None` inside skipped messages."""
        tokens = self.tokens
        while not tokens.accept(closing):
            token = tokens.take()
            if token.text == "[":
                tokens.fail(token.line, "it has a field whose name is in brackets (an extension); Caffe has none.")
            if token.kind != "name":
                tokens.fail(
                    token.line, f"the name of a field{f' or {closing!r}' * bool(closing)} is expected, not {token}."
                )
            self._field(target, token, depth)
            if tokens.now.text in {";", ","}:
                tokens.take()

    def _field(self, target: Any, name: Token, depth: int) -> None:
        tokens = self.tokens
        field = None if target is None else target.DESCRIPTOR.fields_by_name.get(name.text)
        if target is not None and field is None:
            self._check_unknown(target, name)
        colon = tokens.accept(":")
        if tokens.now.text != "[":
            self._value(target, field, name, colon, depth)
            return
        start = tokens.take()
        if field is not None and not field.is_repeated:
            tokens.fail(start.line, f"{name} is given as a list, but takes one value.")
        if tokens.accept("]"):
            return
        self._value(target, field, name._replace(line=tokens.now.line), colon, depth)
        while not tokens.accept("]"):
            if not tokens.accept(","):
                tokens.fail(tokens.now.line, f"',' or ']' is expected in the list of {name}, not {tokens.now}.")
            self._value(target, field, name._replace(line=tokens.now.line), colon, depth)

    def _check_unknown(self, target: Any, name: Token) -> None:
        """Raise an error for an unknown option of a layer that computes."""
        kind = target.DESCRIPTOR
        if kind.name in OPTIONS and name.text not in HARMLESS:
            known = ", ".join(sorted(kind.fields_by_name)) or "none"
            raise ModelError(
                f"{self.what}, line {name.line}: {kind.name} has an option {name} that is not supported"
                f" (known: {known})."
            )

    def _value(self, target: Any, field: Any, name: Token, colon: bool, depth: int) -> None:
        """Parse one value of a field: a message or a scalar."""
        tokens = self.tokens
        if tokens.now.text not in CLOSING:
            if field is not None and field.message_type is not None:
                tokens.fail(tokens.now.line, f"{name} is a message; '{{' is expected, not {tokens.now}.")
            if not colon:
                tokens.fail(tokens.now.line, f"':' or '{{' is expected after {name}, not {tokens.now}.")
            self._scalar(target, field, name)
            return
        start = tokens.take()
        if field is not None and field.message_type is None:
            tokens.fail(start.line, f"{name} takes a value, not a message.")
        if depth >= MAX_DEPTH:
            raise ModelError(f"{self.what}, line {start.line}: messages are nested more than {MAX_DEPTH} deep.")
        inner = None
        if field is not None:
            inner = self._inner(target, field, name)
        elif target is not None and depth == 0:
            raise ModelError(f"{self.what}, line {name.line}: a network has no {name}; is `layer` meant?")
        elif target is not None and target.DESCRIPTOR.name in {"Layer", "OldLayer"}:
            self.strange[-1].append(name.text)
        self._fields(inner, CLOSING[start.text], depth + 1)

    def _inner(self, target: Any, field: Any, name: Token) -> Any:
        """The nested message that a field's braces define."""
        if field.message_type.name in {"Layer", "OldLayer"}:
            if len(self.lines) == MAX_LAYERS:
                raise ModelError(f"{self.what} has more than {MAX_LAYERS} layers.")
            self.lines.append(name.line)
            self.strange.append([])
        if field.is_repeated:
            return getattr(target, field.name).add()
        self._check_single(target, field, name)
        inner = getattr(target, field.name)
        # An empty options message still counts as present.
        inner.SetInParent()
        return inner

    def _check_single(self, target: Any, field: Any, name: Token) -> None:
        if target.HasField(field.name):
            self.tokens.fail(name.line, f"{name} is given twice in one message.")

    def _scalar(self, target: Any, field: Any, name: Token) -> None:
        tokens = self.tokens
        parts = []
        while tokens.now.kind == "string":
            parts.append(tokens.take())
        if parts:
            # Adjacent strings are concatenated.
            value: Any = b"".join([self._made(content_of, part, name) for part in parts])
            if field is None:
                return
            if field.type != FieldDescriptor.TYPE_STRING:
                tokens.fail(parts[0].line, f"{name} takes no string, but is given {parts[0]}.")
            try:
                value = value.decode()
            except UnicodeDecodeError as error:
                tokens.fail(parts[0].line, f"the string of {name} is not UTF-8: {error.reason}.")
        else:
            negative = tokens.accept("-")
            token = tokens.take()
            if token.kind not in {"name", "number"}:
                tokens.fail(token.line, f"a value of {name} is expected, not {token}.")
            if field is None:
                return
            value = self._made(lambda token: _scalar_of(field, token, negative), token, name)
        if field.is_repeated:
            getattr(target, field.name).append(value)
        else:
            self._check_single(target, field, name)
            setattr(target, field.name, value)

    def _made(self, make: Callable[[Token], Any], token: Token, name: Token) -> Any:
        try:
            return make(token)
        except ValueError as error:
            self.tokens.fail(token.line, f"{name} is given {token}: {error}.")


def _scalar_of(field: Any, token: Token, negative: bool) -> Any:
    """Convert a name or number to a value of a field.

    Raises:
        ValueError: the text is not a valid value; with the reason.
    """
    sign = -1 if negative else 1
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return sign * float_of(token)
    if field.type == FieldDescriptor.TYPE_STRING:
        raise ValueError("a string in quotes is expected")
    if field.type in LIMITS:
        value, (least, most) = sign * integer_of(token), LIMITS[field.type]
        if not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most} is expected")
        return value
    if negative:
        raise ValueError("no sign is expected")
    if field.type == FieldDescriptor.TYPE_BOOL:
        truth = BOOLEANS.get(token.text) if token.kind == "name" else {0: False, 1: True}.get(integer_of(token))
        if truth is None:
            raise ValueError("true or false is expected")
        return truth
    values = field.enum_type.values_by_name
    chosen = values.get(token.text)
    if token.kind == "number":
        chosen = field.enum_type.values_by_number.get(integer_of(token))
    if chosen is None:
        raise ValueError(f"one of {', '.join(values)} is expected")
    return chosen.number
