"""The rules by which uploads are left out (Appendix B), for one upload or for few of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...data._uploads import TaggedImage

FIRST = 5
"""Tags that count: in training, and for near-duplicates. An upload has to have so many."""

OVERLAP = 3
"""Two uploads of a user are near-duplicates if more of their first five tags are the same."""

STEPS = {
    "few": f"fewer than {FIRST} tags",
    "alphabetical": "tags in alphabetical order",
    "near-duplicate": f"more than {OVERLAP} of the first {FIRST} tags in those of an earlier upload of the user",
    "unknown": f"none of the first {FIRST} tags in the dictionary",
}
"""Each rule by name, in the order in which they are applied. The last is not the paper's."""


def has_few(tags: Sequence[str]) -> bool:
    """Whether there are fewer than five tags."""
    return len(tags) < FIRST


def is_alphabetical(tags: Sequence[str]) -> bool:
    """Whether tags stand in the order of their letters' code points; by chance one list of five in 120 does."""
    return list(tags) == sorted(tags)


def near_duplicates(uploads: Iterable[TaggedImage]) -> list[bool]:
    """Which uploads are near-duplicates of an earlier one, kept or not, of the same user.

    For data that fit in memory; `clean_uploads` gives the same for any number.

    Args:
        uploads: in order, each with five tags or more.
    """
    seen: set[tuple[str, frozenset[str]]] = set()
    found = []
    for upload in uploads:
        first = upload.tags[:FIRST]
        # Two sets of five share more than three exactly if they share four.
        fours = {(upload.user, frozenset(first[:i] + first[i + 1 :])) for i in range(FIRST)}
        found.append(not seen.isdisjoint(fours))
        seen |= fours
    return found
