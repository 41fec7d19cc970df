"""The sentences of Flickr30k Entities, such as `[/EN#7/people/clothing A man in red] walks`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .._errors import ExcitationError
from .._files import read_at_most
from ._phrases import GROUPS, NOT_VISUAL

MAX_BYTES = 2**20
"""Maximum size of a file of sentences in bytes; typical files have five lines of some hundred characters."""

MARK = "[/EN#"
LONGEST_ID = 20


class SentenceError(ExcitationError):
    """A sentence or a file of sentences is malformed. The message is a sentence about it."""


@dataclass(frozen=True)
class MarkedPhrase:
    """One marked phrase.

    Attributes:
        entity: id of the coreference chain.
        types: one or more types.
        span: index of its first word, and index after its last word.
    """

    entity: str
    types: tuple[str, ...]
    span: tuple[int, int]


@dataclass(frozen=True)
class MarkedSentence:
    """One caption: all its words, and its phrases."""

    words: tuple[str, ...]
    phrases: tuple[MarkedPhrase, ...]


def parse_sentence(line: str) -> MarkedSentence:
    """Parse one marked sentence, in linear time.

    Args:
        line: words separated by spaces, with phrases as `[/EN#id/type/type words]`. Brackets that do not start a phrase
            are words.

    Raises:
        SentenceError: a phrase without end, words, id or known type, or a nested phrase.
    """
    words: list[str] = []
    phrases: list[MarkedPhrase] = []
    rest = 0
    while (start := line.find(MARK, rest)) >= 0:
        words += line[rest:start].split()
        end = line.find("]", start)
        if end < 0:
            raise SentenceError(
                f"has a phrase that does not end: {line[start : start + 40]!r}; a closing ] is missing."
            )
        if line.find(MARK, start + 1, end) >= 0:
            raise SentenceError(f"has a phrase inside another: {line[start : end + 1]:.60}; phrases cannot be nested.")
        inside = line[start + len(MARK) : end].split()
        label, *own = inside or [""]
        entity, *types = label.split("/")
        _check(line[start : end + 1], entity, types, own)
        phrases.append(MarkedPhrase(entity, tuple(dict.fromkeys(types)), (len(words), len(words) + len(own))))
        words += own
        rest = end + 1
    words += line[rest:].split()
    return MarkedSentence(tuple(words), tuple(phrases))


def read_sentences(path: Path) -> list[MarkedSentence | SentenceError]:
    """Read a file with one marked caption per line.

    Returns:
        For each non-empty line, its sentence or its problem.

    Raises:
        SentenceError: the file cannot be read, is too large, or is not UTF-8 text.
    """
    too_large = f"is larger than {MAX_BYTES // 2**20} MiB, too large for a file of captions."
    content = read_at_most(path, MAX_BYTES, SentenceError, too_large)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SentenceError(f"is no UTF-8 text: byte {error.start} cannot be read.") from error
    sentences: list[MarkedSentence | SentenceError] = []
    # `splitlines` also splits at characters that captions can contain.
    for line in text.split("\n"):
        if line.strip():
            try:
                sentences.append(parse_sentence(line))
            except SentenceError as error:
                sentences.append(error)
    return sentences


def _check(phrase: str, entity: str, types: list[str], words: list[str]) -> None:
    if not (entity.isascii() and entity.isdigit() and len(entity) <= LONGEST_ID):
        raise SentenceError(f"has a phrase without a number for its entity: {phrase:.60}; [/EN#7/people ...] is meant.")
    unknown = [item for item in types if item not in {*GROUPS, NOT_VISUAL}]
    if unknown or not types:
        what = f"of unknown type {unknown[0][:40]!r}" if unknown else "without a type"
        known = ", ".join((*GROUPS, NOT_VISUAL))
        raise SentenceError(f"has a phrase {what}: {phrase:.60}; the types are {known}.")
    if not words:
        raise SentenceError(f"has a phrase without words: {phrase:.60}.")
