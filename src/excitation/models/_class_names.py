"""Class names of a network, with names for groups of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .._checks import check_names
from .._errors import TargetError


class ClassNames(tuple[str, ...]):
    """Names of classes, one per output unit, and names of groups of classes.

    A `LoadedModel` with ImageNet class names includes its groups: `"dog"` stands for 118 breeds. As a target, a group
    has equal weights on its classes.

    Attributes:
        groups: class indices by group name, in lower case.

    Raises:
        TargetError: a group is empty, or contains an index without a class name.
    """

    groups: dict[str, tuple[int, ...]]

    def __new__(cls, names: Iterable[str], groups: Mapping[str, Sequence[int]]) -> ClassNames:
        """Validate names and groups."""
        made = super().__new__(cls, check_names("class_names", names))
        made.groups = {name.strip().casefold(): tuple(places) for name, places in groups.items()}
        for name, places in made.groups.items():
            if not places or not all(0 <= place < len(made) for place in places):
                raise TargetError(f"group {name!r} holds classes {places}; some of 0 to {len(made) - 1} are expected.")
        return made
