"""The tokens of protobuf's text format, with the rules of protobuf's tokenizer.

Every character belongs to a token, a comment or white space; anything else is an error. Text inside comments and
strings is therefore never parsed as a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, NoReturn

from .._loaded import ModelError

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n\v\f]+|\#[^\n]*)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>0[xX][0-9a-fA-F]+ | (?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)
    | (?P<string>"[^"\\\n]*(?:\\.[^"\\\n]*)*" | '[^'\\\n]*(?:\\.[^'\\\n]*)*')
    | (?P<symbol>[{}<>\[\]:;,\-])""",
    re.VERBOSE,
)

_ESCAPE = re.compile(
    rb"""(?P<short>(?:\\u[0-9a-fA-F]{4})+) | \\(?:(?P<octal>[0-7]{1,3}) | [xX](?P<hex>[0-9a-fA-F]{1,2})
    | U(?P<long>[0-9a-fA-F]{8}) | (?P<letter>.))""",
    re.VERBOSE | re.DOTALL,
)

_LETTERS = {
    b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"\\": b"\\", b"?": b"?",
    b"'": b"'", b'"': b'"',
}  # fmt: skip

SHOWN = 40
"""Maximum length of a token in a message."""


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: type of the token; `"end"` after the last one.
        text: text in the file.
        line: its first line, from 1.
    """

    kind: Literal["name", "number", "string", "symbol", "end"]
    text: str
    line: int

    def __str__(self) -> str:
        """Description for messages."""
        if self.kind == "end":
            return "the end of the file"
        return repr(self.text if len(self.text) <= SHOWN else f"{self.text[: SHOWN - 4]} ...")


class Tokens:
    """The tokens of a text, with one token of lookahead.

    Attributes:
        now: the next token.
    """

    def __init__(self, text: str, what: str) -> None:
        """Read the first token of a text; `what` is the name of the file in messages."""
        self.what = what
        self._rest = self._cut(text)
        self.now = next(self._rest)

    def take(self) -> Token:
        """Consume and return the next token; at the end, the end token is returned repeatedly."""
        token, self.now = self.now, next(self._rest)
        return token

    def accept(self, symbol: str) -> bool:
        """Consume the next token if it is this symbol; `""` stands for the end. Return whether it was."""
        # Only symbol tokens can have the text of a symbol.
        matches = self.now.text == symbol
        if matches:
            self.now = next(self._rest)
        return matches

    def fail(self, line: int, reason: str) -> NoReturn:
        """Raise an error for invalid syntax."""
        raise ModelError(f"{self.what}, line {line}: not the text of a Caffe network: {reason}")

    def _cut(self, text: str) -> Iterator[Token]:
        line = 1
        place = 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                self._fail_at(text, place, line)
            kind, part, place = match.lastgroup, match.group(), match.end()
            if kind == "number" and re.match(r"[\w.]", text[place : place + 1]):
                self.fail(line, f"the number {part[:SHOWN]!r} is followed by {text[place]!r}; a space is missing.")
            if kind in {"name", "number", "string", "symbol"}:
                yield Token(kind, part, line)  # type: ignore[arg-type]
            line += part.count("\n")
        while True:
            yield Token("end", "", line)

    def _fail_at(self, text: str, place: int, line: int) -> NoReturn:
        if text[place] in "\"'":
            self.fail(line, f"a string that begins with {text[place]} does not end on its line.")
        self.fail(line, f"the character {text[place]!r} has no meaning outside of strings and comments.")


def content_of(token: Token) -> bytes:
    """The content of a string token, without quotes and with resolved escapes.

    Raises:
        ValueError: an invalid escape.
    """
    return _ESCAPE.sub(_resolved, token.text[1:-1].encode())


def _resolved(match: re.Match[bytes]) -> bytes:
    """The bytes of one escape sequence."""
    if match["short"]:
        # Two consecutive escapes can be the surrogate halves of one character.
        return bytes.fromhex(match["short"].decode().replace("\\u", "")).decode("utf-16-be").encode()
    if match["long"]:
        return chr(int(match["long"], 16)).encode()
    if match["octal"] or match["hex"]:
        return bytes([int(match["octal"], 8) if match["octal"] else int(match["hex"], 16)])
    if match["letter"] not in _LETTERS:
        raise ValueError(f"the escape {match.group().decode(errors='replace')!r} does not exist")
    return _LETTERS[match["letter"]]


def float_of(token: Token) -> float:
    """The value of a token for a floating-point field: decimal, with an optional `f`.

    Raises:
        ValueError: a hexadecimal or octal number, or not a number.
    """
    text = token.text
    if token.kind == "name" and text.lower() in {"inf", "infinity", "nan"}:
        return float(text)
    if token.kind != "number" or re.match("0[xX0-9]", text):
        raise ValueError("a decimal number is expected")
    return float(text.rstrip("fF"))


def integer_of(token: Token) -> int:
    """The value of a token for an integer field: decimal, hexadecimal (`0x`) or octal (`0`).

    Raises:
        ValueError: not an integer, or more digits than any field can hold.
    """
    text = token.text.lower()
    if token.kind == "number" and len(text) <= SHOWN:
        if text.startswith("0x"):
            return int(text, 16)
        if re.fullmatch("0[0-7]+", text):
            return int(text, 8)
        if re.fullmatch("0|[1-9][0-9]*", text):
            return int(text)
    raise ValueError("a whole number is expected")
