"""The imported network as a module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float

from .._loaded import ModelError


@dataclass(frozen=True)
class Step:
    """One call of a layer.

    Attributes:
        name: name of the submodule.
        inputs: indices of its input blobs; 0 is the network input.
        outputs: indices of its output blobs.
        done: indices of blobs that no later step uses.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    done: tuple[int, ...]


class CaffeNet(torch.nn.Module):
    """A Caffe network: its submodules are the layers, with Caffe's names, run in the order of the file.

    `_` replaces `.` in names, which PyTorch reserves for nesting, and `:` and `#`, which have a meaning in `layer=`.

    Attributes:
        shape: shape of an input in the prototxt, without the batch axis.
        steps: the calls.
        outputs: indices of the output blobs, by name.
    """

    def __init__(self, shape: tuple[int, ...], outputs: dict[str, int]) -> None:
        super().__init__()
        self.shape = shape
        self.steps: tuple[Step, ...] = ()
        self.outputs = outputs

    def add_layer(self, name: str, module: torch.nn.Module) -> str:
        """Add a layer under its own name, or the closest valid name in PyTorch; return the name."""
        valid = name.translate(str.maketrans(".:#", "___")) or "layer"
        while hasattr(self, valid) or valid == "input":
            valid += "_"
        self.add_module(valid, module)
        return valid

    def forward(
        self, images: Float[torch.Tensor, "image channels *pixels"]
    ) -> torch.Tensor | dict[str, torch.Tensor]:  # fmt: skip
        """Run the layers.

        Args:
            images: a batch in the format of Caffe's input blob, for example BGR values in [0, 255] minus the mean.

        Returns:
            The output blob; a dictionary by name if there are several.

        Raises:
            ModelError: the images have another number of channels or dimensions than the network input.
        """
        if images.dim() != len(self.shape) + 1 or images.shape[1] != self.shape[0]:
            raise ModelError(
                f"the images are of shape {tuple(images.shape)}; this Caffe network takes (image,"
                f" {', '.join(map(str, self.shape))}), in space also other sizes if its layers allow them."
            )
        blobs = {0: images}
        for step in self.steps:
            made = self.get_submodule(step.name)(*(blobs[number] for number in step.inputs))
            results = made if isinstance(made, tuple) else (made,)
            blobs.update(zip(step.outputs, results, strict=True))
            for number in step.done:
                del blobs[number]
        outputs = {name: blobs[number] for name, number in self.outputs.items()}
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def extra_repr(self) -> str:
        """The shape of the input."""
        return f"shape={self.shape}"


def steps_of(calls: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]], keep: set[int]) -> tuple[Step, ...]:
    """Convert `(name, inputs, outputs)` to steps; each step frees the blobs that no later step uses."""
    needed, steps = set(keep), []
    for name, inputs, outputs in reversed(calls):
        done = ({*inputs, *outputs}) - needed
        needed |= done
        steps.append(Step(name, inputs, outputs, tuple(sorted(done))))
    return tuple(reversed(steps))
