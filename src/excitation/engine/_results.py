"""Computes the values of an operation's results: axes, bounds, gates, and the operations below them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .._errors import UnsupportedOperationError
from ._bounds import UNBOUNDED, Bounds
from ._layout import Layout, Origin, assumed, reduced
from ._refusals import no_neurons
from ._values import Kind, Value, ValueBook
from .operations import Arrangement, Average, CallContext, Operation


class Results:
    """Enters the results of operations into a book of values.

    Args:
        book: the value book of the recording.

    Attributes:
        images: origin of the batch axis; `None` until it is known.
    """

    def __init__(self, book: ValueBook) -> None:
        self._book = book
        self.images = Origin(0)

    def layouts(
        self, operation: Operation, inputs: tuple[Value, ...], results: list[torch.Tensor]
    ) -> Sequence[Layout | None]:
        """Return the layouts of the results; `None` for unknown layouts.

        Raises:
            MixedImagesError: the result of one image depends on other images.
        """
        silent = operation.silent
        for place, value in enumerate(inputs):
            if value.layout is None and value.kind is not Kind.CONSTANT and place not in silent:
                return [assumed(tensor.shape, self.images) for tensor in results]
        return operation.layouts(inputs, [tensor.shape for tensor in results])

    def _alike(self, tensors: Sequence[torch.Tensor], shape: torch.Size) -> Layout | None:
        """Return the default layout of a result: the layout of an operand with the same shape, or reduced to it."""
        for tensor in tensors:
            value = self._book.get(tensor)
            if value is not None and value.layout is not None:
                layout = reduced(value.layout, shape)
                if layout is not None:
                    return layout
        return assumed(shape, self.images)

    def of(
        self,
        operation: Operation,
        inputs: tuple[Value, ...],
        results: list[torch.Tensor],
        layouts: Sequence[Layout | None],
        kind: Kind,
        address: str,
        bit: int,
    ) -> list[Value]:
        """Enter the results of an operation with a rule.

        Args:
            operation: the operation.
            inputs: values of its operands.
            results: tensors that it returned.
            layouts: layouts of the results.
            kind: origin of the results' information.
            address: address of the operation.
            bit: bit of a weighted operation, else 0.
        """
        silent = operation.silent
        carriers = [value for place, value in enumerate(inputs) if place not in silent] if silent else inputs
        weighted = bit
        # The message names the first operation without a rule.
        problem, first = None, 0
        for value in carriers:
            weighted |= value.weighted
            if value.problem is not None and (problem is None or value.serial < first):
                problem, first = value.problem, value.serial
        intervals: Sequence[Bounds]
        valids: Sequence[torch.Tensor | None]
        count = len(results)
        if isinstance(operation, Arrangement):
            intervals = operation.intervals(inputs, count)
            valids = operation.valids(inputs) or [None] * count
        else:
            intervals = [operation.bounds(inputs)] + [UNBOUNDED] * (count - 1)
            valids = [operation.valid(inputs)] + [None] * (count - 1)
        gate = operation.gate(inputs)
        parent, sign = operation.source(inputs)
        origin, averaged = None, False
        if len(inputs) == 1 and operation.proportional:
            origin = inputs[0].proportional or inputs[0]
            averaged = inputs[0].averaged or isinstance(operation, Average)
        over = operation.centres if isinstance(operation, Average) else ()
        outputs = []
        for place, tensor in enumerate(results):
            bounds, lost = intervals[place], problem
            if parent is not None and tensor.shape != parent.shape:
                parent = None
            if lost is None and not tensor.is_floating_point():
                # Maxima also return indices. A signal that reaches the indices would be lost.
                lost = no_neurons(f"operation {address!r}", [tensor]) if kind is Kind.TRACKED else None
            outputs.append(
                self._book.add(
                    tensor, kind, bounds=bounds, valid=valids[place], layout=layouts[place], weighted=weighted,
                    address=address, gate=(gate and bounds.one_sign) or bounds.gate, parent=parent, sign=sign,
                    problem=lost, maker=type(operation), multiplied=operation.multiplied(tensor.dim()),
                    proportional=origin, averaged=averaged, centre=inputs[0] if over else None, over=over,
                )
            )  # fmt: skip
        return outputs

    def without_rule(
        self,
        context: CallContext,
        tensors: Sequence[torch.Tensor],
        results: list[torch.Tensor],
        kind: Kind,
        address: str,
        problem: UnsupportedOperationError | None,
    ) -> list[Value]:
        """Enter the results of an operation without a rule. Their layouts are inferred from their shapes.

        No signal passes the operation. Its results can still be used as gates, or as statistics in a division.
        """
        weighted = 0
        for tensor in tensors:
            if context.carries(tensor):
                weighted |= context.value(tensor).weighted
        return [
            self._book.add(
                tensor, kind, address=address, problem=problem, weighted=weighted, bounds=context.bounds,
                gate=context.gate or context.bounds.gate, layout=context.layout or self._alike(tensors, tensor.shape),
            )
            for tensor in results
        ]  # fmt: skip
