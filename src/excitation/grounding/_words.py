"""Matching of phrase words with a classifier's dictionary, and fusion of word maps to one map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float

from .._checks import check_choice, check_names, check_number
from .._errors import ExcitationError
from ..models import ClassNames

Lookup = Literal["exact", "case", "lemma"]
"""Allowed difference between word and entry: none; case, surrounding punctuation and a possessive 's; inflection."""

Fusion = Literal["mean", "product", "minimum", "noun-weighted"]

FUSIONS: dict[str, str] = {
    "mean": "the mean of the words' maps (the paper's)",
    "product": "the product of the words' maps, each cut at zero and divided by its sum: all words have to agree",
    "minimum": "the smallest of the words' maps at each pixel, each cut at zero and divided by its sum",
    "noun-weighted": "a weighted mean in which the last known word, the noun of an English noun phrase, has half of the"
    " weight and the others share the rest",
}

PUNCTUATION = ".,;:!?\"'()[]"


@dataclass(frozen=True)
class KnownWord:
    """A word of a phrase, or several adjacent words, that names a class.

    Attributes:
        span: index of the first word, and index after the last word, in the phrase.
        entry: index of the dictionary's entry.
    """

    span: tuple[int, int]
    entry: int


class Dictionary:
    """The words that a classifier knows.

    Attributes:
        entries: class names, in order, followed by the names of class groups.
        lookup: allowed difference between word and entry.
        classes: number of class names among the entries.
    """

    def __init__(self, entries: Sequence[str], lookup: Lookup = "lemma") -> None:
        """Prepare the lookup tables.

        Args:
            entries: class names of one or more words, each possibly with synonyms after commas, as in ImageNet. The
                groups of `ClassNames` become entries too. Of equal entries, the first is used.
            lookup: `"lemma"` requires simplemma (extra `grounding`).

        Raises:
            ExcitationError: entries that are not names, an unknown lookup, or simplemma is missing.
        """
        names = check_names("entries", entries)
        groups = tuple(entries.groups) if isinstance(entries, ClassNames) else ()
        check_choice("lookup", lookup, ("exact", "case", "lemma"))
        self.entries = (*names, *groups)
        self.classes = len(names)
        self.lookup = lookup
        self._lemma = _lemmatizer() if lookup == "lemma" else None
        self._levels: list[dict[str, int]] = [{} for _ in self._forms("")]
        self._longest = 1
        for index, entry in enumerate(self.entries):
            for synonym in entry.split(","):
                words = synonym.split()
                self._longest = max(self._longest, len(words))
                for level, form in zip(self._levels, self._phrase_forms(words), strict=True):
                    level.setdefault(form, index)

    def find(self, word: str) -> int | None:
        """The index of the entry of a word: as written, else in lower case, else by lemma; `None` if there is none.

        Several words, separated by spaces, are compared word by word.
        """
        return self._find(word.split())

    def match(self, words: Sequence[str]) -> list[KnownWord]:
        """All known words of a phrase, from left to right: of overlapping entries the first, of these the longest."""
        found: list[KnownWord] = []
        place = 0
        while place < len(words):
            for end in range(min(place + self._longest, len(words)), place, -1):
                entry = self._find(words[place:end])
                if entry is not None:
                    found.append(KnownWord((place, end), entry))
                    place = end
                    break
            else:
                place += 1
        return found

    def target(self, entry: int) -> int | str:
        """An entry as a target of `explain`: the index of a class, or the name of a group."""
        return entry if entry < self.classes else self.entries[entry]

    def _find(self, words: Sequence[str]) -> int | None:
        for level, form in zip(self._levels, self._phrase_forms(words), strict=True):
            if form and form in level:
                return level[form]
        return None

    def _phrase_forms(self, words: Sequence[str]) -> list[str]:
        """Each form of all words; empty if one of the words has none."""
        if not words:
            return [""] * len(self._forms(""))
        return [" ".join(forms) if all(forms) else "" for forms in zip(*map(self._forms, words), strict=True)]

    def _forms(self, word: str) -> list[str]:
        forms = [word]
        if self.lookup != "exact":
            bare = word.casefold().replace("’", "'").strip(PUNCTUATION)
            forms.append(bare.removesuffix("'s").strip(PUNCTUATION))
        if self._lemma is not None:
            forms.append(self._lemma(forms[1]) if forms[1] else "")
        return forms


@dataclass(frozen=True)
class Coverage:
    """How many words of a set of phrases a dictionary contains.

    Attributes:
        words: number of words.
        known: number of words in the dictionary.
        phrases: number of phrases.
        silent: number of phrases without a known word; they get no map.
        skipped: words that are not in the dictionary, in lower case, with their counts, most frequent first.
    """

    words: int
    known: int
    phrases: int
    silent: int
    skipped: dict[str, int]

    @property
    def share(self) -> float:
        """The fraction of known words, in [0, 1]."""
        return self.known / self.words if self.words else float("nan")

    def __str__(self) -> str:
        known = f"{self.known} of {self.words} words are in the dictionary"
        return f"{known}; {self.silent} of {self.phrases} phrases have no known word."


def coverage(dictionary: Dictionary, phrases: Iterable[Sequence[str]]) -> Coverage:
    """Count the words of phrases that a dictionary contains.

    Args:
        dictionary: the dictionary of the classifier.
        phrases: the words of each phrase.
    """
    skipped: Counter[str] = Counter()
    words = count = silent = 0
    for phrase in phrases:
        known = dictionary.match(phrase)
        skipped.update(word.casefold() for word in unknown_words(phrase, known))
        words += len(unknown_words(phrase, ()))
        count += 1
        silent += not known
    ordered = dict(sorted(skipped.items(), key=lambda item: (-item[1], item[0])))
    return Coverage(words, words - sum(skipped.values()), count, silent, ordered)


def unknown_words(words: Sequence[str], known: Iterable[KnownWord]) -> list[str]:
    """The words outside the known ones, in order; signs of punctuation are no words."""
    inside = {place for item in known for place in range(*item.span)}
    return [word for place, word in enumerate(words) if place not in inside and word.strip(PUNCTUATION)]


def fuse_maps(
    maps: Float[torch.Tensor, "word height width"], fusion: Fusion = "mean", *, noun: float | int = 0.5
) -> Float[torch.Tensor, "height width"]:
    """Fuse the maps of the known words of a phrase, in order, to one map.

    Args:
        maps: one map per word, `(word, height, width)`, finite.
        fusion: a name in `FUSIONS`.
        noun: for `"noun-weighted"`, the weight of the last word, in [0, 1]; a single word has weight one.

    Returns:
        The map of the phrase, `(height, width)`, in the type of the word maps. A product or minimum is zero everywhere
        if the word maps do not overlap, or if one of them has no positive values.

    Raises:
        ExcitationError: no maps, an unknown fusion, non-finite values, or a weight out of range.

    Source: Zhang et al., ECCV 2016, Sec. 4.3, for the mean.
    """
    check_choice("fusion", fusion, tuple(FUSIONS))
    check_number("noun", noun, "a part of the weight from 0 to 1", least=0, most=1)
    if not len(maps):
        raise ExcitationError("no word of the phrase has a map; skip a phrase that the dictionary does not know.")
    if not torch.isfinite(maps).all():
        raise ExcitationError("a word's map holds values that are not finite.")
    if fusion == "mean":
        return maps.mean(0)
    if fusion == "noun-weighted":
        if len(maps) == 1:
            return maps[0]
        return noun * maps[-1] + (1 - noun) * maps[:-1].mean(0)
    positive = maps.clamp(min=0)
    total = positive.sum((1, 2), keepdim=True)
    shares = positive / total.where(total > 0, torch.ones_like(total))
    return shares.prod(0) if fusion == "product" else shares.amin(0)


def _lemmatizer() -> Callable[[str], str]:
    try:
        import simplemma
    except ImportError as error:
        raise ExcitationError(
            "lemmas need simplemma: pip install 'excitation[grounding]', or take lookup='case'."
        ) from error
    return lambda word: str(simplemma.lemmatize(word, lang="en")).casefold()
