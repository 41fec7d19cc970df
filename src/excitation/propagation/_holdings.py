"""What a network holds before any image comes: the names of its modules, its constants, its buffers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

OWN = frozenset(vars(torch.nn.Module()))
"""What every module keeps for PyTorch's own use."""


class Holdings:
    """A network's modules and tensors, found in one walk at the beginning of a recording.

    Args:
        model: the network.

    Attributes:
        names: dotted name of each module by its identity; of a module with several names the first, as PyTorch has it.
        constants: parameters, buffers, and tensors kept as plain attributes, by identity.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.names: dict[int, str] = {}
        self.constants: dict[int, torch.Tensor] = {}
        self._buffers: list[tuple[torch.nn.Module, str, torch.Tensor | None]] = []
        for name, module in model.named_modules():
            self.names[id(module)] = name
            kept = vars(module)
            items = [kept[key] for key in kept.keys() - OWN]
            items += kept["_parameters"].values()
            items += kept["_buffers"].values()
            if not isinstance(module, torch.jit.ScriptModule):  # whose buffers are compiled code's, and no dictionary
                self._buffers += [(module, key, tensor) for key, tensor in kept["_buffers"].items()]
            for item in items:
                if isinstance(item, torch.Tensor):
                    self.constants[id(item)] = item

    @contextmanager
    def restored(self) -> Iterator[None]:
        """A block after which buffers that the forward pass has replaced (`self.calls += 1`) are put back."""
        try:
            yield
        finally:
            for module, name, tensor in self._buffers:
                if module._buffers.get(name) is not tensor:
                    module._buffers[name] = tensor
