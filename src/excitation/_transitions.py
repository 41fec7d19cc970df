"""The dense transition matrix of a small network, for `excitation.markov`.

`torch.fx` traces the network. Unit vectors probe the weights of each operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import fx, nn

from ._errors import ExcitationError

# The kind of each operation, by module type and by function or method name.
LINEAR = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
AVERAGES = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
MAXIMA = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
ACTIVATIONS = {"relu", "relu6", "sigmoid", "softmax", "tanh", "elu"}
FUNCTIONS = {
    "linear": {"conv1d", "conv2d", "conv3d", "linear"},
    "average": {"avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool2d", "mean"},
    "maximum": {"max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d"},
    "activation": ACTIVATIONS,
    "same": {"dropout", "local_response_norm", "contiguous"},
    "arrangement": {"flatten", "view", "reshape", "permute", "transpose", "cat", "pad", "getitem", "squeeze"},
    "sum": {"add", "iadd"},
}


@dataclass(frozen=True)
class Transitions:
    """The transitions of a network for one image.

    Attributes:
        matrix: transition probabilities, `(states, states)`; states without inputs are absorbing.
        blocks: first state and neuron shape of each node, in the order of the forward pass. The raised neurons of a
            node come first, followed by the same number of lowered neurons.
        weighted: names of nodes with learned weights.
        top: name of the node that holds the class scores.
    """

    matrix: Float64[torch.Tensor, "states states"]
    blocks: dict[str, tuple[int, torch.Size]]
    weighted: frozenset[str]
    top: str


def transitions(
    module: fx.GraphModule, image: Float[torch.Tensor, "1 channels *space"], residual: str, normaliser: str
) -> Transitions:
    """Compute the transitions of a traced network.

    Args:
        module: the traced network, in double precision.
        image: one image, in double precision.
        residual: as in `Policies`.
        normaliser: as in `Policies`.
    """
    builder = _Builder(module, residual, normaliser)
    with torch.no_grad():
        builder.run(image)
    return builder.finish()


_Sides = tuple[torch.Tensor, torch.Tensor]
"""The positive parts and the negative parts of neurons, as two non-negative tensors."""


@dataclass
class _Node:
    """Activations of one operation, with the bounds and masks that its transitions need.

    `lower` and `upper` bound each activation. `valid` is false for constants such as padding.
    `silent` is the activation that each neuron is measured from: for neurons with one bound this bound, for neurons
    without bounds zero.
    `made` holds the positive and negative terms of a neuron that is a linear form of others. It is `None` for results
    of functions and maxima, and for neurons that several operations take as input.
    """

    value: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor
    valid: torch.Tensor
    weighted: frozenset[str]
    name: str
    silent: torch.Tensor
    made: _Sides | None = None

    def ends(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Which neurons are never below their silent value, and which are never above it."""
        low = self.silent == self.lower
        return low, (self.silent == self.upper) & ~low

    def sides(self) -> _Sides:
        """The raised and lowered parts of each neuron, computed from its own activation: its distance to `silent`."""
        low, high = self.ends()
        x = self.value - self.silent
        up, down = torch.where(high, 0, x), torch.where(low, 0, -x)
        return up.clamp(min=0) * self.valid, down.clamp(min=0) * self.valid

    def parts(self) -> _Sides:
        """Like `sides`, but computed from the terms of the neuron if it is a linear form."""
        return self.sides() if self.made is None else self.made


class _Builder(fx.Interpreter):
    """Runs the traced network and collects the transitions from each operation to its inputs."""

    def __init__(self, module: fx.GraphModule, residual: str, normaliser: str) -> None:
        super().__init__(module)
        self.residual, self.normaliser = residual, normaliser
        self.nodes: list[_Node] = []
        self.links: list[tuple[str, str, torch.Tensor]] = []
        self.weighted: set[str] = set()
        self.top = ""
        self.readers = {n.name: len(n.users) for n in module.graph.nodes}

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "placeholder":
            x = super().run_node(n)
            return self._enter("input", x, *_anything(x), torch.ones_like(x, dtype=torch.bool), [])
        if n.op == "get_attr":
            return super().run_node(n)
        if n.op == "output":
            (top,), _ = self.fetch_args_kwargs_from_env(n)
            self.top = top.name
            return top
        function, kind, module = self._function(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        sources: list[_Node] = []
        fx.node.map_aggregate((args, kwargs), lambda a: sources.append(a) if isinstance(a, _Node) else None)

        def evaluate(*inputs: torch.Tensor) -> torch.Tensor:
            left = list(inputs)

            def fill(a: Any) -> Any:
                return left.pop(0) if isinstance(a, _Node) else a

            filled = fx.node.map_aggregate((args, kwargs), fill)
            result: torch.Tensor = function(*filled[0], **filled[1])
            return result

        value = evaluate(*(source.value.clone() for source in sources))
        if kind == "linear":
            self.weighted.add(n.name)
        return getattr(self, f"_{kind}")(n.name, module, evaluate, value, sources, (args, kwargs))

    def finish(self) -> Transitions:
        blocks, count = {}, 0
        for node in self.nodes:
            blocks[node.name] = (count, node.value.shape)
            count += 2 * node.value.numel()
        p = torch.zeros(count, count, dtype=torch.float64)
        for target, source, block in self.links:
            (i, _), (j, _) = blocks[target], blocks[source]
            p[i : i + block.shape[0], j : j + block.shape[1]] += block
        ended = p.sum(1) == 0
        p[ended, ended.nonzero().flatten()] = 1
        return Transitions(p, blocks, frozenset(self.weighted), self.top)

    # Reading -----------------------------------------------------------------------------------------------------

    def _function(self, n: fx.Node) -> tuple[Callable[..., Any], str, nn.Module | None]:
        if n.op == "call_module":
            module = self.fetch_attr(str(n.target))
            name = type(module).__name__.lower()
            for kinds, kind in ((LINEAR, "linear"), (AVERAGES, "average"), (MAXIMA, "maximum"), (NORMS, "norm")):
                if isinstance(module, kinds):
                    return module, kind, module
            if isinstance(module, (nn.Dropout, nn.Dropout2d, nn.LocalResponseNorm, nn.Identity)):
                return module, "same", module
            if isinstance(module, nn.Flatten):
                return module, "arrangement", module
            if name in ACTIVATIONS:
                return module, "activation", module
            raise ExcitationError(f"the chain has no transition for module {n.target!r} ({type(module).__name__}).")
        if n.op == "call_method":
            name = str(n.target)
            function: Callable[..., Any] = getattr(torch.Tensor, name)
        else:
            assert callable(n.target)
            function, name = n.target, n.target.__name__
        for kind, names in FUNCTIONS.items():
            if name in names:
                return function, kind, None
        raise ExcitationError(f"the chain has no transition for operation {n.name!r} ({name}).")

    def _enter(
        self,
        name: str,
        value: torch.Tensor,
        lower: torch.Tensor,
        upper: torch.Tensor,
        valid: torch.Tensor,
        sources: Sequence[_Node],
        made: _Sides | None = None,
        silent: torch.Tensor | None = None,
    ) -> _Node:
        weighted = frozenset[str]().union(*(source.weighted for source in sources))
        own = {name} if name in self.weighted else set()
        made = made if self.readers.get(name) == 1 else None
        bounded, topped = torch.isfinite(lower), torch.isfinite(upper)
        one = torch.where(bounded, lower, torch.where(topped, upper, 0))
        silent = one if silent is None else torch.where(bounded & topped, silent, one)
        node = _Node(value, lower, upper, valid, weighted | own, name, silent, made)
        self.nodes.append(node)
        return node

    # Kinds of operations -----------------------------------------------------------------------------------------

    def _linear(self, name: str, _: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], __: Any) -> _Node:
        (source,) = sources
        weights = _probed(evaluate, source.value)
        made = self._transitions(name, weights, source)
        sides = made[0].reshape(value.shape), made[1].reshape(value.shape)
        # A channel has bounds if all its weights have the same sign, like a neuron times a factor.
        own = weights.reshape(value.shape[1], -1)
        rises, falls = (own >= 0).all(1), (own <= 0).all(1)
        rises, falls = (side.reshape(1, -1, *(1,) * (value.dim() - 2)).expand_as(value) for side in (rises, falls))
        bias = value.flatten() - weights @ source.value.flatten()
        ends = [
            (_weighted_sum(weights, torch.where(source.valid, limit, 0)) + bias).reshape(value.shape)
            for limit in (source.lower, source.upper)
        ]
        nothing = _anything(value)
        lower, upper = (
            torch.where(rises, ends[side], torch.where(falls, ends[1 - side], nothing[side])) for side in (0, 1)
        )
        silent = (_weighted_sum(weights, torch.where(source.valid, source.silent, 0)) + bias).reshape(value.shape)
        return self._enter(name, value, lower, upper, torch.ones_like(value).bool(), sources, sides, silent)

    def _average(self, name: str, _: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], __: Any) -> _Node:
        (source,) = sources
        weights = _probed(evaluate, source.value)
        up, down = (side.flatten() for side in source.parts())
        silent = torch.cat([torch.cat([weights * up, 0 * weights], 1), torch.cat([0 * weights, weights * down], 1)])
        self._transitions(name, weights, source, silent)
        made = (weights @ up).reshape(value.shape), (weights @ down).reshape(value.shape)
        lower, upper, start = (
            _weighted_sum(weights, torch.where(source.valid, limit, 0)).reshape(value.shape)
            for limit in (source.lower, source.upper, source.silent)
        )
        return self._enter(name, value, lower, upper, torch.ones_like(value).bool(), sources, made, start)

    def _maximum(self, name: str, _: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], __: Any) -> _Node:
        """Transitions to the first maximum among the inputs of each output; large probe values identify the inputs."""
        (source,) = sources
        x = source.value.flatten()
        seen = _probed(lambda y: evaluate(y), torch.full_like(source.value, 0), size=1e6) > 1e5 / 1e6
        candidates = torch.where(seen, x, -torch.inf)
        winners = candidates == candidates.amax(1, keepdim=True)
        first = winners.int().argmax(1)
        p = F.one_hot(first, x.numel()).double() * source.valid.flatten()
        self._link(name, source, p, torch.zeros_like(p))
        lower, upper = (
            torch.where(seen, limit.flatten(), -torch.inf).amax(1).reshape(value.shape)
            for limit in (source.lower, source.upper)
        )
        start = self._selected(source, seen, lower.flatten(), upper.flatten()).reshape(value.shape)
        return self._enter(name, value, lower, upper, torch.ones_like(value).bool(), sources, silent=start)

    def _selected(self, source: _Node, seen: torch.Tensor, lower: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
        """The silent values of maxima: at the candidates' common position in their intervals, else in the middle."""
        found = []
        own_lower, own_upper, own = (x.flatten() for x in (source.lower, source.upper, source.silent))
        for mask, low, high in zip(seen, lower, upper, strict=True):
            places = set()
            for k in mask.nonzero().flatten().tolist():
                if own[k] == own_lower[k]:
                    places.add(0.0)
                elif own[k] == own_upper[k]:
                    places.add(1.0)
                else:
                    place = float((own[k] - own_lower[k]) / (own_upper[k] - own_lower[k]))
                    places.add(round(place, 9) if math.isfinite(place) else 0.5)
            place = places.pop() if len(places) == 1 else 0.5
            found.append(high if place == 1 else low if place == 0 else low + place * (high - low))
        return torch.stack(found)

    def _norm(self, name: str, _: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], __: Any) -> _Node:
        """One input per output. A channel with a negative scale swaps polarity; a zero scale counts as positive."""
        (source,) = sources
        slope = _probed(evaluate, source.value).diagonal()
        p = torch.eye(value.numel(), dtype=torch.float64)
        self._link(name, source, p * (slope >= 0), p * (slope < 0))
        slope = slope.reshape(value.shape)
        shift = value - slope * source.value
        ends = [torch.where(slope == 0, 0, slope * limit) + shift for limit in (source.lower, source.upper)]
        lower, upper = torch.minimum(*ends), torch.maximum(*ends)
        made = None
        if source.made is not None:
            up, down = (slope.abs() * side for side in source.made)
            made = torch.where(slope < 0, down, up), torch.where(slope < 0, up, down)
        silent = slope * source.silent + shift
        return self._enter(name, value, lower, upper, torch.ones_like(value).bool(), sources, made, silent)

    def _activation(
        self, name: str, module: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], _: Any
    ) -> _Node:
        """One input per output. Activation functions are monotonic, so they map bounds to bounds."""
        (source,) = sources
        p = torch.eye(value.numel(), dtype=torch.float64)
        self._link(name, source, p, torch.zeros_like(p))
        kind = type(module).__name__.lower() if module is not None else name.rstrip("_0123456789")
        if kind == "softmax":
            lower, upper = torch.zeros_like(value), torch.ones_like(value)
        else:
            lower, upper = evaluate(source.lower.clone()), evaluate(source.upper.clone())
        return self._enter(name, value, lower, upper, source.valid, sources)

    def _same(self, name: str, module: Any, _: Any, value: torch.Tensor, sources: list[_Node], __: Any) -> _Node:
        (source,) = sources
        p = torch.eye(value.numel(), dtype=torch.float64)
        self._link(name, source, p, torch.zeros_like(p))
        lower, upper = source.lower, source.upper
        if isinstance(module, nn.LocalResponseNorm) or name.startswith("local_response_norm"):
            # The divisor is unknown, so only the sign of a bound remains, and only if all neurons share it.
            nothing = torch.zeros_like(lower)
            lower = nothing if bool((lower >= 0).all()) else torch.full_like(lower, -torch.inf)
            upper = nothing if bool((upper <= 0).all()) else torch.full_like(upper, torch.inf)
        return self._enter(name, value, lower, upper, source.valid, sources, silent=source.silent)

    def _arrangement(
        self, name: str, _: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], __: Any
    ) -> _Node:
        """Each output is a copy of one input. Applying the operation to input indices identifies it."""
        numbers, count = [], 1
        for source in sources:
            size = source.value.numel()
            numbers.append(torch.arange(count, count + size, dtype=torch.float64).reshape(source.value.shape))
            count += size
        places = evaluate(*numbers).flatten().long()
        zero = torch.zeros(1, dtype=torch.float64)
        lower = torch.cat([zero, *(source.lower.flatten() for source in sources)])[places].reshape(value.shape)
        upper = torch.cat([zero, *(source.upper.flatten() for source in sources)])[places].reshape(value.shape)
        valid = torch.cat([torch.zeros(1).bool(), *(source.valid.flatten() for source in sources)])
        start = 1
        for source in sources:
            size = source.value.numel()
            p = F.one_hot(places, count).double()[:, start : start + size]
            self._link(name, source, p, torch.zeros_like(p))
            start += size
        shape = value.shape
        made = None
        if any(source.made is not None for source in sources):
            ups, downs = zip(*(source.parts() for source in sources), strict=True)
            up, down = (torch.cat([zero, *(x.flatten() for x in side)])[places].reshape(shape) for side in (ups, downs))
            made = up, down
        silent = torch.cat([zero, *(source.silent.flatten() for source in sources)])[places].reshape(shape)
        return self._enter(name, value, lower, upper, valid[places].reshape(shape), sources, made, silent)

    def _sum(self, name: str, _: Any, __: Any, value: torch.Tensor, sources: list[_Node], ___: Any) -> _Node:
        if len(sources) != 2:
            raise ExcitationError(f"the chain has no transition for {name!r}: a sum of two branches is expected.")
        own = [len(s.weighted - t.weighted) for s, t in zip(sources, reversed(sources), strict=True)]
        if self.residual == "branch" and own[0] == own[1]:
            raise ExcitationError(f"it is not known which branch of {name!r} is the residual one.")
        blocks = []
        for i, source in enumerate(sources):
            shares = []
            for side in (0, 1):
                parts = [s.sides()[side].expand(value.shape).flatten() for s in sources]
                whole = parts[0] + parts[1]
                # For a silent sum, use the parts of its terms.
                inner = [s.parts()[side].expand(value.shape).flatten() for s in sources]
                parts = [torch.where(whole > 0, own, other) for own, other in zip(parts, inner, strict=True)]
                whole = parts[0] + parts[1]
                silent = 0.5 if self.normaliser == "spread" else 0.0
                share = torch.where(whole > 0, parts[i] / torch.where(whole > 0, whole, 1), silent)
                if self.residual == "branch":
                    share = torch.full_like(share, float(own[i] == max(own)))
                shares.append(share)
            blocks.append((source, shares))
        for source, (raised, lowered) in blocks:
            up, down = torch.diag(raised), torch.diag(lowered)
            zero = torch.zeros_like(up)
            self.links.append((name, source.name, torch.cat([torch.cat([up, zero], 1), torch.cat([zero, down], 1)])))
        lower, upper = sources[0].lower + sources[1].lower, sources[0].upper + sources[1].upper
        (first_up, first_down), (up, down) = (source.parts() for source in sources)
        made = first_up + up, first_down + down
        start = sources[0].silent + sources[1].silent
        return self._enter(name, value, lower, upper, torch.ones_like(value).bool(), sources, made, start)

    # Transitions -------------------------------------------------------------------------------------------------

    def _link(self, target: str, source: _Node, keep: torch.Tensor, swap: torch.Tensor) -> None:
        """Add transitions that keep the polarity and transitions that swap it."""
        block = torch.cat([torch.cat([keep, swap], 1), torch.cat([swap, keep], 1)])
        self.links.append((target, source.name, block))

    def _transitions(
        self, target: str, weights: torch.Tensor, source: _Node, silent: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Eq. 4 between rectified neurons, with Eq. 5 for bounded neurons.

        Args:
            target: name of the operation.
            weights: its matrix, `(outputs, inputs)`.
            source: its input.
            silent: the matrix for winners with only silent inputs.

        Returns:
            The normalisers of raised and of lowered winners.
        """
        x, valid = source.value.flatten(), source.valid.flatten()
        low, high = (side.flatten() for side in source.ends())
        up, down = (side.flatten() for side in source.sides())
        excite, inhibit = weights.clamp(min=0), (-weights).clamp(min=0)
        raised = torch.cat([excite * up, inhibit * down], 1)
        lowered = torch.cat([inhibit * up, excite * down], 1)
        block = torch.cat([raised, lowered])
        if silent is not None:
            block = torch.where(block.sum(1, keepdim=True) > 0, block, silent)
        z = block.sum(1, keepdim=True)
        p = torch.where(z > 0, block / torch.where(z > 0, z, 1), 0)
        if self.normaliser == "spread":
            ones = valid.double()
            # Neurons that are silent at their upper bound are lowered. All other neurons that can be below their
            # silent value are both.
            alone = bool(low.all()) or (not bool(high.any()) and bool((x >= 0).all()))
            one, other = ones * ~high, torch.zeros_like(ones) if alone else ones * ~low
            even = torch.cat(
                [torch.cat([excite * one, inhibit * other], 1), torch.cat([inhibit * one, excite * other], 1)]
            )
            seen = torch.cat([(weights != 0) * ones, torch.zeros_like(weights)], 1).repeat(2, 1)
            for fallback in (even, seen):
                missing = p.sum(1, keepdim=True) == 0
                z = fallback.sum(1, keepdim=True)
                p = torch.where(missing & (z > 0), fallback / torch.where(z > 0, z, 1), p)
        self.links.append((target, source.name, p))
        return raised.sum(1), lowered.sum(1)


def _anything(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Infinite bounds, for neurons with any activation."""
    return torch.full_like(like, -torch.inf), torch.full_like(like, torch.inf)


def _weighted_sum(weights: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """`weights @ limits`, where a zero weight skips infinite limits."""
    return torch.where(weights == 0, 0, weights * limits.flatten()).sum(1)


def _probed(evaluate: Callable[[torch.Tensor], torch.Tensor], like: torch.Tensor, size: float = 1.0) -> torch.Tensor:
    """The matrix of an operation: the response of each output to each input, `(f(size e_j) - f(0)) / size`."""
    count = like.numel()
    units = torch.cat([torch.zeros(1, count, dtype=like.dtype), torch.eye(count, dtype=like.dtype) * size])
    results = evaluate(units.reshape(-1, *like.shape[1:])).flatten(1)
    return ((results[1:] - results[:1]) / size).T
