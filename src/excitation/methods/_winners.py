"""Single winners instead of probabilities: deterministic winner-take-all cones, and sampled walks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from .._errors import ExcitationError, UnsupportedOperationError
from ..core import Maps, Request, swept_layer, working
from ..engine import Entry, ExcitationRules, Policies, Signal, Value, attention_map, policies_or_default, sweep
from ..engine.operations import Affine, Average, Selection, Sum
from ..engine.rules import Signals, first, rule_for
from ..engine.rules._products import rectified
from ..engine.rules._signals import LOWERED, RAISED, reduced_to, swapped
from ._registry import method
from ._requirements import require_rules_above

CHUNK = 2**24
"""Maximum number of elements held at once for the inputs of several winners."""


@dataclass(frozen=True, eq=False)
class Group:
    """Winners of one image, target and polarity, with the contributions of their inputs.

    Attributes:
        image: index of the image.
        target: index of the target.
        counts: number of walks at each winner, `(winner,)`.
        shares: contribution of each input to the excitation of each winner, `(winner, polarity * inputs)`, not
            normalised.
    """

    image: int
    target: int
    counts: torch.Tensor
    shares: torch.Tensor


Draw = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Function from counts `(winner,)` and shares `(winner, inputs)` to walk counts at the inputs, summed over winners."""


class WinnerRules(ExcitationRules):
    """The process of Excitation Backprop with individual winners: signals are numbers of walks at neurons.

    Args:
        policies: the policies, as for probabilities.
        draw: selects inputs for the winners of weighted operations and averages.
        split: divides counts among the branches of a sum, given the counts and the probability of each branch.
    """

    def __init__(
        self,
        policies: Policies,
        draw: Draw,
        split: Callable[[torch.Tensor, Sequence[torch.Tensor]], Sequence[torch.Tensor]],
    ) -> None:
        super().__init__(policies)
        if policies.normaliser != "lose":
            raise ExcitationError(
                f"the policy normaliser={policies.normaliser!r} spreads probabilities, but this method selects"
                f" single winners;"
                " use normaliser='lose'."
            )
        if policies.product != "refuse":
            raise ExcitationError(
                f"the policy product={policies.product!r} halves probabilities, but this method selects single winners;"
                " use product='refuse'."
            )
        self._draw = draw
        self._split = split

    @rule_for(Affine, Average)
    def _weighted(self, entry: Entry, signals: Signals) -> Signals:
        operation, p = entry.operation, first(signals)
        assert isinstance(operation, (Affine, Average))
        if not operation.apart:
            raise _no_single_winner(entry)
        shape = operation.input.shape
        polarities = 2
        result = p.new_zeros((p.shape[1], shape[0], polarities * shape[1:].numel()))
        for group in _groups(p, operation, entry.inputs[0], self.policies):
            result[group.target, group.image] += self._draw(group.counts, group.shares)
        parts = result.reshape(p.shape[1], shape[0], polarities, *shape[1:]).movedim(2, 0)
        return [parts if bool(parts[LOWERED].any()) else parts[:1]]

    @rule_for(Selection)
    def _selection(self, entry: Entry, signals: Signals) -> Signals:
        assert isinstance(entry.operation, Selection)
        if entry.operation.shares:
            raise _no_single_winner(entry)
        return super()._selection(entry, signals)

    @rule_for(Sum)
    def _sum(self, entry: Entry, signals: Signals) -> Signals:
        operation, p = entry.operation, first(signals)
        assert isinstance(operation, Sum)
        pairs = self.terms(entry, operation, p.dtype)
        shares: list[list[torch.Tensor]] = [[] for _ in pairs]
        for polarity, counts in enumerate(p):
            sides = [pair[polarity] for pair in pairs]
            parts = [torch.zeros_like(counts) if side is None else side.expand(counts.shape) for side in sides]
            whole = sum(parts[1:], parts[0])
            # Walks end if no term contributes (Eq. 4: Z = 0).
            counts = torch.where(whole > 0, counts, 0)
            chances = [part / torch.where(whole > 0, whole, 1) for part in parts]
            for result, share in zip(self._split(counts, chances), shares, strict=True):
                share.append(result)
        return [
            reduced_to(torch.stack(share) if sign > 0 else swapped(torch.stack(share)), term.shape)
            for share, sign, term in zip(shares, operation.signs, operation.terms, strict=True)
        ]


def _no_single_winner(entry: Entry) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        f"{entry.address!r} has no single winners: its weights differ from image to image, or it mixes its"
        " first axis. Choose a layer above it, or method mwp, which passes probabilities through it."
    )


def _groups(
    p: Signal, operation: Affine | Average, value: Value, policies: Policies
) -> Iterator[Group]:  # fmt: skip
    """All winners with the shares of their inputs, in groups of limited size."""
    up, down = rectified(operation.input.to(p.dtype), value, policies)
    most = max(1, CHUNK // (2 * operation.input[0].numel()))
    for polarity, over_targets in enumerate(p):
        for target, over_images in enumerate(over_targets):
            for image, counts in enumerate(over_images):
                flat = counts.flatten()
                for units in flat.nonzero().flatten().split(most):
                    one_hot = p.new_zeros((len(units), flat.numel()))
                    one_hot[torch.arange(len(units), device=p.device), units] = 1
                    one_hot = one_hot.reshape(len(units), *counts.shape)
                    parts = [
                        _reached(one_hot, operation, polarity, below, None if a is None else a[image])
                        for below, a in ((RAISED, up), (LOWERED, down))
                    ]
                    yield Group(image, target, flat[units], torch.stack(parts, 1).flatten(1))


def _reached(
    q: torch.Tensor,
    operation: Affine | Average,
    above: int,
    below: int,
    a: torch.Tensor | None,
) -> torch.Tensor:
    """Shares `(winner, *input)` of the inputs of one polarity in winners of a given polarity, for one image."""
    shape = (len(q), *operation.input.shape[1:])
    if a is None or (isinstance(operation, Average) and above != below):
        return q.new_zeros(shape)
    if isinstance(operation, Average):
        return a * operation.adjoint(q)
    w = operation.weight.to(q.dtype)
    return a * operation.adjoint(q, (w if above == below else -w).clamp(min=0))


def _walked(
    request: Request, rules: ExcitationRules, choose: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[Maps, Signal, torch.Tensor]:
    """Walks from the top to the layer: counts summed over channels, the walks at each neuron, and the signals."""
    layer = request.engine_layer()
    record = request.record([layer])
    value = swept_layer(record, layer)
    assert record.scores is not None
    priors = request.priors(working(record.scores))
    if bool((priors < 0).any()):
        raise ExcitationError("walks cannot start from a signal with negative weights; give weights of zero or more.")
    start = choose(priors.flatten(2).flatten(0, 1)).reshape(priors.shape)
    (p,) = sweep(record, start[None], [value], rules)
    return attention_map(p, value), p, priors


@method(
    "selective-tuning",
    "From the strongest unit downwards, only the input with the largest excitation wins: a binary map.",
    family="selection",
    place="engine",
    source="Tsotsos et al., Artificial Intelligence 1995 (reference 3 of the paper), Fig. 2 (a)",
    cost="1 F + 1 B for each winner",
    needs="a rule for every operation above the layer",
    applies=require_rules_above,
)
def selective_tuning(request: Request, *, within: float = 0.0, policies: Policies | None = None) -> Maps:
    """One at positions with a winner in any channel, zero elsewhere.

    `within`: inputs also win if they excite a winner at least `1 - within` times as much as its strongest input, as in
    the competition of Selective Tuning. With zero, only the strongest input wins; ties go to the first.
    """
    if not 0 <= within < 1:
        raise ExcitationError(
            f"within is {within}; a part of the strongest input's excitation is expected, from 0 up to less than 1."
        )

    def draw(counts: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        del counts
        best, first = shares.max(1, keepdim=True)
        won = shares >= (1 - within) * best if within > 0 else torch.zeros_like(shares, dtype=torch.bool)
        won = won.scatter(1, first, True) & (shares > 0)
        return won.any(0).to(shares.dtype)

    def split(counts: torch.Tensor, chances: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        best = torch.stack(list(chances))
        top, first = best.max(0)
        won = best >= (1 - within) * top if within > 0 else torch.zeros_like(best, dtype=torch.bool)
        return list((won.scatter(0, first[None], True) & (counts > 0)).to(counts.dtype))

    def choose(flat: torch.Tensor) -> torch.Tensor:
        top, first = flat.max(1, keepdim=True)
        return torch.zeros_like(flat).scatter(1, first, (top > 0).to(flat.dtype))

    rules = WinnerRules(policies_or_default(policies), draw, split)
    maps, _, _ = _walked(request, rules, choose)
    return (maps > 0).to(maps.dtype)


@method(
    "sampled-winners",
    "The part of random walks from winner to winner that passes through each neuron; MWP is its expectation.",
    family="selection",
    place="engine",
    source="Zhang et al., ECCV 2016, Sec. 3.1, Fig. 2 (b, c)",
    cost="1 F + 1 B for each winner",
    needs="a rule for every operation above the layer",
    applies=require_rules_above,
)
def sampled_winners(
    request: Request, *, walks: int = 100, seed: int = 0, policies: Policies | None = None
) -> Maps:  # fmt: skip
    """Converges to MWP with more walks. A map sums to the signal's mass times the fraction of walks that arrive."""
    if walks < 1:
        raise ExcitationError(f"walks is {walks}; at least one is needed.")
    generator = torch.Generator(device=request.images.device).manual_seed(seed)

    def draw(counts: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
        result = shares.new_zeros(shares.shape[1])
        alive = shares.sum(1) > 0
        for count, chances in zip(counts[alive].tolist(), shares[alive], strict=True):
            drawn = torch.multinomial(chances, int(count), replacement=True, generator=generator)
            result.index_add_(0, drawn, torch.ones_like(drawn, dtype=result.dtype))
        return result

    def split(counts: torch.Tensor, chances: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        parts = []
        left, chance_left = counts, torch.ones_like(counts)
        for chance in chances[:-1]:
            own = (chance / torch.where(chance_left > 0, chance_left, 1)).clamp(0, 1)
            parts.append(torch.binomial(left, own, generator=generator))
            left, chance_left = left - parts[-1], chance_left - chance
        return [*parts, left]

    def choose(flat: torch.Tensor) -> torch.Tensor:
        counts = torch.zeros_like(flat)
        for row, weights in zip(counts, flat, strict=True):
            if bool(weights.sum() > 0):
                drawn = torch.multinomial(weights, walks, replacement=True, generator=generator)
                row.index_add_(0, drawn, torch.ones_like(drawn, dtype=row.dtype))
        return counts

    rules = WinnerRules(policies_or_default(policies), draw, split)
    maps, _, priors = _walked(request, rules, choose)
    mass = priors.flatten(2).sum(2).transpose(0, 1)
    return maps / walks * mass.reshape(*mass.shape, *(1,) * (maps.dim() - 2))
