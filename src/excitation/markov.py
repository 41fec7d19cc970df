"""Excitation Backprop as an absorbing Markov chain (Sec. 3.1), with dense matrices, for small networks.

A winner `a_i` draws the next winner among its inputs with `P(a_j | a_i) = Z_i a_j w_ij` for excitatory `w_ij >= 0`
and 0 otherwise. `Z_i` normalises the distribution (Eq. 4). Input neurons are absorbing. Neurons without an active
excitatory input have no `Z_i` and are absorbing too. The canonical form of the transition matrix is
`[[Q, R], [0, I]]`. The fundamental matrix `N = (I - Q)^-1` contains expected numbers of visits. A feed-forward walk
visits each neuron at most once, so the expected visits `P0 N` are the marginal winning probabilities (Eq. 1, 2).

This module shares no code with the engine: `torch.fx` traces the network, and unit vectors probe the weights of each
operation (`_transitions.py`). It is slow, and serves as ground truth in tests. A neuron of both signs corresponds to
two states, raised `max(x, 0)` and lowered `max(-x, 0)`, so that all transitions are probabilities.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Float64, Int64
from torch import fx, nn

from ._checks import check_choice, check_model
from ._errors import ExcitationError
from ._transitions import transitions

Matrix = Float64[torch.Tensor, "states states"]


@dataclass(frozen=True)
class State:
    """A neuron of the chain.

    Attributes:
        node: name of its operation in `torch.fx`; `"input"` for the image.
        index: its index in the flattened output of that operation.
        raised: `True` for `max(x, 0)`, `False` for `max(-x, 0)`.
    """

    node: str
    index: int
    raised: bool


@dataclass(frozen=True)
class Chain:
    """The winner-take-all process of one network on one image.

    Attributes:
        transition: `transition[i, j]` is the probability that state `j` follows state `i`; absorbing states have
            `transition[i, i] = 1`.
        blocks: first state and neuron shape of each node, in the order of the forward pass. The raised neurons of a
            node come first, followed by the same number of lowered neurons.
        weighted: names of nodes with learned weights.
        top: name of the node that holds the class scores.
    """

    transition: Matrix
    blocks: dict[str, tuple[int, torch.Size]]
    weighted: frozenset[str]
    top: str

    def state(self, number: int) -> State:
        """Return the neuron of a state."""
        for node, (start, shape) in reversed(self.blocks.items()):
            if number >= start:
                size = shape.numel()
                return State(node, (number - start) % size, number - start < size)
        raise IndexError(number)

    @cached_property
    def absorbing(self) -> torch.Tensor:
        """Which states are absorbing: input neurons and neurons without a normaliser, `(states,)`."""
        return self.transition.diagonal() == 1

    def canonical(self) -> tuple[Float64[torch.Tensor, "t t"], Float64[torch.Tensor, "t r"], Int64[torch.Tensor, " s"]]:
        """`Q` between transient states, `R` from transient to absorbing states, and the order of the states."""
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
        """`p (I - Q)^-1`. Inputs precede outputs in the order of states, so `Q` is strictly lower triangular."""
        system = torch.eye(len(q), dtype=q.dtype) - q
        result: torch.Tensor = torch.linalg.solve_triangular(system, p, upper=False, left=False, unitriangular=True)
        return result

    def start(self, signal: Float[torch.Tensor, "*shape"]) -> Float64[torch.Tensor, " states"]:
        """Convert a top-down signal `P(A0)` over output units to a distribution over states."""
        first, shape = self.blocks[self.top]
        if signal.numel() != shape.numel():
            raise ExcitationError(f"the signal has {signal.numel()} entries, the top {shape.numel()} neurons.")
        p = torch.zeros(len(self.transition), dtype=torch.float64)
        p[first : first + shape.numel()] = signal.flatten().double()
        return p

    def contrasted(self, p: Float64[torch.Tensor, " states"]) -> Float64[torch.Tensor, " states"]:
        """The start of a contrast (Sec. 3.3): the mass at the last weighted nodes minus the mass of their dual units.

        The dual of a unit has negated weights. Its winners are those of the lowered neuron of the unit.
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
        """Expected visits to every state by walks from `p`: `p_t N` if transient, `p_a + p_t N R` if absorbing."""
        q, r, order = self.canonical()
        transient = len(r)
        through = self._times_fundamental(p[order[:transient]][None], q)[0]
        visited = torch.empty_like(p)
        visited[order[:transient]] = through
        visited[order[transient:]] = p[order[transient:]] + through @ r
        return visited

    def mwp(self, signal: Float[torch.Tensor, "*shape"], *, contrast: bool = False) -> dict[str, torch.Tensor]:
        """Marginal winning probabilities of all neurons, by node; for a contrast, the signed difference.

        Args:
            signal: mass on the output units.
            contrast: subtract the dual (Sec. 3.3). Nodes above the last weighted node are then zero.

        Returns:
            One tensor per node, shaped like the neurons of the node.
        """
        p = self.start(signal)
        return self._by_node(self.visits(self.contrasted(p) if contrast else p))

    def lost(self, signal: Float[torch.Tensor, "*shape"]) -> float:
        """Mass of walks that end above the input, at neurons without a normaliser."""
        return float(signal.sum()) - float(self.mwp(signal)["input"].sum())

    def sample_walks(self, signal: Float[torch.Tensor, "*shape"], count: int, seed: int) -> list[list[State]]:
        """Draw random winner walks from a top winner to an absorbing state (Fig. 2 of the paper).

        Args:
            signal: probabilities of the output units; normalised to sum to one.
            count: number of walks.
            seed: random seed.
        """
        return [[self.state(int(s)) for s in walk if s >= 0] for walk in self._sample(signal, count, seed)]

    def sampled_mwp(self, signal: Float[torch.Tensor, "*shape"], count: int, seed: int) -> dict[str, torch.Tensor]:
        """The fraction of sampled walks that visit each neuron. Converges to `mwp` with increasing `count`."""
        walks = self._sample(signal, count, seed)
        visits = torch.bincount(walks[walks >= 0], minlength=len(self.transition)).double()
        return self._by_node(visits / count)

    def _sample(self, signal: torch.Tensor, count: int, seed: int) -> torch.Tensor:
        """Sampled states `(count, steps)`, -1 after the end of a walk."""
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
        by_node = {}
        for node, (first, shape) in self.blocks.items():
            size = shape.numel()
            by_node[node] = (visits[first : first + size] + visits[first + size : first + 2 * size]).reshape(shape)
        return by_node


def chain(
    model: nn.Module,
    image: Float[torch.Tensor, "1 channels *space"],
    *,
    residual: Literal["proportional", "branch"] = "proportional",
    normaliser: Literal["lose", "spread"] = "lose",
) -> Chain:
    """Build the Markov chain of a small network on one image.

    Args:
        model: the network in evaluation mode, traceable by `torch.fx`, with at most a few thousand neurons. The
            function works on a copy in double precision.
        image: one image with batch dimension, `(1, channels, *space)`.
        residual: as in `Policies`.
        normaliser: as in `Policies`; with `"lose"`, neurons without a normaliser are absorbing.

    Raises:
        ExcitationError: an invalid argument, or an operation without transitions.
    """
    check_model(model)
    if not isinstance(image, torch.Tensor) or image.dim() < 3 or len(image) != 1:
        shape = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise ExcitationError(f"image is {shape}; a tensor (1, channels, height, width) of one image is expected.")
    check_choice("residual", residual, ("proportional", "branch"))
    check_choice("normaliser", normaliser, ("lose", "spread"))
    result = transitions(fx.symbolic_trace(copy.deepcopy(model).double()), image.double(), residual, normaliser)
    return Chain(result.matrix, result.blocks, result.weighted, result.top)
