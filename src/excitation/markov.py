"""Excitation Backprop as the absorbing Markov chain it is (Sec. 3.1), dense, for small networks.

A winner `a_i` draws the next winner among its inputs with `P(a_j | a_i) = Z_i a_j w_ij` for excitatory `w_ij >= 0`
and 0 otherwise, where `Z_i` makes it a distribution (Eq. 4). Neurons of the input end the walk, and so does a neuron
without an active excitatory input, which has no `Z_i`: both are absorbing. With the transition matrix in canonical
form `[[Q, R], [0, I]]`, the fundamental matrix `N = (I - Q)^-1` counts visits, and as a feed-forward walk visits a
neuron at most once, the expected visits `P0 N` are the marginal winning probabilities (Eq. 1, 2).

Nothing here shares code with the engine: the network is read with `torch.fx`, and weights are found by probing each
operation with unit vectors. That makes it slow, and the ground truth of the tests. A neuron of both signs is two
states, raised `max(x, 0)` and lowered `max(-x, 0)`, so that all transitions are probabilities.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import fx, nn

from ._checks import check_choice, check_model
from ._errors import ExcitationError

Matrix = Float64[torch.Tensor, "states states"]

# What an operation does to neurons, by module type and by function or method name.
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
class State:
    """A neuron of the chain.

    Attributes:
        node: name of the operation that made it, as `torch.fx` names it; `"input"` for the image.
        index: its place in the flattened output of that operation.
        raised: whether it is `max(x, 0)`, else `max(-x, 0)`.
    """

    node: str
    index: int
    raised: bool


@dataclass(frozen=True)
class Chain:
    """The winner-take-all process of one network on one image.

    Attributes:
        transition: `transition[i, j]` is the probability that the winner after state `i` is state `j`; an absorbing
            state stays where it is.
        blocks: first state and neuron shape of each node, in the order of the forward pass; the raised neurons of a
            node come first, then as many lowered ones.
        weighted: names of nodes with learned weights.
        top: name of the node that holds the class scores.
    """

    transition: Matrix
    blocks: dict[str, tuple[int, torch.Size]]
    weighted: frozenset[str]
    top: str

    def state(self, number: int) -> State:
        """Which neuron a state is."""
        for node, (start, shape) in reversed(self.blocks.items()):
            if number >= start:
                size = shape.numel()
                return State(node, (number - start) % size, number - start < size)
        raise IndexError(number)

    @cached_property
    def absorbing(self) -> torch.Tensor:
        """Which states end a walk: the input's neurons, and those without a normaliser."""
        return self.transition.diagonal() == 1

    def canonical(self) -> tuple[Float64[torch.Tensor, "t t"], Float64[torch.Tensor, "t r"], Int64[torch.Tensor, " s"]]:
        """`Q` between transient states, `R` from these to absorbing ones, and the order of states they are in."""
        transient, ends = (~self.absorbing).nonzero().flatten(), self.absorbing.nonzero().flatten()
        rows = self.transition[transient]
        return rows[:, transient], rows[:, ends], torch.cat([transient, ends])

    @cached_property
    def fundamental(self) -> Float64[torch.Tensor, "t t"]:
        """`N = (I - Q)^-1`: expected visits to transient state `j` from transient state `i`."""
        q, _, _ = self.canonical()
        return self._times_fundamental(torch.eye(len(q), dtype=q.dtype), q)

    @staticmethod
    def _times_fundamental(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """`p (I - Q)^-1`: winners lie below their neurons and come earlier, so `Q` is strictly lower triangular."""
        system = torch.eye(len(q), dtype=q.dtype) - q
        result: torch.Tensor = torch.linalg.solve_triangular(system, p, upper=False, left=False, unitriangular=True)
        return result

    def start(self, signal: Float[torch.Tensor, ...]) -> Float64[torch.Tensor, " states"]:
        """A top-down signal `P(A0)` over output units as a distribution over states."""
        first, shape = self.blocks[self.top]
        if signal.numel() != shape.numel():
            raise ExcitationError(f"the signal has {signal.numel()} entries, the top {shape.numel()} neurons.")
        p = torch.zeros(len(self.transition), dtype=torch.float64)
        p[first : first + shape.numel()] = signal.flatten().double()
        return p

    def contrasted(self, p: Float64[torch.Tensor, " states"]) -> Float64[torch.Tensor, " states"]:
        """The start of a contrast (Sec. 3.3): mass stops at the last weighted nodes, minus what their duals would get.

        The dual of a unit has negated weights: its winners are those of the unit's lowered neuron.
        """
        stop = self.transition.clone()
        for node in self.weighted:
            first, shape = self.blocks[node]
            states = torch.arange(first, first + 2 * shape.numel())
            stop[states] = 0
            stop[states, states] = 1
        ended = Chain(stop, self.blocks, self.weighted, self.top).visits(p)
        result = torch.zeros_like(p)
        for node in self.weighted:
            first, shape = self.blocks[node]
            size = shape.numel()
            raised, lowered = ended[first : first + size], ended[first + size : first + 2 * size]
            result[first : first + size] = raised - lowered
            result[first + size : first + 2 * size] = lowered - raised
        return result

    def visits(self, p: Float64[torch.Tensor, " states"]) -> Float64[torch.Tensor, " states"]:
        """Expected visits to every state by walks that start from `p`: `p_t N`, and `p_a + p_t N R` at the ends."""
        q, r, order = self.canonical()
        transient = len(r)
        through = self._times_fundamental(p[order[:transient]][None], q)[0]
        visited = torch.empty_like(p)
        visited[order[:transient]] = through
        visited[order[transient:]] = p[order[transient:]] + through @ r
        return visited

    def mwp(self, signal: Float[torch.Tensor, ...], *, contrast: bool = False) -> dict[str, torch.Tensor]:
        """Marginal winning probabilities of all neurons, by node; for a contrast, the signed difference.

        Args:
            signal: mass on the output units.
            contrast: subtract the dual (Sec. 3.3). Nodes above the last weighted one then hold nothing.
        """
        p = self.start(signal)
        return self._by_node(self.visits(self.contrasted(p) if contrast else p))

    def lost(self, signal: Float[torch.Tensor, ...]) -> float:
        """Mass of walks that end before the input, at neurons without a normaliser."""
        return float(signal.sum()) - float(self.mwp(signal)["input"].sum())

    def sample_walks(self, signal: Float[torch.Tensor, ...], count: int, seed: int) -> list[list[State]]:
        """Winner walks drawn at random, each from a top winner to an absorbing state (Fig. 2 of the paper).

        Args:
            signal: probabilities of the output units; scaled to sum to one.
            count: how many walks.
            seed: of the draws.
        """
        return [[self.state(int(s)) for s in walk if s >= 0] for walk in self._sample(signal, count, seed)]

    def sampled_mwp(self, signal: Float[torch.Tensor, ...], count: int, seed: int) -> dict[str, torch.Tensor]:
        """The share of sampled walks that visit each neuron; converges to `mwp` as the count grows."""
        walks = self._sample(signal, count, seed)
        visits = torch.bincount(walks[walks >= 0], minlength=len(self.transition)).double()
        return self._by_node(visits / count)

    def _sample(self, signal: torch.Tensor, count: int, seed: int) -> torch.Tensor:
        """`(count, steps)` states, -1 after the end."""
        p = self.start(signal)
        if bool((p < 0).any()) or not float(p.sum()) > 0:
            raise ExcitationError("walks start from a distribution: a signal without negative entries and not zero.")
        generator = torch.Generator().manual_seed(seed)
        now = torch.multinomial(p, count, replacement=True, generator=generator)
        steps = [now]
        while bool((~self.absorbing[now.clamp(min=0)] & (now >= 0)).any()):
            moving = (now >= 0) & ~self.absorbing[now.clamp(min=0)]
            following = torch.full_like(now, -1)
            for state in sorted(set(now[moving].tolist())):
                here = now == state
                inputs = self.transition[state].nonzero().flatten()
                chances = self.transition[state, inputs]
                drawn = torch.multinomial(chances, int(here.sum()), replacement=True, generator=generator)
                following[here] = inputs[drawn]
            steps.append(following)
            now = following
        return torch.stack(steps, 1)

    def _by_node(self, visits: torch.Tensor) -> dict[str, torch.Tensor]:
        found = {}
        for node, (first, shape) in self.blocks.items():
            size = shape.numel()
            found[node] = (visits[first : first + size] + visits[first + size : first + 2 * size]).reshape(shape)
        return found


def chain(
    model: nn.Module,
    image: Float[torch.Tensor, "1 channels *space"],
    *,
    residual: Literal["proportional", "branch"] = "proportional",
    normaliser: Literal["lose", "spread"] = "lose",
) -> Chain:
    """The Markov chain of a small network on one image.

    Args:
        model: in evaluation mode, readable by `torch.fx`; a few thousand neurons at most. It is copied to double
            precision.
        image: one image, with the image dimension.
        residual: as in `Policies`.
        normaliser: as in `Policies`: `"lose"` makes neurons without a normaliser absorbing.

    Raises:
        ExcitationError: an argument that does not fit, or an operation it has no transition for.
    """
    check_model(model)
    if not isinstance(image, torch.Tensor) or image.dim() < 3 or len(image) != 1:
        shape = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise ExcitationError(f"image is {shape}; a tensor (1, channels, height, width) of one image is expected.")
    check_choice("residual", residual, ("proportional", "branch"))
    check_choice("normaliser", normaliser, ("lose", "spread"))
    builder = _Builder(fx.symbolic_trace(copy.deepcopy(model).double()), residual, normaliser)
    with torch.no_grad():
        builder.run(image.double())
    return builder.finish()


@dataclass
class _Node:
    """Activations of one operation with what transitions into it need: between which numbers each neuron lies, say."""

    value: torch.Tensor
    lower: torch.Tensor
    upper: torch.Tensor
    valid: torch.Tensor
    weighted: frozenset[str]
    name: str


class _Builder(fx.Interpreter):
    """Runs the traced network and collects, for every operation, the transitions to its inputs."""

    def __init__(self, module: fx.GraphModule, residual: str, normaliser: str) -> None:
        super().__init__(module)
        self.residual, self.normaliser = residual, normaliser
        self.nodes: list[_Node] = []
        self.links: list[tuple[str, str, torch.Tensor]] = []
        self.weighted: set[str] = set()
        self.top = ""

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

    def finish(self) -> Chain:
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
        return Chain(p, blocks, frozenset(self.weighted), self.top)

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
    ) -> _Node:
        weighted = frozenset[str]().union(*(source.weighted for source in sources))
        node = _Node(value, lower, upper, valid, weighted | ({name} if name in self.weighted else set()), name)
        self.nodes.append(node)
        return node

    # Kinds of operations -----------------------------------------------------------------------------------------

    def _linear(self, name: str, _: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], __: Any) -> _Node:
        (source,) = sources
        self._transitions(name, _probed(evaluate, source.value), source)
        return self._enter(name, value, *_anything(value), torch.ones_like(value).bool(), sources)

    def _average(self, name: str, _: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], __: Any) -> _Node:
        (source,) = sources
        weights = _probed(evaluate, source.value)
        self._transitions(name, weights, source)
        lower, upper = (
            _weighted_sum(weights, torch.where(source.valid, limit, 0)).reshape(value.shape)
            for limit in (source.lower, source.upper)
        )
        return self._enter(name, value, lower, upper, torch.ones_like(value).bool(), sources)

    def _maximum(self, name: str, _: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], __: Any) -> _Node:
        """To the first maximum among the inputs an output can see: those whose great growth it notices."""
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
        return self._enter(name, value, lower, upper, torch.ones_like(value).bool(), sources)

    def _norm(self, name: str, _: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], __: Any) -> _Node:
        """One input each; a channel with a negative scale swaps polarity. A zero scale counts as positive."""
        (source,) = sources
        slope = _probed(evaluate, source.value).diagonal()
        p = torch.eye(value.numel(), dtype=torch.float64)
        self._link(name, source, p * (slope >= 0), p * (slope < 0))
        slope = slope.reshape(value.shape)
        shift = value - slope * source.value
        ends = [torch.where(slope == 0, 0, slope * limit) + shift for limit in (source.lower, source.upper)]
        lower, upper = torch.minimum(*ends), torch.maximum(*ends)
        return self._enter(name, value, lower, upper, torch.ones_like(value).bool(), sources)

    def _activation(
        self, name: str, module: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], _: Any
    ) -> _Node:
        """One input each; they rise, so their bounds are their values at the bounds."""
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
            # Divided by a number that is anything: of bounds only the sign is left, if all neurons share it.
            nothing = torch.zeros_like(lower)
            lower = nothing if bool((lower >= 0).all()) else torch.full_like(lower, -torch.inf)
            upper = nothing if bool((upper <= 0).all()) else torch.full_like(upper, torch.inf)
        return self._enter(name, value, lower, upper, source.valid, sources)

    def _arrangement(
        self, name: str, _: Any, evaluate: Any, value: torch.Tensor, sources: list[_Node], __: Any
    ) -> _Node:
        """Each output is one input, told by numbering all inputs."""
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
        return self._enter(name, value, lower, upper, valid[places].reshape(shape), sources)

    def _sum(self, name: str, _: Any, __: Any, value: torch.Tensor, sources: list[_Node], ___: Any) -> _Node:
        if len(sources) != 2:
            raise ExcitationError(f"the chain has no transition for {name!r}: a sum of two branches is expected.")
        own = [len(s.weighted - t.weighted) for s, t in zip(sources, reversed(sources), strict=True)]
        if self.residual == "branch" and own[0] == own[1]:
            raise ExcitationError(f"which branch of {name!r} is the residual one is open.")
        blocks = []
        for i, source in enumerate(sources):
            shares = []
            for sign in (1, -1):
                parts = [_added_by(s, sign).flatten() for s in sources]
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
        return self._enter(name, value, lower, upper, torch.ones_like(value).bool(), sources)

    # Transitions -------------------------------------------------------------------------------------------------

    def _link(self, target: str, source: _Node, keep: torch.Tensor, swap: torch.Tensor) -> None:
        """Transitions that keep and that swap polarity."""
        block = torch.cat([torch.cat([keep, swap], 1), torch.cat([swap, keep], 1)])
        self.links.append((target, source.name, block))

    def _transitions(self, target: str, weights: torch.Tensor, source: _Node) -> None:
        """Eq. 4 between rectified neurons, with Eq. 5 for bounded ones.

        A neuron with a least activation is raised by what it has above it; one that only has a greatest activation is
        lowered by what it lacks.
        """
        x, valid = source.value.flatten(), source.valid.flatten()
        lower, upper = source.lower.flatten(), source.upper.flatten()
        bounded = torch.isfinite(lower)
        topped = torch.isfinite(upper) & ~bounded
        zero = torch.zeros_like(x)
        up = torch.where(bounded, x - torch.where(bounded, lower, 0), torch.where(topped, zero, x.clamp(min=0)))
        down = torch.where(topped, torch.where(topped, upper, 0) - x, torch.where(bounded, zero, (-x).clamp(min=0)))
        up, down = up.clamp(min=0) * valid, down.clamp(min=0) * valid
        excite, inhibit = weights.clamp(min=0), (-weights).clamp(min=0)
        raised = torch.cat([excite * up, inhibit * down], 1)
        lowered = torch.cat([inhibit * up, excite * down], 1)
        block = torch.cat([raised, lowered])
        z = block.sum(1, keepdim=True)
        p = torch.where(z > 0, block / torch.where(z > 0, z, 1), 0)
        if self.normaliser == "spread":
            ones = valid.double()
            # Neurons that only have a greatest activation are lowered ones; all others that can be below zero are both.
            alone = bool(bounded.all()) or (not bool(topped.any()) and bool((x >= 0).all()))
            one, other = ones * ~topped, torch.zeros_like(ones) if alone else ones * ~bounded
            even = torch.cat(
                [torch.cat([excite * one, inhibit * other], 1), torch.cat([inhibit * one, excite * other], 1)]
            )
            seen = torch.cat([(weights != 0) * ones, torch.zeros_like(weights)], 1).repeat(2, 1)
            for fallback in (even, seen):
                missing = p.sum(1, keepdim=True) == 0
                z = fallback.sum(1, keepdim=True)
                p = torch.where(missing & (z > 0), fallback / torch.where(z > 0, z, 1), p)
        self.links.append((target, source.name, p))


def _anything(like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The bounds of neurons that can have any activation."""
    return torch.full_like(like, -torch.inf), torch.full_like(like, torch.inf)


def _added_by(source: _Node, sign: int) -> torch.Tensor:
    """What a term adds to a sum, or takes from it: from its minimum on, below its maximum, or by its own sign."""
    floored = torch.isfinite(source.lower)
    capped = ~floored & torch.isfinite(source.upper)
    if sign > 0:
        counted = torch.where(floored, source.value - torch.where(floored, source.lower, 0), source.value)
        return torch.where(capped, 0, counted.clamp(min=0))
    lacking = torch.where(capped, torch.where(capped, source.upper, 0) - source.value, -source.value)
    return torch.where(floored, 0, lacking.clamp(min=0))


def _weighted_sum(weights: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """`weights @ limits`, where a weight of zero leaves out what is infinite."""
    return torch.where(weights == 0, 0, weights * limits.flatten()).sum(1)


def _probed(evaluate: Callable[[torch.Tensor], torch.Tensor], like: torch.Tensor, size: float = 1.0) -> torch.Tensor:
    """The matrix of an operation: what each output gains from each input, `(f(size e_j) - f(0)) / size`."""
    count = like.numel()
    units = torch.cat([torch.zeros(1, count, dtype=like.dtype), torch.eye(count, dtype=like.dtype) * size])
    results = evaluate(units.reshape(-1, *like.shape[1:])).flatten(1)
    return ((results[1:] - results[:1]) / size).T
