"""The stages of a randomisation: the weighted layers of a network from the top down, and random weights."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float

from ..._errors import ExcitationError
from ...core import OutputChoice, forward
from ...engine import Entry, Record, Value
from ...engine.operations import Scaled
from ...models._loaded import LoadedModel

Order = Literal["cascading", "independent"]
"""Whether stages are randomised cumulatively or one at a time (Adebayo et al., 2018, Sec. 3.1 and 3.2)."""

ADDED = frozenset({"bias", "running_mean", "mean"})
"""Names of the additive parameters and buffers of normalisations. All others are factors."""


@dataclass(frozen=True)
class Stage:
    """The weighted layers between two neighbouring layers that every path passes through.

    In a chain, a stage is one layer. An inception module or a residual block with all its branches is one stage.

    Attributes:
        name: common part of the names of the layers.
        weighted: names of the modules with weights, the highest first.
        scaling: names of the normalisations and scalings after them.
        below: name of the layer directly below. Its output is the input of the weighted layers.
    """

    name: str
    weighted: tuple[str, ...]
    scaling: tuple[str, ...]
    below: str


def list_stages(
    model: torch.nn.Module, images: Float[torch.Tensor, "image channels *pixels"], *, output: OutputChoice = None
) -> list[Stage]:
    """Return the stages of a network from the top down, in the order of its forward pass.

    Args:
        model: the network in evaluation mode.
        images: at least one network input.
        output: which part of the network output contains the class scores, as in `explain`.

    Returns:
        The stages, the highest one first. A module that is called several times belongs to the highest of its stages.

    Raises:
        ExcitationError: the network has no weighted layer, or the weights of a layer are no parameter of a module.
    """
    record = forward(model, images[:1], None, output)
    blocks = _blocks(record)
    if not blocks:
        raise ExcitationError("the network has no weighted layer; a randomisation requires one.")
    owners: dict[int, str] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(parameter.untyped_storage().data_ptr(), name)
    names = _value_names(record)
    seen: set[str] = set()
    stages: list[Stage] = []
    for block in reversed(blocks):
        weighted = [name for name in _unique(_owner(entry, owners) for entry in block.weighted) if name not in seen]
        seen.update(weighted)
        if weighted:
            scaling = _unique(entry.address.rpartition(":")[0] for entry in block.scaling)
            kept = tuple(name for name in scaling if name not in seen)
            stages.append(
                Stage(
                    _common(weighted, [stage.name for stage in stages]),
                    tuple(weighted),
                    kept,
                    names[block.below.serial],
                )
            )
    return stages


def randomise(model: torch.nn.Module, stage: Stage, generator: torch.Generator) -> None:
    """Initialise the parameters of a stage at random, in place.

    Weights have a normal distribution with standard deviation `sqrt(2 / inputs)`, biases are zero (He et al., "Delving
    Deep into Rectifiers", ICCV 2015). Normalisations become the identity: mean 0, variance 1, factor 1, shift 0.

    Args:
        model: the network. It is changed.
        stage: a stage of the network.
        generator: a generator on the CPU, so that the weights are the same on every device.
    """
    with torch.no_grad():
        for name in stage.weighted:
            for parameter in model.get_submodule(name).parameters(recurse=False):
                values = torch.zeros(parameter.shape, dtype=parameter.dtype)
                if parameter.dim() > 1:
                    torch.nn.init.kaiming_normal_(values, nonlinearity="relu", generator=generator)
                parameter.copy_(values)
        for name in stage.scaling:
            module = model.get_submodule(name)
            for key, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                if tensor.is_floating_point():
                    tensor.fill_(0.0 if key in ADDED else 1.0)


def cascade(
    model: LoadedModel, stages: list[Stage], seed: int, index: int, order: Order = "cascading"
) -> Iterator[tuple[int, LoadedModel]]:
    """Yield a network with randomised stages: cumulatively from the top down, or one stage at a time.

    Args:
        model: the network. It is not changed.
        stages: stages of the network (see `list_stages`).
        seed: seed of the random networks.
        index: index of the image. Each image has its own random networks.
        order: `"cascading"` keeps the randomised stages; `"independent"` restores the previous stage. The random
            weights of a stage are the same for both.

    Yields:
        The number of randomised stages, from 0, and the network: first the given network, then a copy that changes.

    Source: Adebayo et al., 2018, Sec. 3.1 (cascading) and 3.2 (independent).
    """
    yield 0, model
    generator = torch.Generator()
    generator.manual_seed(int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]))
    changed = dataclasses.replace(model, model=copy.deepcopy(model.model))
    for count, stage in enumerate(stages, 1):
        if order == "independent":
            changed.model.load_state_dict(model.model.state_dict())
        randomise(changed.model, stage, generator)
        yield count, changed


@dataclass(eq=False)
class _Block:
    below: Value
    weighted: list[Entry] = field(default_factory=list)
    scaling: list[Entry] = field(default_factory=list)


def _blocks(record: Record) -> list[_Block]:
    """Group weighted entries by the cut below them, from the images upwards."""
    assert record.images is not None
    assert record.top is not None
    cuts, leads = record.cuts(record.inputs, record.top), record.ancestors(record.top)
    cut = record.images
    blocks: list[_Block] = []
    for entry in record.entries:
        if not any(value.serial in leads for value in entry.outputs):
            continue
        if entry.operation.weighted:
            if not blocks or blocks[-1].below is not cut:
                blocks.append(_Block(cut))
            blocks[-1].weighted.insert(0, entry)
        elif isinstance(entry.operation, Scaled) and blocks:
            blocks[-1].scaling.append(entry)
        cut = next((value for value in entry.outputs if value.serial in cuts), cut)
    return blocks


def _owner(entry: Entry, owners: dict[int, str]) -> str:
    weight = getattr(entry.operation, "weight", None)
    owner = None if weight is None else owners.get(weight.untyped_storage().data_ptr())
    if owner is None:
        raise ExcitationError(
            f"the weights of {entry.address!r} are no parameter of a module, so they cannot be randomised; register"
            " them as a parameter."
        )
    return owner


def _value_names(record: Record) -> dict[int, str]:
    """Return a name of each value: the name of its first module, or else of its operation."""
    names: dict[int, tuple[str, str]] = {}
    for place in record.places.values():
        if place.value is None or place.problem:
            continue
        known = names.get(place.value.serial)
        if known is None or (known[0] == "operation" and place.kind == "module"):
            names[place.value.serial] = (place.kind, place.name)
    return {serial: name for serial, (_, name) in names.items()}


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _common(names: list[str], taken: Iterable[str]) -> str:
    """Return the common path of names; the first name if there is none, or if another stage has this path."""
    paths = [name.replace("/", ".").split(".") for name in names]
    shared = 0
    while all(len(path) > shared and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    common = names[0][: len(".".join(paths[0][:shared]))]
    return names[0] if not common or common in taken else common
