"""A trial run on the meta device: checks that nodes match, limits the memory, and identifies the batch axis."""

from __future__ import annotations

import torch

from .._loaded import ModelError
from ._call import MAX_COUNT, compute, results
from ._network import Computed, OnnxNet, Slot, Step

MAX_TOTAL = 1 << 32
"""Maximum number of elements that all nodes together compute per image."""

MANY = 7919
"""Batch size of the second trial: a prime, so that an axis of this length must be the batch axis."""


def try_out(net: OnnxNet, size: tuple[int, int]) -> None:
    """Run a network without weights, first with the batch size in the file, then with another one.

    Exporters trace a network with some batch size and can write it as a constant into reshapes. If the first axis of
    the reshaped tensor is the batch axis in both trials, such a constant is replaced by the actual batch size, which
    does not change the function of each image. If this is not sufficient, `net.only` stores the only allowed batch
    size.

    Raises:
        ModelError: the network does not run at this size, or computes more elements than `MAX_COUNT` or `MAX_TOTAL`.
    """
    traced = net.shape[0] or 1
    shape = (net.shape[1] or 3, *size)
    _run(net, traced, shape)
    if traced == MANY:
        return
    try:
        outputs = _run(net, MANY, shape, traced)
    except ModelError as error:
        net.only = traced, str(error)
        return
    if any(not sizes or sizes[0] != MANY for sizes in outputs):
        net.only = traced, "the first axis of its output is not that of the pictures."


def _run(net: OnnxNet, count: int, shape: tuple[int, ...], traced: int | None = None) -> list[tuple[int, ...]]:
    """The shapes of the outputs for a batch of `count` images."""
    values = {0: torch.empty((count, *shape), device="meta")}
    total = 0
    for step in net.steps:
        if traced is not None:
            _free_batch(net, step, values, traced)
        made = _host(step, values) if step.host is not None else net.perform(step, values)
        for tensor in made:
            numbers = tensor.numel() // count + 1
            total += numbers
            if numbers > MAX_COUNT or total > MAX_TOTAL:
                step.call.fail(
                    f"its output of shape {tuple(tensor.shape)} is too large; at most {MAX_COUNT} numbers an image, and"
                    f" {MAX_TOTAL} in all nodes, are made."
                )
        values.update(zip(step.outputs, made, strict=False))
        for number in step.done:
            values.pop(number, None)
    return [tuple(values[number].shape) for number in net.outputs.values()]


def _host(step: Step, values: dict[int, torch.Tensor]) -> list[torch.Tensor]:
    """Run a step on shapes, whose values are required; its size is checked first."""
    assert step.host is not None
    arguments = step.host.arguments([values[number] for number in step.inputs])
    planned = compute(step.call, [item.to("meta") if isinstance(item, torch.Tensor) else item for item in arguments])
    for item in results(planned):
        if item.numel() > MAX_COUNT:
            step.call.fail(
                f"its output of shape {tuple(item.shape)} is too large; at most {MAX_COUNT} numbers are made."
            )
    return results(compute(step.call, arguments))


def _free_batch(net: OnnxNet, step: Step, values: dict[int, torch.Tensor], traced: int) -> None:
    """In a reshape with the batch axis, replace the traced batch size by that of the input."""
    if step.call.kind != "Reshape" or step.host is not None or step.call.get("allowzero", 0):
        return
    module = net.get_submodule(step.name)
    assert isinstance(module, Computed)
    shape, x = module.slots[1].value, values[step.inputs[0]]
    if isinstance(shape, list) and len(shape) > 1 and shape[0] == traced and x.dim() and x.shape[0] == MANY:
        module.slots[1] = Slot("plain", [0, *shape[1:]])
