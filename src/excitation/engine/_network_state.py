"""The state of a network before the forward pass: the names of its modules, its constants and its attributes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import chain
from types import FunctionType, MethodType
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from .._errors import ExcitationError
from ._names import written
from ._reachable import reachable
from ._values import tensor_list, version_of, was_written

OWN = frozenset(vars(torch.nn.Module()))
"""What every module keeps for PyTorch's own use."""

GROUPS = ("_parameters", "_buffers", "_modules")
"""Where modules keep what a forward pass may replace, beside plain attributes."""

_MISSING = object()


class NetworkState:
    """The modules and tensors of a network, collected at the beginning of a recording.

    Args:
        model: the network.
        named: dotted names of further constant tensors. An integer selects an item of a list (`stats.0`).

    Attributes:
        names: layer name of each module, by `id`. A module with several names has the first one, as in PyTorch.
        versions: number of writes to each constant, by `id`. Constants are parameters, buffers, and tensors in the
            attributes of modules and their classes, also in lists, tuples and dictionaries. Tensors that the functions
            of the modules reach through global variables or closures are constants too.

    Raises:
        ExcitationError: a parameter has no shape yet, or a name does not exist.
    """

    def __init__(self, model: torch.nn.Module, named: Sequence[str] = ()) -> None:
        self.names: dict[int, str] = {}
        self.versions: dict[int, int] = {}
        self._model = model
        self._constants: list[torch.Tensor] = []
        self._attributes: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._containers: list[tuple[Any, Any]] = []
        classes: set[type] = set()
        code: list[Any] = []
        for name, module in model.named_modules():
            self.names[id(module)] = written(name)
            if isinstance(module, torch.jit.ScriptModule):  # its attributes are not in `__dict__`
                for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                    self._keep(tensor)
                continue
            attributes = vars(module)
            before = {key: attributes[key] for key in attributes.keys() - OWN}
            self._attributes.append((attributes, before))
            self._look_at(before.values(), put_back=True)
            code += [item for item in before.values() if isinstance(item, (FunctionType, MethodType))]
            for group in GROUPS:
                self._containers.append((attributes[group], dict(attributes[group])))
            for tensor in (*attributes["_parameters"].values(), *attributes["_buffers"].values()):
                if isinstance(tensor, torch.Tensor):
                    if is_lazy(tensor):
                        raise ExcitationError(
                            f"module {name or type(module).__name__!r} is lazy and has no weights yet; run the model"
                            " once, `model(images)`, before it is explained."
                        )
                    self._keep(tensor)
            for kind in type(module).__mro__:
                if kind is torch.nn.Module:
                    break
                if kind not in classes:
                    classes.add(kind)
                    self._look_at(vars(kind).values(), put_back=False)
                    code += vars(kind).values()
        for tensor in reachable(item for item in code if isinstance(item, (FunctionType, MethodType))):
            self._keep(tensor)
        self._open = [name for name in named if not self._keep_named(name)]
        for name in self._open:  # the forward pass can create the last part of a name
            parent, _, _ = name.rpartition(".")
            if parent and held(model, parent) is _MISSING:
                raise self._unknown(name)

    def _look_at(self, items: Any, *, put_back: bool) -> None:
        for item in items:
            if isinstance(item, torch.Tensor):
                self._keep(item)
            elif isinstance(item, (list, tuple, dict)):
                parts = item.values() if isinstance(item, dict) else item
                for part in parts:
                    if isinstance(part, torch.Tensor):
                        self._keep(part)
                if put_back and not isinstance(item, tuple):
                    self._containers.append((item, item.copy()))

    def _keep(self, tensor: torch.Tensor) -> None:
        self._constants.append(tensor)
        self.versions[id(tensor)] = version_of(tensor)

    def _keep_named(self, name: str) -> bool:
        tensors = tensor_list(held(self._model, name))
        for tensor in tensors:
            self._keep(tensor)
        return bool(tensors)

    def named_late(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is a named constant that the forward pass created."""
        for name in self._open:
            if any(found is tensor for found in tensor_list(held(self._model, name))):
                self._open.remove(name)
                self._keep(tensor)
                return True
        return False

    def check_names(self) -> None:
        """Refuse names of constants that do not refer to a tensor after the forward pass.

        Raises:
            ExcitationError: there is such a name. The message lists the most similar names.
        """
        for name in self._open:
            if not tensor_list(held(self._model, name)):
                raise self._unknown(name)

    def _unknown(self, name: str) -> ExcitationError:
        known = [
            f"{path}.{key}" if path else key
            for path, module in self._model.named_modules()
            if not isinstance(module, torch.jit.ScriptModule)
            for key, item in vars(module).items()
            if key not in OWN and tensor_list(item)
        ]
        known += [key for key, _ in self._model.named_buffers()] + [key for key, _ in self._model.named_parameters()]
        near = ", ".join(map(repr, difflib.get_close_matches(name, known, n=3, cutoff=0.4)))
        hint = f" Nearest: {near}." if near else ""
        return ExcitationError(
            f"constants: {name!r} is not the name of a tensor of the model; give the dotted name of an"
            f" attribute, such as"
            f" 'backbone.grid', or 'backbone.grids.0' for the first of a list.{hint}"
        )

    @cached_property
    def parameters(self) -> dict[int, str]:
        """The names of parameters and buffers, by `id`."""
        every = chain(self._model.named_buffers(), self._model.named_parameters())
        return {id(tensor): name for name, tensor in every}

    def rewritten(self) -> str:
        """Return the name of a constant that was written to since the beginning; empty if there is none."""
        for tensor in self._constants:
            if was_written(tensor, self.versions[id(tensor)]):
                return self.name_of(tensor)
        return ""

    def name_of(self, tensor: torch.Tensor) -> str:
        """Return the name of a constant for messages."""
        for kind in (self._model.named_parameters(), self._model.named_buffers()):
            for name, found in kind:
                if found is tensor:
                    return f"the model's {name!r}"
        return f"a constant of the model, of shape {tuple(tensor.shape)}"

    def refresh(self) -> None:
        """Store the current versions of the constants."""
        for tensor in self._constants:
            self.versions[id(tensor)] = version_of(tensor)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Context manager that restores all attributes at its end, also the contents of lists and dictionaries.

        Without it, attributes that a forward pass sets (`self.calls += 1`, `self.last = x`) would be constants of the
        next forward pass.
        """
        try:
            yield
        finally:
            for attributes, before in self._attributes:
                for key in attributes.keys() - OWN - before.keys():
                    del attributes[key]
                for key, item in before.items():
                    if attributes.get(key, _MISSING) is not item:
                        attributes[key] = item
            for container, before in self._containers:
                _put_back(container, before)


def _put_back(container: Any, before: Any) -> None:
    if isinstance(container, dict):
        same = container.keys() == before.keys() and all(container[key] is item for key, item in before.items())
        if not same:
            container.clear()
            container.update(before)
    elif len(container) != len(before) or any(new is not old for new, old in zip(container, before, strict=True)):
        container[:] = before


def held(model: torch.nn.Module, name: str) -> object:
    """Return the object that a dotted name refers to. The parts are attributes, list indices and dictionary keys."""
    item: Any = model
    for part in name.split("."):
        if isinstance(item, (list, tuple)):
            item = item[int(part)] if part.isdigit() and int(part) < len(item) else _MISSING
        elif isinstance(item, dict):
            item = item.get(part, _MISSING)
        else:
            item = getattr(item, part, _MISSING)
    return item
