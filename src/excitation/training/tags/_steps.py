"""The rules for the removal of uploads (Appendix B), for data that fit in memory."""

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
    """Whether an upload has fewer than five tags."""
    return len(tags) < FIRST


def is_alphabetical(tags: Sequence[str]) -> bool:
    """Whether tags are sorted by code points. A random list of five tags is sorted with a probability of 1/120."""
    return list(tags) == sorted(tags)


def near_duplicates(uploads: Iterable[TaggedImage]) -> list[bool]:
    """Return whether each upload is a near-duplicate of an earlier upload of the same user, kept or not.

    This function is for data that fit in memory. `clean_uploads` gives the same result for any number of uploads.

    Args:
        uploads: uploads in order, each with five or more tags.
    """
    seen: set[tuple[str, frozenset[str]]] = set()
    found = []
    for upload in uploads:
        first = upload.tags[:FIRST]
        # Two sets of five tags have more than three in common if and only if they have four in common.
        fours = {(upload.user, frozenset(first[:i] + first[i + 1 :])) for i in range(FIRST)}
        found.append(not seen.isdisjoint(fours))
        seen |= fours
    return found
