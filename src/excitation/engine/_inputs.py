"""The inputs of a network: one tensor of images, or several tensors as positional or keyword arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jaxtyping import Shaped

from .._errors import ExcitationError
from ._names import INPUT

Images: TypeAlias = (
    Shaped[torch.Tensor, "image ..."]
    | tuple[Shaped[torch.Tensor, "image ..."], ...]
    | Mapping[str, Shaped[torch.Tensor, "image ..."]]
)
"""`model(images)`, `model(*images)` for a tuple, or `model(**images)` for a dictionary."""


@dataclass(frozen=True)
class Inputs:
    """The tensors of one call of a network.

    Attributes:
        tensors: tensors by layer name: `input` for a single tensor, else `input[0]` or `input[name]`.
        names: names of the keyword arguments; `None` for positional arguments.
    """

    tensors: dict[str, torch.Tensor]
    names: tuple[str, ...] | None

    @property
    def images(self) -> torch.Tensor:
        """The first tensor of floating-point numbers."""
        return next(tensor for tensor in self.tensors.values() if tensor.is_floating_point())

    def layers(self, name: str) -> list[str]:
        """Return the layers that a layer name refers to. `input` refers to all inputs that can have maps."""
        if name != INPUT or name in self.tensors:
            return [name]
        return [key for key, tensor in self.tensors.items() if tensor.is_floating_point()]

    def run(self, model: torch.nn.Module, tensors: Sequence[torch.Tensor]) -> Any:
        """Call a network with other tensors instead of these."""
        if self.names is None:
            return model(*tensors)
        return model(**dict(zip(self.names, tensors, strict=True)))


def read_inputs(images: Images | Inputs) -> Inputs:
    """Check the inputs of a network and return them as `Inputs`.

    Raises:
        ExcitationError: no tensor has a floating-point dtype, or the tensors have different numbers of images.
    """
    if isinstance(images, Inputs):
        return images
    if isinstance(images, torch.Tensor):
        if not images.is_floating_point():
            raise ExcitationError(
                f"images are {images.dtype}; preprocessed floating-point images are expected, as input to the network."
            )
        return Inputs({INPUT: images}, None)
    if not isinstance(images, (tuple, Mapping)):
        raise ExcitationError(
            f"images are a {type(images).__name__}; a tensor (image, channel, height, width) is expected, or a tuple or"
            " dictionary of tensors for a network with several inputs."
        )
    names = tuple(images) if isinstance(images, Mapping) else None
    parts = list(images.values()) if isinstance(images, Mapping) else list(images)
    if not all(isinstance(part, torch.Tensor) for part in parts):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise ExcitationError(f"images are several inputs of the types {kinds}; each must be a tensor.")
    if not any(part.is_floating_point() for part in parts):
        raise ExcitationError("images contain no floating-point tensor; a map needs at least one.")
    counts = [len(part) if part.dim() else 0 for part in parts]
    if len(set(counts)) > 1:
        raise ExcitationError(
            f"images are several inputs with {counts} entries; the same number of images in each is expected."
        )
    keys = names if names is not None else tuple(map(str, range(len(parts))))
    return Inputs({f"{INPUT}[{key}]": part for key, part in zip(keys, parts, strict=True)}, names)
