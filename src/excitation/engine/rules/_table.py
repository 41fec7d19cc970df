"""Rule sets: tables of rules, with the family of an operation as the key."""

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
        families: the families. The rule also applies to their subclasses without a rule of their own.
    """

    def register(rule: Registered) -> Registered:
        rule.families = families  # type: ignore[attr-defined]
        return rule

    return register


class RuleSet:
    """The rules for the operations of a record.

    A subclass inherits the table of its base class. Its own methods with `rule_for` replace entries of the table.
    """

    rules: ClassVar[dict[type[Operation], Rule]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Add the rules of a subclass to its table."""
        super().__init_subclass__(**options)
        own = {family: item for item in vars(cls).values() for family in getattr(item, "families", ())}
        cls.rules = {**cls.rules, **own}

    def __call__(self, entry: Entry, signals: Signals) -> Signals:
        """Propagate the signals on the outputs of an operation to its inputs.

        Args:
            entry: the recorded operation.
            signals: one signal per output, `None` for outputs without a signal. At least one is not `None`.

        Returns:
            One signal per input, `None` for operands without a signal.
        """
        return self.rule(type(entry.operation))(self, entry, signals)

    @classmethod
    def rule(cls, family: type[Operation]) -> Rule:
        """Return the rule of a family: its own rule, or the rule of its nearest base class."""
        for base in family.__mro__:
            if base in cls.rules:
                return cls.rules[base]
        raise AssertionError(f"no rule for the family {family.__name__}")


def first(signals: Signals) -> Signal:
    """Return the signal on the first output. For most families, this is the only output with neurons."""
    p = signals[0]
    assert p is not None
    return p
