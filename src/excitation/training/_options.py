"""What a training run can be asked for, and what it raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .._checks import check_choice, check_number
from .._errors import ExcitationError


class TrainingError(ExcitationError):
    """A training run cannot go on; what it has saved stays as it is."""


@dataclass(frozen=True)
class Options:
    """How a network is trained. The defaults are the paper's where it says something.

    Attributes:
        rate: the learning rate of SGD at first.
        batch: pictures in a step, over all processes.
        passes: most passes over the examples.
        every: steps between two looks at the held-out examples, each with a checkpoint; one pass if `None`.
        factor: what the rate is multiplied by at a plateau.
        patience: looks without a lower held-out loss that make a plateau.
        drops: how often the rate is lowered; the plateau after the last ends the run.
        least: the part of the loss by which it must fall to count as lower.
        warm_up: steps in which the rate rises from zero.
        momentum: of SGD.
        decay: weight decay.
        clip: largest norm of a step's gradient; none if `None`.
        seed: of new weights, order and augmentation.
        precision: `"bfloat16"` computes by autocast, with weights in float32.
        deterministic: whether torch may use only operations that give the same numbers each time. With the same
            machine, releases and number of threads, the same weights come out, after kills as well.

    Raises:
        ExcitationError: a value that makes no sense.

    Source: Zhang et al., ECCV 2016, Secs. 4.1 and 4.3. Momentum, patience and warm-up are not given there.
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
        """Refuse what makes no sense."""
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
