"""The schedule of the learning rate and the end of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ._options import Options


@dataclass
class Plateau:
    """The state of a schedule that reduces the learning rate when the validation error plateaus.

    Attributes:
        best: lowest held-out loss so far.
        waited: number of evaluations since then.
        dropped: number of reductions of the learning rate.
        ended: whether the last plateau is reached.
    """

    best: float = float("inf")
    waited: int = 0
    dropped: int = 0
    ended: bool = False

    def look(self, loss: float, options: Options) -> bool:
        """Update the state with a held-out loss. Return whether it is the lowest."""
        if loss < self.best * (1 - options.least) or self.best == float("inf"):
            self.best, self.waited = loss, 0
            return True
        self.waited += 1
        if self.waited >= options.patience:
            self.ended = self.dropped >= options.drops
            self.dropped, self.waited = min(self.dropped + 1, options.drops), 0
        return False

    def rate(self, step: int, options: Options) -> float:
        """Return the learning rate of a step, counted from 0."""
        rising = min(1.0, (step + 1) / options.warm_up) if options.warm_up else 1.0
        return options.rate * options.factor**self.dropped * rising

    def state(self) -> dict[str, float | int | bool]:
        """Return the state for a checkpoint."""
        return asdict(self)
