"""Reading a prototxt: the message, and the line each layer begins at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from .._loaded import ModelError
from ._schema import HARMLESS, OPTIONS, message

MAX_TEXT = 1 << 20
"""Bytes of a prototxt; the longest published ones take about three hundred thousand."""

MAX_LINE = 1 << 14
"""Characters of a line: protobuf's parser copies the line at each field that it skips."""

MAX_LAYERS = 4000
MAX_DEPTH = 16
"""Messages inside messages; Caffe's own nest four deep."""

MAX_REASON = 300
"""Characters of a parser's message, which can quote a line of any length."""

_TOKEN = re.compile(
    r"""#[^\n]*                                         # a comment
    | "(?:\\.|[^"\\\n])*"? | '(?:\\.|[^'\\\n])*'?       # a string; left open, it ends with its line
    | (?P<name>[A-Za-z_]\w*)\s*(?=[:{<])                # a field: a value or a message follows
    | (?P<word>[\w.+-]+)
    | (?P<brace>[{}<>])""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Text:
    """A prototxt, read.

    Attributes:
        path: where it came from, for messages.
        net: the message, new dialect in `net.layer`, old one in `net.layers`.
        lines: the line each layer begins at, in their order.
        strange: messages in each layer that are not known here, which may belong to its type or be misspelt.
    """

    path: Path
    net: Any
    lines: tuple[int, ...]
    strange: tuple[tuple[str, ...], ...]


def read_text(path: Path) -> Text:
    """Read a prototxt of either dialect.

    Unknown fields are skipped where they are about training, or about layers that have no meaning here; an unknown
    option of a layer that computes is an error, since skipping it could change what is computed.

    Raises:
        ModelError: no such file, no text, a syntax error (with its line), an unknown option.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TEXT + 1)
    except OSError as error:
        raise ModelError(f"prototxt {path} cannot be read: {error.strerror or error}.") from error
    if len(content) > MAX_TEXT:
        raise ModelError(f"prototxt {path} has more than {MAX_TEXT >> 20} MiB; is it a caffemodel?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"prototxt {path} is not a text: {error.reason} at byte {error.start}.") from error
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_LINE:
            raise ModelError(f"prototxt {path}, line {number} has {len(line)} characters; at most {MAX_LINE} are read.")
    lines, strange = _outline(text, path)
    if len(lines) > MAX_LAYERS:
        raise ModelError(f"prototxt {path} has {len(lines)} layers; at most {MAX_LAYERS} are read.")
    net = message("text", "Net")()
    try:
        text_format.Parse(text, net, allow_unknown_field=True)
    except text_format.ParseError as error:
        where = "" if error.GetLine() is None else f", line {error.GetLine()}"
        reason = re.sub(r"^\d+:\d+ : ", "", " ".join(str(error).split()))
        reason = reason if len(reason) <= MAX_REASON else f"{reason[:40]} ... {reason[45 - MAX_REASON :]}"
        raise ModelError(f"prototxt {path}{where}: not the text of a Caffe network: {reason}") from error
    except RecursionError as error:
        raise ModelError(f"prototxt {path}: messages are nested too deeply.") from error
    if net.layer and net.layers:
        raise ModelError(f"prototxt {path} mixes the dialects `layer` and `layers`; write all layers in one of them.")
    if len(lines) != len(net.layer) + len(net.layers):
        raise ModelError(f"prototxt {path} writes its layers as a list; write `layer {{ ... }}` for each.")
    return Text(path, net, lines, strange)


def _outline(text: str, path: Path) -> tuple[tuple[int, ...], tuple[tuple[str, ...], ...]]:
    """One pass over the tokens: where layers begin, how deep messages nest, which options are unknown."""
    lines: list[int] = []
    strange: list[list[str]] = []
    # The message each open brace is in, by descriptor; None inside what is skipped.
    stack: list[Any] = [message("text", "Net").DESCRIPTOR]
    follows: Any = None
    unknown = ""
    line, seen = 1, 0
    for token in _TOKEN.finditer(text):
        line += text.count("\n", seen, token.start())
        seen = token.start()
        name, brace = token["name"], token["brace"]
        if name:
            here = stack[-1]
            field = None if here is None else here.fields_by_name.get(name)
            if here is not None and field is None and here.name in OPTIONS and name not in HARMLESS:
                known = ", ".join(sorted(here.fields_by_name)) or "none"
                raise ModelError(
                    f"prototxt {path}, line {line}: {here.name} has an option {name!r} that is not supported"
                    f" (known: {known})."
                )
            follows = None if field is None else field.message_type
            unknown = name if here is not None and field is None else ""
            if len(stack) == 1 and name in {"layer", "layers"}:
                lines.append(line)
                strange.append([])
        elif brace in {"{", "<"}:
            if len(stack) > MAX_DEPTH:
                raise ModelError(f"prototxt {path}, line {line}: messages are nested more than {MAX_DEPTH} deep.")
            if unknown and len(stack) == 1:
                raise ModelError(f"prototxt {path}, line {line}: a network has no {unknown!r}; is `layer` meant?")
            if unknown and len(stack) == 2 and lines and stack[-1].name in {"Layer", "OldLayer"}:
                strange[-1].append(unknown)
            stack.append(follows)
            follows, unknown = None, ""
        elif brace and len(stack) > 1:
            stack.pop()
    return tuple(lines), tuple(map(tuple, strange))
