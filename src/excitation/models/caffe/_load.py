"""Loading a model from a prototxt and a caffemodel."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ..._checks import check_path
from .._loaded import LoadedModel, ModelError
from . import _arranging, _reducing  # noqa: F401 - imported for the layers they register
from ._builders import PARAMETERS, Shape, build
from ._functions import AbsVal, Clip, Exp, Log, Power, Swish
from ._inputs import MAX_COUNT
from ._module import CaffeNet, Step, steps_of
from ._pictures import preprocessing_of
from ._plan import Layer, Plan, make_plan
from ._pooling import WithinChannel
from ._text import read_text
from ._weighted import BatchNorm, Normalize
from ._weights import Slot, random_values, read_weights, take_blobs

UNCHANGED = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Dropout, nn.Softmax, nn.PReLU,
    nn.LocalResponseNorm, AbsVal, BatchNorm, Clip, Exp, Log, Normalize, Power, Swish, WithinChannel,
)  # fmt: skip
"""Layers whose output has the shape of their input. They are skipped on the meta device, where running them is slow."""

MAX_LIVE = 1 << 28
"""Maximum number of elements per image in all blobs needed at the same time: a gigabyte in single precision."""

MAX_MESSAGE = 600
"""Maximum length of an error message."""


def load_caffe(
    prototxt: str | os.PathLike[str],
    caffemodel: str | os.PathLike[str] | None = None,
    *,
    mean_file: str | os.PathLike[str] | None = None,
    dtype: torch.dtype = torch.float32,
) -> LoadedModel:
    """Load a Caffe network as a PyTorch module.

    The submodules have Caffe's layer names (with `_` instead of `.`) and run in the order of the file. The module
    returns the output blob of the network, or a dictionary if there are several. For a training prototxt, the TEST
    network without losses is used. Pooling, normalisation and rounding follow Caffe.

    Args:
        prototxt: the network, in the new or old dialect (`layer`, `layers`).
        caffemodel: its weights; random weights with a fixed seed if not given.
        mean_file: a `.binaryproto` file with a mean image. Its mean per channel is subtracted, and overrides the
            prototxt.
        dtype: type of the parameters. Files usually contain single precision, so `.double()` of the model is exact.

    Returns:
        The model in evaluation mode. Its images are BGR (luminance, for one channel) with values in [0, 255] minus the
        mean. They have the size in the prototxt: with preserved aspect ratio if the network accepts any size, else
        squashed. Of several outputs, the last one computed holds the scores; the result of an ArgMax never does.

    Raises:
        ModelError: a file cannot be read, is damaged or too large, contains an unsupported layer or option, or requires
            too much memory; or the files do not match.
    """
    for what, file in (("prototxt", prototxt), ("caffemodel", caffemodel), ("mean_file", mean_file)):
        if file is not None or what == "prototxt":
            check_path(what, file)
    try:
        weights, mean = (None if file is None else Path(file) for file in (caffemodel, mean_file))
        return _load(Path(prototxt), weights, mean, dtype)
    except ModelError as error:
        if len(str(error)) <= MAX_MESSAGE:
            raise
        # Files can contain names and sizes of any length.
        raise ModelError(f"{str(error)[: MAX_MESSAGE // 2]} ... {str(error)[-MAX_MESSAGE // 2 :]}") from error


def _load(prototxt: Path, caffemodel: Path | None, mean_file: Path | None, dtype: torch.dtype) -> LoadedModel:
    plan = make_plan(read_text(prototxt))
    model, modules, slots = _build(plan)
    if caffemodel is not None:
        _fill(plan, slots, caffemodel, dtype)
    parameters = list({id(slot): slot for layer in slots for slot in layer}.values())
    random_values(parameters, dtype)
    preprocessing = preprocessing_of(plan, prototxt, mean_file, any_size=_any_size(plan, modules))
    for slot in parameters:
        assert slot.values is not None
        slot.place(slot.values)
    output = None if len(plan.outputs) == 1 else plan.scores
    files = ",".join(str(file) for file in (prototxt, caffemodel, mean_file) if file is not None)
    return LoadedModel(model.eval(), f"caffe:{files}", preprocessing=preprocessing, output=output)


def _build(plan: Plan) -> tuple[CaffeNet, list[torch.nn.Module], list[list[Slot]]]:
    """Build the network on the meta device, which uses no memory; return it with its layers and their parameters."""
    model = CaffeNet(plan.shape, plan.outputs)
    shapes: dict[int, Shape] = {0: (1, *plan.shape)}
    named: dict[str, Slot] = {}
    calls, modules, slots = [], [], []
    for layer in plan.layers:
        inputs = [shapes[number] for number in layer.inputs]
        module = build(layer, inputs).eval()
        name = model.add_layer(layer.name, module)
        shapes |= zip(layer.outputs, _results(layer, module, inputs), strict=True)
        calls.append((name, layer.inputs, layer.outputs))
        modules.append(module)
        slots.append(_slots(layer, module, named))
    model.steps = steps_of(calls, set(plan.outputs.values()))
    _check_live(plan, model.steps, shapes)
    return model, modules, slots


def _check_live(plan: Plan, steps: Sequence[Step], shapes: dict[int, Shape]) -> None:
    """Raise an error for a network whose blobs need too much memory, before memory is allocated."""
    live = {0: math.prod(shapes[0])}
    for layer, step in zip(plan.layers, steps, strict=True):
        live |= {number: math.prod(shapes[number]) for number in step.outputs}
        if sum(live.values()) > MAX_LIVE:
            layer.fail(
                f"up to it, {len(live)} blobs of {sum(live.values())} numbers are needed at a time for one image;"
                f" networks of at most {MAX_LIVE} are read."
            )
        for number in step.done:
            del live[number]


def _results(layer: Layer, module: torch.nn.Module, inputs: Sequence[Shape]) -> list[Shape]:
    """The shapes of a layer's outputs, from a run on the meta device."""
    if isinstance(module, UNCHANGED):
        return [inputs[0]]
    try:
        with torch.no_grad():
            made = module(*(torch.empty(shape, device="meta") for shape in inputs))
    except (RuntimeError, ValueError, TypeError, IndexError, OverflowError) as error:
        given = ", ".join(map(str, inputs[:4]))
        layer.fail(f"it does not fit its input of shape {given}: {' '.join(str(error).split())[:200]}")
    results = [tuple(item.shape) for item in (made if isinstance(made, tuple) else (made,))]
    for shape in results:
        if math.prod(shape) > MAX_COUNT or 0 in shape:
            layer.fail(f"its output of shape {shape} must have at least 1 and at most {MAX_COUNT} numbers.")
    return results


def _slots(layer: Layer, module: torch.nn.Module, named: dict[str, Slot]) -> list[Slot]:
    """The parameters of a layer in Caffe's order; layers share parameters with the same name."""
    own = [name for name in PARAMETERS if isinstance(getattr(module, name, None), torch.Tensor)]
    slots = []
    for place, name in enumerate(own):
        shape = tuple(getattr(module, name).shape)
        shared = layer.params[place] if place < len(layer.params) else None
        slot = Slot(shape, layer.where)
        if shared is not None:
            slot = named.setdefault(shared, slot)
            if slot.shape != shape:
                layer.fail(f"it shares {shared!r} with {slot.owner}, of shape {slot.shape}; its own is {shape}.")
        slot.users.append((module, name))
        slots.append(slot)
    return slots


def _fill(plan: Plan, slots: list[list[Slot]], path: Path, dtype: torch.dtype) -> None:
    owners: dict[str, tuple[Layer, list[Slot]]] = {}
    for layer, own in zip(plan.layers, slots, strict=True):
        if own:
            owners.setdefault(layer.name, (layer, own))
    for name, blobs in read_weights(path):
        if name in owners:
            layer, own = owners[name]
            take_blobs(own, blobs, layer.where, dtype)
    for layer, own in zip(plan.layers, slots, strict=True):
        if any(slot.values is None for slot in own):
            layer.fail(f"caffemodel {path} holds no weights for it; does it belong to another network?")


def _any_size(plan: Plan, modules: Sequence[torch.nn.Module]) -> bool:
    """Whether the network accepts larger images, with the same number of classes; tested on the meta device."""
    if len(plan.shape) != 3:
        return False
    channels, height, width = plan.shape

    def classes(*size: int) -> list[int]:
        shapes: dict[int, Shape] = {0: (1, channels, *size)}
        for layer, module in zip(plan.layers, modules, strict=True):
            results = _results(layer, module, [shapes[number] for number in layer.inputs])
            shapes |= zip(layer.outputs, results, strict=True)
        return [shapes[number][1] for number in plan.outputs.values() if len(shapes[number]) > 1]

    try:
        return classes(height + 64, width + 96) == classes(height, width)
    except ModelError:
        return False
