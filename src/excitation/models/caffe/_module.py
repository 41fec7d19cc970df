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
        name: of the submodule.
        inputs: numbers of the blobs it takes in; 0 is the network's input.
        outputs: numbers of the blobs it makes.
        done: numbers of blobs that no later step takes in.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    done: tuple[int, ...]


class CaffeNet(torch.nn.Module):
    """A Caffe network: its submodules are the layers, under Caffe's names, run in the file's order.

    A `.` in a name, which PyTorch keeps for nesting, is written `_`, as are `:` and `#`, which `layer=` has a use for.

    Attributes:
        shape: of an input as the prototxt gives it, without the images.
        steps: the calls.
        outputs: numbers of the output blobs, by name.
    """

    def __init__(self, shape: tuple[int, ...], outputs: dict[str, int]) -> None:
        super().__init__()
        self.shape = shape
        self.steps: tuple[Step, ...] = ()
        self.outputs = outputs

    def add_layer(self, name: str, module: torch.nn.Module) -> str:
        """Add a layer under its own name, or the nearest one PyTorch takes; returns that."""
        wanted = name.translate(str.maketrans(".:#", "___")) or "layer"
        while hasattr(self, wanted) or wanted == "input":
            wanted += "_"
        self.add_module(wanted, module)
        return wanted

    def forward(
        self, images: Float[torch.Tensor, "image channels *pixels"]
    ) -> torch.Tensor | dict[str, torch.Tensor]:  # fmt: skip
        """Run the layers.

        Args:
            images: as Caffe's input blob, for instance BGR, 0 to 255, less the mean.

        Returns:
            The output blob; by name, if there are several.

        Raises:
            ModelError: the images have another number of channels or dimensions than the network's input.
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
        """The input's shape."""
        return f"shape={self.shape}"


def steps_of(calls: Sequence[tuple[str, tuple[int, ...], tuple[int, ...]]], keep: set[int]) -> tuple[Step, ...]:
    """Steps from `(name, inputs, outputs)`, each freeing the blobs it is the last to need."""
    needed, steps = set(keep), []
    for name, inputs, outputs in reversed(calls):
        done = ({*inputs, *outputs}) - needed
        needed |= done
        steps.append(Step(name, inputs, outputs, tuple(sorted(done))))
    return tuple(reversed(steps))
