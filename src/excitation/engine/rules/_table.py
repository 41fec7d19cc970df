"""A rule set: one table of rules, keyed by the family of an operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

from .._record import Entry
from ..operations import Operation
from ._signals import Signal

Signals = Sequence[Signal | None]
"""One signal for each output, or each input, of an operation; `None` where there is none."""

Rule = Callable[[Any, Entry, Signals], Signals]
"""`rule(rule_set, entry, signals)`: from signals on an operation's outputs to signals on its inputs."""

Registered = TypeVar("Registered", bound=Rule)


def rule_for(*families: type[Operation]) -> Callable[[Registered], Registered]:
    """Register a method of a rule set as the rule of some families.

    Args:
        families: the families, with all subclasses that have no rule of their own.
    """

    def register(rule: Registered) -> Registered:
        rule.families = families  # type: ignore[attr-defined]
        return rule

    return register


class RuleSet:
    """How signals pass the operations of a record.

    A subclass inherits the table of its base class. Its own methods under `rule_for` replace entries of the table.
    """

    rules: ClassVar[dict[type[Operation], Rule]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Enter the rules that the class defines into its table."""
        super().__init_subclass__(**options)
        own = {family: item for item in vars(cls).values() for family in getattr(item, "families", ())}
        cls.rules = {**cls.rules, **own}

    def __call__(self, entry: Entry, signals: Signals) -> Signals:
        """Pass the signals on an operation's outputs to its inputs.

        Args:
            entry: the recorded operation.
            signals: one per output, `None` where no signal arrived; at least one is there.

        Returns:
            One signal per input, `None` for operands that take no part.
        """
        return self.rule(type(entry.operation))(self, entry, signals)

    @classmethod
    def rule(cls, family: type[Operation]) -> Rule:
        """The rule of a family: its own, or that of the nearest family it is derived from."""
        for base in family.__mro__:
            if base in cls.rules:
                return cls.rules[base]
        raise AssertionError(f"no rule for the family {family.__name__}")


def first(signals: Signals) -> Signal:
    """The signal on an operation's first output: the only one that holds neurons, for most families."""
    p = signals[0]
    assert p is not None
    return p
