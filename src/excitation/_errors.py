"""The errors a caller can catch: each carries one sentence with what was given, what was expected, what to do."""

from __future__ import annotations


class ExcitationError(ValueError):
    """Base of all errors raised on purpose by this package."""


class UnsupportedOperationError(ExcitationError):
    """The network uses an operation that carries information and for which no rule exists."""


class EscapedTensorError(ExcitationError):
    """A tensor took part that no recorded operation made, so signals through it would be lost without notice."""


class TrainingModeError(ExcitationError):
    """Dropout or batch normalisation would run in training mode: the forward pass would not be the classifier's."""


class LayerError(ExcitationError):
    """A layer does not exist, did not run, or has no place for a map."""


class TargetError(ExcitationError):
    """A target names no output unit, or a top-down signal has the wrong shape."""


class NotApplicableError(ExcitationError):
    """A method does not apply to a network."""


class BalanceError(ExcitationError):
    """The probability mass does not balance: a fault of the rules, not of the network."""


class BypassWarning(UserWarning):
    """The chosen layer is only one arm of the network: its map is a share of the probability mass, not the whole."""


class EmptyMapWarning(UserWarning):
    """A map has next to no mass: its shape, peak and colours mean nothing."""


class MassLossWarning(UserWarning):
    """More than half of the probability mass on top was lost on the way to a layer."""


class BalanceWarning(UserWarning):
    """Probability mass does not balance: a fault of the rules, not of the network."""
