"""An ONNX graph as a module: its nodes are submodules that run in the order of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float

from .._loaded import ModelError
from ._call import FAULTS, SENTENCES, Call, as_sentence, compute, results

MAX_NUMBERS = 1 << 12
"""Maximum number of elements of a shape or another host value."""


@dataclass(frozen=True)
class Slot:
    """The source of a node input.

    Attributes:
        kind: `given`: a tensor from another node. `moved`: a tensor computed from shapes, moved to the device of the
            activations. `listed`: a tensor computed from shapes, read as numbers. `own`: a parameter or buffer of the
            node.
            `plain`: numbers. `small`: a small constant tensor created at each call.
        value: the name of the parameter or buffer, the numbers, or the numbers and their type.
    """

    kind: str
    value: Any = None


class Computed(torch.nn.Module):
    """One node of the graph, computed by the function in the operator table.

    Attributes:
        call: the node.
        slots: the source of each input.
    """

    def __init__(self, call: Call, slots: Sequence[Slot]) -> None:
        super().__init__()
        self.call = call
        self.slots = list(slots)

    def arguments(self, given: Sequence[torch.Tensor]) -> list[Any]:
        """The arguments of the function.

        Raises:
            ModelError: an input that is read as numbers has too many elements.
        """
        tensors = iter(given)
        device = next((item.device for item, slot in zip(given, self._taken(), strict=True) if slot == "given"), None)
        arguments: list[Any] = []
        for slot in self.slots:
            if slot.kind == "given":
                arguments.append(next(tensors))
            elif slot.kind == "moved":
                arguments.append(next(tensors).to(device))
            elif slot.kind == "listed":
                item = next(tensors)
                if item.numel() > MAX_NUMBERS:
                    self.call.fail(f"an input that is read as numbers has {item.numel()}; at most {MAX_NUMBERS} are.")
                arguments.append(item.tolist())
            elif slot.kind == "own":
                arguments.append(getattr(self, slot.value))
            elif slot.kind == "small":
                arguments.append(torch.tensor(slot.value[0], dtype=slot.value[1]))
            else:
                arguments.append(slot.value)
        return arguments

    def _taken(self) -> list[str]:
        return [slot.kind for slot in self.slots if slot.kind in {"given", "moved", "listed"}]

    def forward(self, *given: torch.Tensor) -> Any:
        """Compute the output, or a tuple of several, from the inputs that come from other nodes."""
        return compute(self.call, self.arguments(given))

    def extra_repr(self) -> str:
        """The operator."""
        return self.call.kind


@dataclass(frozen=True)
class Step:
    """One node of the network.

    Attributes:
        name: name of the submodule; `""` if the node computes only with shapes, independent of the images.
        call: the node.
        inputs: indices of its input values; 0 is the images.
        outputs: indices of its output values; -1 for an unused output.
        done: indices of values that no later step uses.
        host: the node's module, if `name` is empty.
    """

    name: str
    call: Call
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    done: tuple[int, ...]
    host: Computed | None = None


class OnnxNet(torch.nn.Module):
    """A network from an ONNX file.

    Its submodules are the nodes that compute with activations. Each has the name of its node (or of its first output if
    the node has no name). `_` replaces all characters except letters and digits. A number is appended to a name that is
    in use.

    Attributes:
        shape: shape of the images; `None` for sizes that the file does not fix.
        steps: the nodes in order.
        outputs: indices of the output values, by name.
        only: the only batch size that the file allows, and the reason; `None` if it allows any.
    """

    def __init__(self, shape: tuple[int | None, ...], outputs: dict[str, int]) -> None:
        super().__init__()
        self.shape = shape
        self.steps: tuple[Step, ...] = ()
        self.outputs = outputs
        self.only: tuple[int, str] | None = None

    def forward(
        self, images: Float[torch.Tensor, "image channels height width"]
    ) -> torch.Tensor | dict[str, torch.Tensor]:  # fmt: skip
        """Run the nodes.

        Args:
            images: a batch that matches the input of the file.

        Returns:
            The output; a dictionary by name if there are several.

        Raises:
            ModelError: the images do not match the input of the file, or the inputs of a node are invalid.
        """
        channels = self.shape[1]
        if images.dim() != 4 or images.shape[1] != (channels or images.shape[1]):
            shown = " x ".join(str(size or "?") for size in self.shape[1:])
            raise ModelError(f"the images are of shape {tuple(images.shape)}; this ONNX network takes image x {shown}.")
        if self.only is not None and len(images) != self.only[0]:
            raise ModelError(
                f"{len(images)} images are given; this ONNX file only takes {self.only[0]} at a time, because"
                f" {self.only[1]} Export the model with a batch axis that is marked dynamic, and write -1 for it in"
                " reshapes; or give as many images."
            )
        values = {0: images}
        for step in self.steps:
            values.update(zip(step.outputs, self.perform(step, values), strict=True))
            for number in step.done:
                values.pop(number, None)
        made = {name: values[number] for name, number in self.outputs.items()}
        return next(iter(made.values())) if len(made) == 1 else made

    def perform(self, step: Step, values: dict[int, torch.Tensor]) -> list[torch.Tensor]:
        """Run one step.

        Raises:
            ModelError: the inputs of the node are invalid.
        """
        module = self.get_submodule(step.name) if step.host is None else step.host
        try:
            made = results(module(*(values[number] for number in step.inputs)))
        except SENTENCES:
            raise
        except FAULTS as error:
            raise as_sentence(step.call, error) from error
        return made[: len(step.outputs)]
