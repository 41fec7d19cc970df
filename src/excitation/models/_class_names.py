"""Names of a network's classes, with words that stand for several of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .._checks import check_names
from .._errors import TargetError


class ClassNames(tuple[str, ...]):
    """Names of classes, one per output unit, with words that stand for several classes each.

    A `LoadedModel` with ImageNet's class names has its groups: `"dog"` stands for 118 breeds. As a target, a group is
    the distribution that gives each of its classes the same share.

    Attributes:
        groups: indices of the classes by the group's name, in lower case.

    Raises:
        TargetError: a group has no class, or one that the names do not have.
    """

    groups: dict[str, tuple[int, ...]]

    def __new__(cls, names: Iterable[str], groups: Mapping[str, Sequence[int]]) -> ClassNames:
        """Check names and groups."""
        made = super().__new__(cls, check_names("class_names", names))
        made.groups = {name.strip().casefold(): tuple(places) for name, places in groups.items()}
        for name, places in made.groups.items():
            if not places or not all(0 <= place < len(made) for place in places):
                raise TargetError(f"group {name!r} holds classes {places}; some of 0 to {len(made) - 1} are expected.")
        return made
