"""The evidence for a linear composition: how much its parts raise the result, and how much they lower it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from .._bounds import negated
from .._record import Composition
from .._values import Value
from ..operations import Activation, Affine, Arrangement, Average, Scaled, Sum, Written
from ..policies import Policies
from ._products import Half, rectified

Pair = tuple[torch.Tensor, torch.Tensor | None]
"""What raises neurons and what lowers them, none of it negative; no second part where nothing lowers them."""

_Opened = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
"""What raises and lowers those neurons of a tensor that are compositions, and which these are; `None` for all."""


class Evidence:
    """Computes the evidence for compositions. Each result is cached.

    The evidence for a neuron that is not a composition is its positive and its negative part. The evidence for a class
    score `W x + b` is the pair of its normalisers, `W+ x+ + W- x-` and `W- x+ + W+ x-`. Sums, averages and factors
    apply to both members of a pair. A negative factor swaps the members. Therefore, all implementations of
    `W1 x1 + W2 x2` have the evidence of one weighted operation.
    """

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._known: dict[tuple[Composition, torch.dtype], _Opened] = {}

    def pair(self, part: Composition | None, x: torch.Tensor, value: Value, dtype: torch.dtype) -> Pair:
        """Return the evidence for an input.

        Args:
            part: composition of the input; `None` for neurons that are not decomposed.
            x: activations of the input.
            value: value of the input.
            dtype: dtype of the result.
        """
        if part is None:
            return rectified(x.to(dtype), value, self._policies)
        with torch.no_grad():
            waiting = [part]
            while waiting:  # no recursion: sums can be nested as deeply as the network
                now = waiting[-1]
                rest = [inner for inner in now.parts if inner is not None and (inner, dtype) not in self._known]
                if rest:
                    waiting += rest
                    continue
                waiting.pop()
                if (now, dtype) not in self._known:
                    self._known[now, dtype] = self._opened(now, dtype)
            up, down, opened = self._known[part, dtype]
            if opened is None:
                return up, down
            raised, lowered = rectified(x.to(dtype), value, self._policies)
            return torch.where(opened, up, raised), torch.where(opened, down, 0 if lowered is None else lowered)

    def of_terms(
        self, parts: Sequence[Composition | None], operation: Sum, inputs: Sequence[Value], dtype: torch.dtype
    ) -> list[Pair]:
        """Return, for each term of a sum with its sign, how much it raises and how much it lowers the sum.

        Args:
            parts: compositions of the terms.
            operation: the sum.
            inputs: values of the terms.
            dtype: dtype of the result.
        """
        pairs = []
        for part, term, sign, value in zip(parts, operation.terms, operation.signs, inputs, strict=True):
            if part is None and sign < 0:
                turned = replace(value, bounds=negated(value.bounds))
                pairs.append(rectified(-term.to(dtype), turned, self._policies))
                continue
            pair = self.pair(part, term, value, dtype)
            pairs.append(pair if sign > 0 else swapped(pair))
        return pairs

    def woken(
        self,
        pairs: list[Pair],
        silent: Sequence[Composition | None],
        operation: Sum,
        inputs: Sequence[Value],
        dtype: torch.dtype,
    ) -> list[Pair]:
        """Return the evidence for the terms of a sum. Where all terms are silent, it comes from their compositions.

        Args:
            pairs: for each term, how much it raises and how much it lowers the sum.
            silent: compositions of the terms.
            operation: the sum.
            inputs: values of the terms.
            dtype: dtype of the result.
        """
        sides = [[_or_nothing(pair)[place] for pair in pairs] for place in (0, 1)]
        dead = [sum(side[1:], side[0]) <= 0 for side in sides]
        if dead[0].device.type == "cpu" and not bool(dead[0].any() or dead[1].any()):
            return pairs
        made = [_or_nothing(pair) for pair in self.of_terms(silent, operation, inputs, dtype)]
        ups, downs = (
            [torch.where(mask, pair[place], own) for pair, own in zip(made, side, strict=True)]
            for place, (mask, side) in enumerate(zip(dead, sides, strict=True))
        )
        return list(zip(ups, downs, strict=True))

    def _opened(self, part: Composition, dtype: torch.dtype) -> _Opened:
        """Return the evidence for a composition. The evidence for its parts must be cached."""
        entry, operation = part.entry, part.entry.operation
        if isinstance(operation, Affine):
            return self._score(operation, entry.inputs[0], dtype)
        if isinstance(operation, Sum):
            pairs = self.of_terms(part.parts, operation, entry.inputs, dtype)
            whole = torch.zeros(entry.outputs[0].shape, dtype=dtype, device=operation.terms[0].device)
            up, down = (sum((p for p in parts if p is not None), whole) for parts in zip(*pairs, strict=True))
            return up, down, None
        if isinstance(operation, Average):
            raised, lowered = self.pair(part.parts[0] if part.parts else None, operation.input, entry.inputs[0], dtype)
            up = operation.forward(raised)
            return up, torch.zeros_like(up) if lowered is None else operation.forward(lowered), None
        inner = [None if p is None else self._known[p, dtype] for p in part.parts]
        if isinstance(operation, Scaled):
            return self._scaled(operation, inner[0], entry.outputs[0].shape)
        if isinstance(operation, Activation):
            assert inner[0] is not None
            return inner[0]
        assert isinstance(operation, Arrangement)
        return self._arranged(operation, inner, part, dtype)

    def _score(self, operation: Affine, value: Value, dtype: torch.dtype) -> _Opened:
        raised, lowered = rectified(operation.input.to(dtype), value, self._policies)
        excite, inhibit = Half(operation, 1, dtype), Half(operation, -1, dtype)
        up, down = excite.forward(raised), inhibit.forward(raised)
        if lowered is not None:
            up, down = up + inhibit.forward(lowered), down + excite.forward(lowered)
        return up, down, None

    def _scaled(self, operation: Scaled, inner: _Opened | None, shape: torch.Size) -> _Opened:
        assert inner is not None
        assert operation.gain is not None
        up, down, opened = inner
        gain = operation.gain()
        if opened is not None:
            opened = opened.expand(shape)
        if not isinstance(gain, torch.Tensor):
            up, down = up * abs(gain), down * abs(gain)
            return (up, down, opened) if gain >= 0 else (down, up, opened)
        gain = gain.to(up)
        up, down = up * gain.abs(), down * gain.abs()
        if self._policies.batch_norm == "copy":
            return up, down, opened
        return torch.where(gain < 0, down, up), torch.where(gain < 0, up, down), opened

    def _arranged(
        self, operation: Arrangement, inner: list[_Opened | None], part: Composition, dtype: torch.dtype
    ) -> _Opened:  # fmt: skip
        entry = part.entry
        device = next(found[0].device for found in inner if found is not None)
        ups, downs, masks = [], [], []
        for value, found in zip(entry.inputs, inner, strict=True):
            nothing = torch.zeros((), dtype=dtype, device=device).expand(value.shape)
            up, down, opened = (nothing, nothing, nothing.bool()) if found is None else found
            ups.append(up)
            downs.append(down)
            masks.append(torch.ones_like(up, dtype=torch.bool) if opened is None else opened)
        up, down, mask = (operation.apply(tensors)[part.output] for tensors in (ups, downs, masks))
        if isinstance(operation, Written):  # a written constant contributes nothing
            neurons = (operation.known.numbers()[part.output] != 0).to(device)
            up, down, mask = torch.where(neurons, up, 0), torch.where(neurons, down, 0), mask.bool() | ~neurons
        valid = entry.outputs[part.output].valid
        if valid is not None:
            # Padding contributes nothing, independent of its value.
            valid = valid.to(device)
            up, down = torch.where(valid, up, 0), torch.where(valid, down, 0)
            mask = mask.bool() | ~valid
        whole = all(found is not None and found[2] is None for found in inner)
        return up, down, None if whole else mask.bool()


def _or_nothing(pair: Pair) -> tuple[torch.Tensor, torch.Tensor]:
    up, down = pair
    return up, torch.zeros_like(up) if down is None else down


def swapped(pair: Pair) -> Pair:
    """Return the evidence for the negated number: raising and lowering are swapped."""
    up, down = pair
    return (torch.zeros_like(up) if down is None else down), up
