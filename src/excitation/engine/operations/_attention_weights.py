"""Attention weights in products: which tensors are attention weights, and what the axes of products of queries are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from .._axes import Axes
from .._layout import Axis, Layout, by_axes, holds_images, size_of
from .._values import Kind, Value
from ._elementwise import Activation, Scaled
from ._families import Affine, Operation, Sum
from ._moving import Arrangement
from ._readers import CallContext

if TYPE_CHECKING:
    from .._record import Entry

Laid = Callable[[Sequence[Layout | None], Sequence[torch.Size]], Sequence[Layout]]


def mixes_softmax(context: CallContext, value: Value, summed: Sequence[int]) -> bool:
    """Whether a value consists of softmax weights that were mixed linearly with constants, such as between heads.

    The weights must be normalised along one of the axes `summed`, over which they weight other neurons. Sums of a few
    softmax outputs, such as their differences, are mixed weights too.
    """
    if value.layout is None:
        return False
    keys = {id(factor.origin.root()) for axis in summed for factor in value.layout[axis] if factor.size > 1}
    ends = {output.serial for entry in context.book.made if _normalises(entry, keys) for output in entry.outputs}
    if not ends:
        return False
    makers = {output.serial: entry for entry in context.book.made for output in entry.outputs}
    waiting, seen, found = [value], {value.serial}, False
    while waiting:
        value = waiting.pop()
        if value.serial in ends:
            found = True
            continue
        if value.kind is Kind.CONSTANT:
            continue
        entry = makers.get(value.serial)
        if entry is None or not _mixes(entry.operation):
            return False
        waiting += [item for item in entry.inputs if item.serial not in seen]
        seen.update(item.serial for item in entry.inputs)
    return found


def _normalises(entry: Entry, keys: set[int]) -> bool:
    """Whether an operation is a softmax over axes that descend from these origins."""
    operation, layout = entry.operation, entry.outputs[0].layout
    if not isinstance(operation, Activation) or not operation.gates or not operation.over or layout is None:
        return False
    over = [id(factor.origin.root()) for axis in operation.over for factor in layout[axis]]
    return bool(over) and keys.issuperset(over)


def _mixes(operation: Operation) -> bool:
    """Whether an operation is linear, with constant weights."""
    if isinstance(operation, Affine):
        return operation.weighted
    if isinstance(operation, Scaled):
        return operation.gain is not None
    return isinstance(operation, (Arrangement, Sum)) or (isinstance(operation, Activation) and operation.linear)


def layout_of_product(
    context: CallContext, tensors: Sequence[torch.Tensor], terms: Sequence[str], y: str
) -> Layout | None:
    """Return the layout of a product of activations, given by the letters of its axes; `None` if it is unknown."""
    result: list[Axis] = []
    for letter in y:
        found: Axis = ()
        for tensor, term in zip(tensors, terms, strict=True):
            layout = context.value(tensor).layout
            if layout is None:
                return None
            if letter in term and size_of(layout[term.index(letter)]) > size_of(found):
                found = layout[term.index(letter)]
        result.append(found)
    given = any(holds_images(axis) for tensor in tensors for axis in context.value(tensor).layout or ())
    kept = any(holds_images(axis) for axis in result)
    return tuple(result) if kept or not given else None


def along_queries(axes: Axes, queries: dict[int, Axis]) -> Laid:
    """Return the layout function of a weighted sum of values: some output axes are those of the queries.

    Args:
        axes: relation of the output's axes to those of the values.
        queries: the axes of the queries, by output axis.
    """

    def laid(layouts: Sequence[Layout | None], shapes: Sequence[torch.Size]) -> Sequence[Layout]:
        (layout,) = layouts
        assert layout is not None
        found = list(by_axes(layout, axes, shapes[0]))
        for place, axis in queries.items():
            if size_of(axis) == shapes[0][place] and axis and not holds_images(axis):
                found[place] = axis
        return [tuple(found)]

    return laid
