"""Training examples with labels for several classes, read in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64

from ._options import TrainingError


@runtime_checkable
class Examples(Protocol):
    """The interface of training examples."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the labels."""

    @property
    def groups(self) -> Int64[np.ndarray, " example"]:
        """The group of each example. A batch contains examples of one group. Their inputs have the same shape."""

    def name(self, index: int) -> str:
        """Return the name of an example for messages."""

    def batch(
        self, indices: Sequence[int], draw: Sequence[int] | None
    ) -> tuple[Float[torch.Tensor, "example ..."], Float[torch.Tensor, "example class"]]:
        """Return the inputs and labels (0 or 1) of some examples.

        Args:
            indices: indices of examples of one group.
            draw: seeds of the augmentation; `None` for no augmentation.
        """

    def fingerprint(self) -> str:
        """Return a hash of the examples."""


class TensorExamples:
    """Examples in memory. Each example has one or more views, and a pass selects one of them at random.

    Args:
        inputs: inputs `(example, view, ...)`.
        labels: labels `(example, class)`, 0 or 1.
        classes: names of the classes.
        names: names of the examples.
        source: hash of the data that the examples were computed from.

    Raises:
        TrainingError: the sizes do not agree, or there is no example.
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
        """Return the given name."""
        return self._names[index]

    def batch(self, indices: Sequence[int], draw: Sequence[int] | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a random view of each example, or the first view without augmentation."""
        which = torch.as_tensor(indices)
        views = self._inputs.shape[1]
        chosen = (
            np.zeros(len(which), int) if draw is None else np.random.default_rng(draw).integers(views, size=len(which))
        )
        return self._inputs[which, torch.from_numpy(chosen)], self._labels[which]

    def fingerprint(self) -> str:
        """Return the given hash."""
        return self._source


def plan_pass(groups: Int64[np.ndarray, " example"], batch: int, draw: Sequence[int]) -> list[Int64[np.ndarray, " _"]]:
    """Return the batches of one pass in random order. Each batch contains examples of one group.

    All batches are full, except for groups that are smaller than a batch. The remaining examples of a group are not
    used in this pass. Each pass omits other examples.

    Args:
        groups: groups of the examples.
        batch: number of examples in a batch.
        draw: seeds of the order.
    """
    rng = np.random.default_rng(draw)
    batches = []
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        size = min(batch, len(members))
        batches += [members[at : at + size] for at in range(0, len(members) - size + 1, size)]
    return [batches[i] for i in rng.permutation(len(batches))]
