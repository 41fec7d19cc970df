"""What a network is trained on: examples with labels for several classes, read in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64

from ._options import TrainingError


@runtime_checkable
class Examples(Protocol):
    """Examples that a run can read."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""

    @property
    def groups(self) -> Int64[np.ndarray, " example"]:
        """A number for each example; only those of one number share a batch, as their inputs have one shape."""

    def name(self, index: int) -> str:
        """What an example is called in messages."""

    def batch(
        self, indices: Sequence[int], draw: Sequence[int] | None
    ) -> tuple[Float[torch.Tensor, "example ..."], Float[torch.Tensor, "example class"]]:
        """Inputs and labels (0 or 1).

        Args:
            indices: of examples of one group.
            draw: seeds of the augmentation; `None` for none.
        """

    def fingerprint(self) -> str:
        """A hash that changes with the examples."""


class TensorExamples:
    """Examples in memory, each with one or several views of which a pass takes one at random.

    Args:
        inputs: example x view x ...; all views of one shape.
        labels: example x class, 0 or 1.
        classes: names.
        names: of the examples.
        source: hash of what they were made from.

    Raises:
        TrainingError: numbers that do not fit together, or no example.
    """

    def __init__(
        self,
        inputs: torch.Tensor,
        labels: Float[torch.Tensor, "example class"],
        classes: Sequence[str],
        names: Sequence[str],
        source: str,
    ) -> None:
        self.classes = tuple(classes)
        if len(inputs) != len(labels) or labels.shape[1] != len(self.classes) or len(names) != len(inputs):
            raise TrainingError(
                f"{len(inputs)} examples, {len(names)} names and labels of shape {tuple(labels.shape)} for"
                f" {len(self.classes)} classes do not fit together."
            )
        if not len(inputs):
            raise TrainingError("there is no example to train on.")
        self._inputs, self._labels, self._names, self._source = inputs, labels, tuple(names), source
        self.groups = np.zeros(len(inputs), np.int64)

    def name(self, index: int) -> str:
        """As given."""
        return self._names[index]

    def batch(self, indices: Sequence[int], draw: Sequence[int] | None) -> tuple[torch.Tensor, torch.Tensor]:
        """A random view of each example; the first without augmentation."""
        which = torch.as_tensor(indices)
        views = self._inputs.shape[1]
        chosen = (
            np.zeros(len(which), int) if draw is None else np.random.default_rng(draw).integers(views, size=len(which))
        )
        return self._inputs[which, torch.from_numpy(chosen)], self._labels[which]

    def fingerprint(self) -> str:
        """As given."""
        return self._source


def plan_pass(groups: Int64[np.ndarray, " example"], batch: int, draw: Sequence[int]) -> list[Int64[np.ndarray, " _"]]:
    """The batches of one pass in random order: full ones of one group each; a group smaller than a batch gives one.

    What is left of a group after its full batches is left out of this pass; another pass leaves out others.

    Args:
        groups: of the examples.
        batch: examples in one.
        draw: seeds of the order.
    """
    rng = np.random.default_rng(draw)
    batches = []
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        size = min(batch, len(members))
        batches += [members[at : at + size] for at in range(0, len(members) - size + 1, size)]
    return [batches[i] for i in rng.permutation(len(batches))]
