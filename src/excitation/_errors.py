"""The errors of this package. Each message states what was given, what is expected, and what to do."""

from __future__ import annotations


class ExcitationError(ValueError):
    """Base class of all errors that this package raises on purpose."""


class UnsupportedOperationError(ExcitationError):
    """The network uses an operation that carries information and has no rule."""


class EscapedTensorError(ExcitationError):
    """A tensor took part that no recorded operation created. Signals through it would be lost without notice."""


class TrainingModeError(ExcitationError):
    """Dropout or batch normalisation would run in training mode, which changes the scores of the classifier."""


class LayerError(ExcitationError):
    """A layer does not exist, did not run, or its output cannot hold a map."""


class TargetError(ExcitationError):
    """A target matches no output unit, or a top-down signal has the wrong shape."""


class NotApplicableError(ExcitationError):
    """A method does not apply to a network."""


class BalanceError(ExcitationError):
    """The probability mass does not balance. This is an error in the rules, not in the network."""


class BypassWarning(UserWarning):
    """Some paths bypass the chosen layer: its map shows a part of the probability mass, not all of it."""


class EmptyMapWarning(UserWarning):
    """A map has almost no mass: its shape, peak and colours are meaningless."""


class MassLossWarning(UserWarning):
    """More than half of the probability mass on top was lost above a layer."""


class BalanceWarning(UserWarning):
    """Probability mass does not balance. This is an error in the rules, not in the network."""
