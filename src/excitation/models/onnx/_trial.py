"""A run without memory, on the meta device: whether the nodes fit each other, how much they make, what is the batch."""

from __future__ import annotations

import torch

from .._loaded import ModelError
from ._call import MAX_COUNT, compute, results
from ._network import Computed, OnnxNet, Slot, Step

MAX_TOTAL = 1 << 32
"""Numbers that all nodes together make of one image."""

MANY = 7919
"""Pictures in the second trial: a prime, so that an axis of this length is the axis of pictures."""


def try_out(net: OnnxNet, size: tuple[int, int]) -> None:
    """Run a network that has no numbers yet, with the number of pictures its file gives, then with many.

    Exporters trace a network with some number of pictures and can write this number into reshapes. Where the input's
    first axis is the pictures in both trials, such a number is read as "as many as there are", which is the same
    function of each picture. Where that does not help, `net.only` says how many pictures the network takes.

    Raises:
        ModelError: it does not run at this size, or makes more numbers than `MAX_COUNT` or `MAX_TOTAL`.
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
    """The shapes of the outputs for `count` pictures."""
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
    """A step on shapes, whose numbers are needed; its size is found first."""
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
    """In a reshape of pictures, read the number of pictures that the exporter traced with as the input's own."""
    if step.call.kind != "Reshape" or step.host is not None or step.call.get("allowzero", 0):
        return
    module = net.get_submodule(step.name)
    assert isinstance(module, Computed)
    shape, x = module.slots[1].value, values[step.inputs[0]]
    if isinstance(shape, list) and len(shape) > 1 and shape[0] == traced and x.dim() and x.shape[0] == MANY:
        module.slots[1] = Slot("plain", [0, *shape[1:]])
