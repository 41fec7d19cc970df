"""Names, listing and selection of layers."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from .._errors import LayerError
from ..engine import INPUT, Grid, Images, Place, Record, axis_names, is_input
from ..engine._names import divisions, written
from ..models._loaded import LoadedModel
from ._forward import OutputChoice, forward

Layer = str | torch.nn.Module
r"""A layer: a module, its dotted name, or `module.path:operation`; `#2` for its second call; `input` for the images.

For a network with several inputs, `input` refers to all of them; `input[0]` or `input[name]` refers to one.

If a module name contains `#` or `:`, or equals `input`, a backslash escapes it: `c\#2`, `\input`. `:input` always
refers to the images, `c:#2` always to the second call of `c`, and `c::add` always to the operation `add` in `c`.
"""

DEFAULT_STRIDE = 16.0


@dataclass(frozen=True)
class LayerInfo:
    """A layer or operation at which a map can be computed.

    Attributes:
        name: the name to pass as `layer=`.
        kind: `"module"`, `"operation"` or `"input"`.
        shape: shape of its output.
        stride: image pixels per cell in each spatial dimension; `None` without spatial dimensions.
        axes: meaning of each axis of the output: `image`, `view`, `channel`, `space`, `token` or `unknown`. Several
            meanings joined by `*` if they are merged in one axis.
        is_cut: whether every path from the images to the scores passes through it. A map at such a layer accounts for
            the full score.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    stride: tuple[float, ...] | None
    axes: tuple[str, ...]
    is_cut: bool


def list_layers(
    model: torch.nn.Module | LoadedModel,
    images: Images,
    *,
    output: OutputChoice = None,
    constants: Sequence[str] = (),
) -> list[LayerInfo]:
    """List the layers and operations of a network, in the order in which they finish.

    Operations do not need a rule to be listed.

    Args:
        model: the network, in evaluation mode.
        images: a batch in the format that the network takes.
        output: which part of the network output holds the class scores, as in `explain`; the default of a loaded model
            if not given.
        constants: names of constant tensors that are neither parameters nor buffers, as in `explain`.

    Returns:
        Modules under their dotted names and operations under `module.path:operation`. Only entries whose output is a
        single tensor that depends on the images are listed.
    """
    if isinstance(model, LoadedModel):
        output = model.output if output is None else output
        model = model.model
    record = forward(model, images, None, output, constants, rules=False)
    assert record.images is not None
    assert record.top is not None
    cuts = record.cuts(record.inputs, record.top)
    return [
        LayerInfo(
            name=place.name,
            kind=place.kind,
            shape=tuple(place.value.shape),
            stride=place.value.stride,
            axes=axis_names(place.value.layout, len(place.value.shape)),
            is_cut=place.value.serial in cuts,
        )
        for place in record.places.values()
        if place.value is not None and not place.problem
    ]


def layer_name(model: torch.nn.Module, layer: Layer) -> str:
    """Return the canonical name of a layer, validated as far as possible before the network runs.

    Raises:
        LayerError: no module has this name; the message lists the closest names.
    """
    if isinstance(layer, torch.nn.Module):
        name = _first_name(model, layer)
        if name is None:
            raise LayerError(f"the given {type(layer).__name__} module is not part of the model.")
        return written(name)
    if not isinstance(layer, str):
        raise LayerError(f"layer is {layer!r}; give a module of the model, its name, or a list of these.")
    modules = dict(model.named_modules(remove_duplicate=False))
    meanings = _meanings(layer, modules)
    if len(meanings) > 1:
        ways = " or ".join(f"{what} (write {way!r})" for what, way, _, _ in meanings)
        raise LayerError(f"layer {layer!r} can mean {ways}; a module can also be given itself.")
    if not meanings:
        if any(sign == ":" for _, sign, _ in divisions(layer)):
            return layer  # possibly an operation; the record of the forward pass decides
        names = [written(name) for name in modules if name]
        raise LayerError(f"the model has no layer {layer!r}.{_nearest(layer, [INPUT, *names])}")
    ((_, _, path, rest),) = meanings
    if path is None:
        return rest
    return (written(_first_name(model, modules[path]) or path) if path else "") + rest


def _meanings(layer: str, modules: Mapping[str, torch.nn.Module]) -> list[tuple[str, str, str | None, str]]:
    """All readings of a layer name: description, unambiguous spelling, module name, and remainder.

    Calls and operations are numbered from 1; the number 1 can be omitted. The module name is `None` for the images.
    """
    if layer.startswith(":") and is_input(layer[1:]):
        return [("the images", layer, None, layer[1:])]
    meanings: list[tuple[str, str, str | None, str]] = []
    if is_input(layer):
        meanings.append(("the images", f":{layer}", None, layer))
    whole = divisions(layer)[-1][0]
    for name in dict.fromkeys((layer, whole)):  # the literal name, and the name with escapes resolved
        if name and name in modules and (name == whole or layer == name):
            meanings.append((f"the module called {name!r}", written(name), name, ""))
            break
    for path, sign, rest in divisions(layer)[:-1]:
        if path not in modules:
            continue
        call = rest.removeprefix("#") if sign == ":" else rest
        if (sign == "#" or rest.startswith("#")) and path and call.isdigit() and int(call) > 0:
            number = "" if int(call) == 1 else f"#{int(call)}"
            meanings.append((f"call {int(call)} of module {path!r}", f"{written(path)}:#{call}", path, number))
        elif sign == ":" and rest:
            operation = rest.removeprefix(":").removesuffix("#1")
            where = f"module {path!r}" if path else "the model's own forward"
            way = f"{written(path)}::{operation}"
            meanings.append((f"operation {operation!r} in {where}", way, path, f":{operation}"))
    return meanings


def _first_name(model: torch.nn.Module, module: torch.nn.Module) -> str | None:
    """The name that PyTorch gives to a module; the first one if it has several."""
    return next((name for name, candidate in model.named_modules() if candidate is module), None)


def find_place(record: Record, name: str) -> Place:
    """Find a layer in the record and check that its output can hold a map.

    Raises:
        LayerError: the layer did not run, or its output has no spatial dimensions.
    """
    place = record.places.get(name)
    if place is None:
        raise LayerError(f"layer {name!r} did not run in this forward pass.{_nearest(name, record.places)}")
    if place.problem:
        raise LayerError(f"layer {name!r} has no map: {place.problem}.")
    assert place.value is not None
    grid = place.value.grid()
    if isinstance(grid, str):
        raise LayerError(f"layer {name!r} has no map: {grid}; choose another layer.")
    return place


def whole_places(record: Record) -> Iterator[tuple[Place, Grid]]:
    """Layers that every path passes through, that have several positions, and that lie below a weighted operation.

    They are returned in the order in which they finish, without the images.
    """
    assert record.top is not None
    cuts = record.cuts(record.inputs, record.top)
    for place in record.places.values():
        value = place.value
        # A flattened tensor has the same map as the layer below it, whose name is more informative.
        if place.kind == "input" or value is None or value.serial not in cuts or len(value.shape) < 3:
            continue
        grid = value.grid()
        # At layers with class or register tokens, the map holds only the patches' share of the mass.
        complete = isinstance(grid, Grid) and grid.patches is None
        if isinstance(grid, Grid) and complete and math.prod(grid.space) > 1 and record.top.weighted & ~value.weighted:
            yield place, grid


def default_place(record: Record) -> Place:
    """The last layer at stride 16 that every path passes through, without class or register tokens; else the nearest.

    At least one weighted operation lies above this layer: a map of the class scores themselves explains nothing.

    Raises:
        LayerError: no layer of the network has spatial dimensions.
    """
    best: Place | None = None
    nearest = math.inf
    for place, grid in whole_places(record):
        strides = [stride for stride in grid.strides if stride]
        if not strides:
            continue
        stride = math.exp(sum(map(math.log, strides)) / len(strides))
        distance = round(abs(math.log2(stride / DEFAULT_STRIDE)), 6)
        # Prefer the name of a module to that of the operation inside it, which finishes first.
        if distance < nearest or (distance == nearest and (place.kind == "module" or best is None)):
            best, nearest = place, distance
    if best is None:
        raise LayerError(
            "no layer with spatial positions lies on all paths through this network; name one with `layer=`."
        )
    return best


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=4, cutoff=0.5)
    nearest = f" Nearest: {', '.join(repr(item) for item in near)}." if near else ""
    return f"{nearest} list_layers (`excitation layers`) lists all."
