"""Steps of operations that sum over positions: convolution, linear layers, averages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .._record import Entry
from ..operations import Affine, Average
from ..rules import ExcitationRules
from ..rules._products import Half, living, rectified
from ._reach_probability import ReachProbability
from ._steps import Step
from ._windows import Map, Patches, Window, channels_last

LARGE = 1 << 20
"""Weights from which on a convolution over small windows is quicker as a matrix product: they no longer fit a cache."""


class Weighted(Step):
    """Eq. 4 transposed: `u_i = sum_j w+_ij a_j u_j / sum_k w+_ik a_k`, for rectified neurons as in the downward sweep.

    The normalisers are computed once, on the whole map.
    """

    def __init__(self, entry: Entry, rules: ExcitationRules, like: torch.Tensor) -> None:
        super().__init__(entry, rules, like)
        operation = entry.operation
        assert isinstance(operation, (Affine, Average))
        self.operation = operation
        self.crops = operation.reach is not None
        a = rectified(operation.input.to(like.dtype), entry.inputs[0], rules.policies)
        self._rectified = [None if x is None else channels_last(x) for x in a]
        self._excite = Half(operation, 1, like.dtype)
        self._inhibit = Half(operation, -1, like.dtype) if isinstance(operation, Affine) else None
        self._inverses: dict[int, Map] = {}
        self._reciprocals: dict[int, torch.Tensor] = {}
        self._matrices: dict[Half, torch.Tensor] = {}

    def asks(self, polarities: Sequence[int]) -> list[int]:
        """Return two polarities if the input has both signs."""
        return [1 + max(j for k in range(polarities[0]) for j, _, _ in [(0, None, None), *self._links(k)])]

    def _links(self, k: int) -> list[tuple[int, Half, torch.Tensor]]:
        """Return the input polarities that connect to output polarity `k`, with the halves of the weights."""
        same, cross = self._excite, self._inhibit
        halves = (same, cross) if k == 0 else (cross, same)
        links = zip(halves, self._rectified, strict=True)
        return [(j, half, a) for j, (half, a) in enumerate(links) if half is not None and a is not None]

    def window(self, windows: Sequence[Window]) -> Window | None:
        """Those outputs that look into the window."""
        reach = self.operation.reach
        assert reach is not None
        return windows[0].above(reach, self.entry.outputs[0].shape)

    def cropped(
        self, probabilities: Sequence[ReachProbability | None], window: Window | None, polarities: Sequence[int]
    ) -> list[ReachProbability | None]:
        """Return the product on windows. The normalisers become pending factors."""
        (probability,), reach = probabilities, self.operation.reach
        assert probability is not None
        assert window is not None
        assert reach is not None
        frames = window.below(reach)
        parts = []
        for k in range(polarities[0]):
            total: torch.Tensor | None = None
            for j, half, a in self._links(k):
                product = self.product(probability.in_frames(frames, j, a), half)
                total = product if total is None else total.add_(product)
            parts.append(self._nothing(probability, window) if total is None else total)
        return [ReachProbability(tuple(parts), window, tuple(self._inverse(k) for k in range(polarities[0])))]

    def whole(
        self, probabilities: Sequence[ReachProbability | None], polarities: Sequence[int]
    ) -> list[ReachProbability | None]:
        """Return the product on whole maps."""
        (probability,) = probabilities
        assert probability is not None
        parts = []
        for k in range(polarities[0]):
            total: torch.Tensor | None = None
            for j, half, a in self._links(k):
                part = probability.parts[j]
                product = torch.unflatten(half.forward((part * a).flatten(0, 1)), 0, part.shape[:2])
                total = product if total is None else total + product
            if total is None:
                total = probability.parts[0].new_zeros((len(probability.parts[0]), *self.entry.outputs[0].shape))
            parts.append(total * self._inverse_whole(k))
        return [ReachProbability(tuple(parts))]

    def product(self, patches: Patches, half: Half) -> torch.Tensor:
        """Return the product with one half of the weights. The patches include padding."""
        operation = self.operation
        assert isinstance(operation, Affine)
        assert operation.reach is not None
        reach, weight = operation.reach, half.weight()
        if reach.groups == 1 and set(reach.dilation) == {1} and (set(reach.kernel) == {1} or weight.numel() >= LARGE):
            # As one matrix product: torch otherwise computes many small products, which take three times as long.
            (height, width), (down, right) = reach.kernel, reach.stride
            seen = patches.permute(0, 1, 3, 4, 2).unfold(2, height, down).unfold(3, width, right)
            rows = seen.movedim(4, -1).reshape(-1, weight[0].numel())
            found = F.linear(rows, self._matrix(half, weight))
            return torch.unflatten(found, 0, seen.shape[:4]).permute(0, 1, 4, 2, 3)
        flat = F.conv2d(patches.flatten(0, 1), weight, None, reach.stride, 0, reach.dilation, reach.groups)
        return torch.unflatten(flat, 0, patches.shape[:2])

    def _matrix(self, half: Half, weight: torch.Tensor) -> torch.Tensor:
        """Return the weights of a convolution as a matrix, with contiguous input channels for each kernel position."""
        if half not in self._matrices:
            self._matrices[half] = weight.permute(0, 2, 3, 1).reshape(len(weight), -1).contiguous()
        return self._matrices[half]

    def _inverse_whole(self, k: int) -> torch.Tensor:
        if k not in self._reciprocals:
            self._reciprocals[k] = self._divisor(k).reciprocal()
        return self._reciprocals[k]

    def _inverse(self, k: int) -> Map:
        if k not in self._inverses:
            self._inverses[k] = channels_last(self.inverse(k))
        return self._inverses[k]

    def inverse(self, k: int) -> Map:
        """Return the factor of a product on windows: one over the normaliser, or zero without a normaliser."""
        return self._divisor(k).reciprocal()

    def _divisor(self, k: int) -> torch.Tensor:
        """Return the normalisers as in the downward rule: infinite where there is none."""
        links = self._links(k)
        if not links:
            return torch.full(self.entry.outputs[0].shape, torch.inf, dtype=self.dtype, device=self.device)
        z = [half.forward(a) for _, half, a in links]
        return living(sum(z[1:], z[0]), self.rules.policies, self.operation, [(half, a) for _, half, a in links])

    def _nothing(self, probability: ReachProbability, window: Window) -> Patches:
        lengths = [frame.length for frame in window.frames]
        part = probability.parts[0]
        return part.new_zeros((*part.shape[:2], self.entry.outputs[0].shape[1], *lengths))


class Averaged(Weighted):
    """Average pooling: sums over windows. The divisors cancel and are omitted."""

    def product(self, patches: Patches, half: Half) -> torch.Tensor:
        """Return the sums over windows."""
        del half
        reach = self.operation.reach
        assert reach is not None
        sums = F.avg_pool2d(patches.flatten(0, 1), reach.kernel, reach.stride, divisor_override=1)
        return torch.unflatten(sums, 0, patches.shape[:2])

    def inverse(self, k: int) -> Map:
        """Return one over the sums on the whole map."""
        reach, shape = self.operation.reach, self.entry.outputs[0].shape
        assert reach is not None
        sums = torch.zeros(shape, dtype=self.dtype, device=self.device)
        for _, half, a in self._links(k):
            pads: list[int] = []
            for axis in (1, 0):
                span = (shape[2 + axis] - 1) * reach.stride[axis] + reach.kernel[axis]
                pads += [reach.before[axis], span - reach.before[axis] - a.shape[2 + axis]]
            sums += self.product(F.pad(a, pads)[None], half)[0]
        return torch.where(torch.isinf(self._divisor(k)), 0, sums.reciprocal())


class Overall(Weighted):
    """The mean of a whole map: the sum over a window equals the sum over the map."""

    def __init__(self, entry: Entry, rules: ExcitationRules, like: torch.Tensor) -> None:
        super().__init__(entry, rules, like)
        self.crops = True

    def window(self, windows: Sequence[Window]) -> Window | None:
        """Return `None`: the output has one position or no spatial axes."""
        del windows
        return None

    def cropped(
        self, probabilities: Sequence[ReachProbability | None], window: Window | None, polarities: Sequence[int]
    ) -> list[ReachProbability | None]:
        """Return the sums over windows divided by the sums over the map."""
        del window
        (probability,), shape = probabilities, self.entry.outputs[0].shape
        assert probability is not None
        assert probability.window is not None
        parts = []
        for k in range(polarities[0]):
            part = probability.parts[0]
            total = part.new_zeros(part.shape[:3])
            whole = torch.zeros(part.shape[1:3], dtype=self.dtype, device=self.device)
            for j, _, a in self._links(k):
                total += probability.in_frames(probability.window.frames, j, a).sum((3, 4))
                whole += a.sum((2, 3))
            dead = torch.isinf(self._divisor(k)).reshape(whole.shape)
            parts.append((total * torch.where(dead, 0, whole.reciprocal())).reshape(-1, *shape))
        return [ReachProbability(tuple(parts))]
