"""The tokens of protobuf's text format, cut as its own tokenizer cuts them.

Every character belongs to a token, to a comment or to white space; anything else is an error. So nothing that looks
like a field inside a comment or a string is taken for one.
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
"""Characters of a token in a message."""


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: what it is; `"end"` after the last one.
        text: as written.
        line: where it begins, from 1.
    """

    kind: Literal["name", "number", "string", "symbol", "end"]
    text: str
    line: int

    def __str__(self) -> str:
        """For messages."""
        if self.kind == "end":
            return "the end of the file"
        return repr(self.text if len(self.text) <= SHOWN else f"{self.text[: SHOWN - 4]} ...")


class Tokens:
    """The tokens of a text, with one looked at in advance.

    Attributes:
        now: the next token.
    """

    def __init__(self, text: str, what: str) -> None:
        """Begin with the first token of a text; `what` names the file in messages."""
        self.what = what
        self._rest = self._cut(text)
        self.now = next(self._rest)

    def take(self) -> Token:
        """The next token, which is then used up; the end follows on itself."""
        token, self.now = self.now, next(self._rest)
        return token

    def accept(self, symbol: str) -> bool:
        """Use up the next token if it is this symbol; `""` is the end."""
        # No other kind of token is written like a symbol.
        found = self.now.text == symbol
        if found:
            self.now = next(self._rest)
        return found

    def fail(self, line: int, reason: str) -> NoReturn:
        """Refuse the text as none of this format."""
        raise ModelError(f"{self.what}, line {line}: not the text of a Caffe network: {reason}")

    def _cut(self, text: str) -> Iterator[Token]:
        line = 1
        place = 0
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                self._fail_at(text, place, line)
            kind, part, place = found.lastgroup, found.group(), found.end()
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
    """What a string stands for, its quotes removed and its escapes resolved.

    Raises:
        ValueError: an escape that does not exist.
    """
    return _ESCAPE.sub(_resolved, token.text[1:-1].encode())


def _resolved(found: re.Match[bytes]) -> bytes:
    """The bytes of one escape."""
    if found["short"]:
        # Two in a row can be the halves of one character.
        return bytes.fromhex(found["short"].decode().replace("\\u", "")).decode("utf-16-be").encode()
    if found["long"]:
        return chr(int(found["long"], 16)).encode()
    if found["octal"] or found["hex"]:
        return bytes([int(found["octal"], 8) if found["octal"] else int(found["hex"], 16)])
    if found["letter"] not in _LETTERS:
        raise ValueError(f"the escape {found.group().decode(errors='replace')!r} does not exist")
    return _LETTERS[found["letter"]]


def float_of(token: Token) -> float:
    """The number of a token, as a floating point field takes it: decimal, with or without an `f`.

    Raises:
        ValueError: a hexadecimal or octal number, or no number.
    """
    text = token.text
    if token.kind == "name" and text.lower() in {"inf", "infinity", "nan"}:
        return float(text)
    if token.kind != "number" or re.match("0[xX0-9]", text):
        raise ValueError("a decimal number is expected")
    return float(text.rstrip("fF"))


def integer_of(token: Token) -> int:
    """The number of a token, as an integer field takes it: decimal, hexadecimal after `0x`, octal after `0`.

    Raises:
        ValueError: no whole number, or one of more digits than any field holds.
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
