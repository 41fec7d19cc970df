"""Options and errors of training runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .._checks import check_choice, check_number
from .._errors import ExcitationError


class TrainingError(ExcitationError):
    """A training run cannot continue. Saved files remain unchanged."""


@dataclass(frozen=True)
class Options:
    """Options of training. The defaults are the values of the paper, if it gives them.

    Attributes:
        rate: initial learning rate of SGD.
        batch: number of pictures in a step, over all processes.
        passes: maximum number of passes over the examples.
        every: number of steps between two evaluations, each with a checkpoint; one pass if `None`.
        factor: factor of the learning rate at a plateau.
        patience: number of evaluations without a lower held-out loss that form a plateau.
        drops: number of reductions of the learning rate. The run ends at the next plateau.
        least: minimum relative decrease of the loss that counts as lower.
        warm_up: number of steps in which the learning rate increases from zero.
        momentum: momentum of SGD.
        decay: weight decay.
        clip: maximum norm of the gradient of a step; `None` for no clipping.
        seed: seed of new weights, order and augmentation.
        precision: `"float32"`, or `"bfloat16"` for autocast with weights in float32.
        deterministic: whether to use only deterministic operations of torch. With the same machine, package versions
            and number of threads, the weights are then the same, also after interruptions.

    Raises:
        ExcitationError: an invalid value.

    Source: Zhang et al., ECCV 2016, Secs. 4.1 and 4.3. The paper does not give momentum, patience and warm-up.
    """

    rate: float | int = 0.01
    batch: int = 64
    passes: int = 30
    every: int | None = None
    factor: float | int = 0.1
    patience: int = 2
    drops: int = 1
    least: float | int = 1e-3
    warm_up: int = 0
    momentum: float | int = 0.9
    decay: float | int = 0.0
    clip: float | int | None = None
    seed: int = 0
    precision: Literal["float32", "bfloat16"] = "float32"
    deterministic: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("batch", "passes", "patience"):
            check_number(name, getattr(self, name), "a whole number from 1 on", least=1, whole=True)
        for name in ("drops", "warm_up", "seed"):
            check_number(name, getattr(self, name), "a whole number from 0 on", least=0, whole=True)
        if self.every is not None:
            check_number("every", self.every, "a whole number of steps from 1 on", least=1, whole=True)
        if self.clip is not None:
            check_number("clip", self.clip, "a norm above 0", least=1e-12)
        check_number("rate", self.rate, "a number above 0", least=1e-12)
        check_number("factor", self.factor, "a number from 0 to 1", least=0, most=1)
        check_number("momentum", self.momentum, "a number from 0 to 1", least=0, most=1)
        check_number("decay", self.decay, "a number from 0 on", least=0)
        check_number("least", self.least, "a part from 0 to 1", least=0, most=1)
        check_choice("precision", self.precision, ("float32", "bfloat16"))
