"""What must hold for any network: random ones, against the dense Markov chain and against themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import build, cuts, recipes
from torch import nn

import excitation as eb
from excitation.markov import chain

CHECKS = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
signals = st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda s: sum(s) > 0.01)
policies = st.builds(
    eb.Policies, residual=st.sampled_from(["proportional", "branch"]), normaliser=st.sampled_from(["lose", "spread"])
)


def exactly(signal):
    """In double precision: rounded to float32, sums of signals are not the signals of their sums."""
    return torch.tensor(signal, dtype=torch.float64)


def maps(model, images, signal, layer, **options):
    found = eb.explain(model, images, [exactly(signal)], layer=layer, signed=True, **options)
    return found.maps[:, 0] if isinstance(layer, str) else {name: item[:, 0] for name, item in found.by_layer.items()}


@CHECKS
@given(recipes(), signals, policies)
def test_mass_balances_at_every_cut(recipe, signal, policy):
    model, images = build(recipe)
    if policy.residual == "branch" and "projection" not in recipe.blocks and "residual" not in recipe.blocks:
        policy = eb.Policies(normaliser=policy.normaliser)
    for cut in cuts(recipe):
        account = eb.balance(model, images, [exactly(signal)], layer=cut, policies=policy)
        assert account.is_cut
        assert torch.allclose(account.arrived + account.lost, torch.full_like(account.arrived, sum(signal)), atol=1e-9)
        assert float(account.negative.min()) == 0
        assert float(account.lost.min()) > -1e-9
        for row in account.rows:
            assert torch.allclose(row.entered, row.passed + row.lost + row.bypassed, atol=1e-12)


@CHECKS
@given(recipes(), signals, policies)
def test_equal_to_the_markov_chain(recipe, signal, policy):
    model, images = build(recipe)
    for contrast in ({}, {"method": "c-mwp"}):
        found = maps(model, images[:1], signal, ["relu", "input"], **contrast, policies=policy)
        process = chain(model, images[:1], residual=policy.residual, normaliser=policy.normaliser)
        truth = process.mwp(exactly(signal), contrast=bool(contrast))
        assert torch.allclose(found["input"][0], truth["input"][0].sum(0), atol=1e-10)
        assert torch.allclose(found["relu"][0], truth["relu"][0].sum(0), atol=1e-10)


@CHECKS
@given(recipes(), signals, signals, st.floats(-2, 2))
def test_linear_in_the_signal(recipe, first, second, factor):
    model, images = build(recipe)
    mixed = [a + factor * b for a, b in zip(first, second, strict=True)]
    parts = [maps(model, images, signal, "input") for signal in (first, second, mixed)]
    assert torch.allclose(parts[2], parts[0] + factor * parts[1], atol=1e-10)


@CHECKS
@given(recipes(), signals)
def test_non_negative_for_non_negative_signals(recipe, signal):
    model, images = build(recipe)
    for cut in cuts(recipe):
        assert float(maps(model, images, signal, cut).min()) >= 0


@CHECKS
@given(recipes(), signals)
def test_batch_equals_one_by_one(recipe, signal):
    model, images = build(recipe)
    together = maps(model, images, signal, "input", method="c-mwp")
    for i in range(len(images)):
        assert torch.allclose(
            together[i], maps(model, images[i : i + 1], signal, "input", method="c-mwp")[0], atol=1e-12
        )


@CHECKS
@given(recipes(paper_only=True), signals, st.floats(0.1, 10))
def test_invariant_under_rescaling_a_layer_and_its_inverse_in_the_next(recipe, signal, factor):
    model, images = build(recipe)
    if "lrn" in recipe.blocks:
        return  # normalisation by neighbours does not commute with a factor
    before = maps(model, images, signal, ["relu", "input"])
    with torch.no_grad():
        model.stem.weight.mul_(factor)
        model.stem.bias.mul_(factor)
        following = next((m for m in model.blocks.modules() if isinstance(m, nn.Conv2d)), None)
        if following is None:
            following = model.hidden if model.head == "deep" else model.fc
        users = [following]
        for block in model.blocks:
            if any(m is following for m in block.modules()) and block.kind == "inception":
                users = [block.conv, block.point]
        for user in users:
            user.weight.div_(factor)
    after = maps(model, images, signal, ["relu", "input"])
    assert torch.allclose(before["relu"], after["relu"], atol=1e-9)
    assert torch.allclose(before["input"], after["input"], atol=1e-9)


@CHECKS
@given(recipes(paper_only=True), signals)
def test_policies_agree_where_the_paper_leaves_nothing_open(recipe, signal):
    """On plain ReLU networks and non-negative images the defaults are the original's numbers."""
    model, images = build(recipe)
    for contrast in ({}, {"method": "c-mwp"}):
        ours = maps(model, images, signal, "input", **contrast)
        theirs = maps(model, images, signal, "input", **contrast, policies=eb.Policies.original())
        assert torch.allclose(ours, theirs, atol=1e-12)


@settings(CHECKS, max_examples=8)
@given(recipes(signed=True), signals)
def test_sampled_walks_converge(recipe, signal):
    model, images = build(recipe)
    process = chain(model, images[:1])
    count = 4000
    total = sum(signal)
    exact = process.mwp(exactly(signal) / total)
    drawn = process.sampled_mwp(exactly(signal), count, seed=recipe.seed)
    found = maps(model, images[:1], signal, "input")[0] / total
    for truth, sample in ((exact["input"][0].sum(0), drawn["input"][0].sum(0)), (found, drawn["input"][0].sum(0))):
        deviation = (truth * (1 - truth) / count).clamp(min=1e-9).sqrt()
        assert float(((sample - truth).abs() / deviation).max()) < 6


@settings(CHECKS, max_examples=20)
@given(recipes(), signals)
def test_single_precision_stays_close(recipe, signal):
    model, images = build(recipe)
    exact = maps(model, images, signal, "input", policies=eb.Policies(normaliser="spread"))
    single = maps(model.float(), images.float(), signal, "input", policies=eb.Policies(normaliser="spread"))
    assert float((single.double() - exact).abs().sum((1, 2)).max()) < 1e-2 * sum(signal)


def test_the_chain_refuses_what_it_does_not_know():
    with pytest.raises(eb.ExcitationError, match="no transition"):
        chain(nn.Sequential(nn.Conv2d(1, 1, 1), nn.GELU()).double().eval(), torch.rand(1, 1, 2, 2).double())
