"""Noun phrases and words of a plain sentence, by closed lists of English function words and a dictionary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .._checks import check_text
from .._errors import ExcitationError
from ._words import PUNCTUATION, Dictionary

LONGEST = 10_000
"""Maximum length of a sentence in characters."""

OPENERS = frozenset(
    re.findall(
        r"\w+",
        "a an the this that these those my your his her its our their some any each every no another one two three four"
        " five six seven eight nine ten several many few both",
    )
)
"""Articles, determiners, possessives and numbers: each begins a noun phrase."""

BREAKS = frozenset(
    re.findall(
        r"\w+",
        "about above across after against along among and around as at before behind below beneath beside besides"
        " between beyond but by down during for from in inside into near next of off on onto or out outside over past"
        " through throughout to toward towards under underneath up upon via while with within without am are be been"
        " being can could did do does had has have is may might must shall should was were will would he i it she they"
        " we who whom whose which what where when why how him me them us you herself himself itself themselves there"
        " here not than then so if because since very also just only too",
    )
)
"""Prepositions, conjunctions, auxiliary verbs, pronouns and adverbs: no noun phrase contains one."""

MEASURES = frozenset(
    re.findall(
        r"\w+",
        "pair pairs group groups couple bunch crowd row rows stack pile set number herd flock piece pieces slice slices"
        " cup cups glass glasses bottle bottles bowl bowls plate plates kind kinds",
    )
)
"""Nouns that "of" joins with the next noun: a pair of scissors."""


@dataclass(frozen=True)
class Caption:
    """A sentence with the phrases to be explained.

    Attributes:
        words: the words with their punctuation, as written.
        spans: for each phrase, the index of its first word and the index after its last word. Phrases do not overlap.
    """

    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]

    @property
    def phrases(self) -> tuple[str, ...]:
        """The text of each phrase, without punctuation at its ends."""
        return tuple(" ".join(self.words[first:end]).strip(f"{PUNCTUATION} ") for first, end in self.spans)


def find_phrases(sentence: str, dictionary: Dictionary) -> Caption:
    """Find the noun phrases and single words of an English sentence that a dictionary knows.

    There is no model of the language, only rules. A phrase begins at an article, a determiner, a possessive, a number,
    or the first word after a break. It ends before the next such word, before a function word, and after punctuation;
    unknown words at its end, such as most verbs, are removed. "of" after a noun of quantity, such as "pair", is no
    break. A known word in -ing after another known word is a phrase by itself ("dogs | running"). A phrase without a
    known word is dropped.

    Args:
        sentence: a sentence of at most 10,000 characters.
        dictionary: the words that the classifier knows. Function words are phrases only if they are part of a longer
            known entry.

    Raises:
        ExcitationError: the sentence is not a string, has no words, or is too long.
    """
    check_text("the sentence", sentence, "a sentence")
    if len(sentence) > LONGEST:
        raise ExcitationError(f"the sentence has {len(sentence)} characters; at most {LONGEST} are expected.")
    words = tuple(sentence.split())
    if not any(word.strip(PUNCTUATION) for word in words):
        raise ExcitationError("the sentence has no words; give a caption of the picture.")
    spans = []
    for first, end in _chunks(words):
        spans += _phrases_of(words, first, end, dictionary)
    return Caption(words, tuple(spans))


def _chunks(words: Sequence[str]) -> list[tuple[int, int]]:
    """Spans between breaks, each with at least one word."""
    found: list[tuple[int, int]] = []
    first = 0

    def close(end: int) -> None:
        if first < end:
            found.append((first, end))

    for place, word in enumerate(words):
        bare = word.casefold().strip(PUNCTUATION)
        joins = bare == "of" and place > first and words[place - 1].casefold() in MEASURES
        if re.match(r"[(\[\"“]", word):
            close(place)
            first = place
        if not bare or (bare in BREAKS and not joins):
            close(place)
            first = place + 1
        elif bare in OPENERS and place > first and words[place - 1].casefold() not in OPENERS:
            close(place)
            first = place
        if first <= place and re.search(r"[.,;:!?)\]\"]$", word):
            close(place + 1)
            first = place + 1
    close(len(words))
    return found


def _phrases_of(words: Sequence[str], first: int, end: int, dictionary: Dictionary) -> list[tuple[int, int]]:
    """The phrases of one chunk: cut before known words in -ing, and after the last known word of each part."""
    known = [
        (first + item.span[0], first + item.span[1])
        for item in dictionary.match(words[first:end])
        if not all(words[first + place].casefold().strip(PUNCTUATION) in OPENERS for place in range(*item.span))
    ]
    spans: list[tuple[int, int]] = []
    for start, stop in known:
        single = stop == start + 1 and words[start].casefold().strip(PUNCTUATION).endswith("ing")
        if spans and not (single and len(words[start]) > 4):
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start if spans else first, stop))
    return spans
