"""The engine against the original program: every small net, signal and blob, in float64."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from caffe_tiny import Caffe, Golden

import excitation as eb
from excitation.core._forward import forward
from excitation.engine import ExcitationRules, sweep

FOLDER = Path(__file__).parents[2] / ".." / "shared" / "reference" / "caffe_tiny"
TOLERANCE = 1e-9
# The original has no rule for these layers and falls back on their gradient: departures on purpose, tested below.
DEPARTURES = {"sigmoid_tanh_elu", "softmax_top"}


def cases():
    file = FOLDER / "golden_f64.npz"
    if not file.exists():
        return []
    with np.load(file) as arrays:
        tags = {tuple(key.split("|")[:2]) for key in arrays.files if "|" in key}
    return sorted((net, tag) for net, tag in tags if tag.startswith(("eb_", "ceb_")))


@pytest.fixture(scope="module")
def golden():
    if not FOLDER.exists():
        pytest.skip(f"reference data not found: {FOLDER}")
    return Golden(FOLDER)


def compare(golden, net, tag, blobs=None):
    """Largest difference relative to the blob's largest signal, for each blob below the top."""
    model = Caffe(golden, net).double().eval()
    record = forward(model, golden.array(net, "input"), None)
    policies = eb.Policies.original(residual="branch" if "skip" in tag else "original")
    signal = golden.array(net, "signal", tag.split("_")[-1]).reshape(record.scores.shape)
    contrast = golden.index[net]["contrast"] if tag.startswith("ceb") else None
    differences = {}
    for blob in blobs or golden.blobs(net, tag):
        value = record.places[model.blob_layer[blob]].value
        stored = golden.array(net, tag, blob)
        try:
            (found,) = sweep(record, signal[None, None], [value], ExcitationRules(policies), contrast=bool(contrast))
        except eb.LayerError:
            # Above the last weighted layer no contrast exists yet; the file holds the positive pass there.
            (found,) = sweep(record, signal[None, None], [value], ExcitationRules(policies))
        found = found.sum(0)[0].reshape(stored.shape)
        differences[blob] = float((found - stored).abs().max() / stored.abs().max().clamp(min=1e-300))
    return differences


@pytest.mark.parametrize(("net", "tag"), [case for case in cases() if case[0] not in DEPARTURES])
def test_signals_agree_with_the_original(golden, net, tag):
    differences = compare(golden, net, tag)
    assert len(differences) >= 2
    assert max(differences.values()) < TOLERANCE, differences


@pytest.mark.parametrize("net", sorted({net for net, _ in cases()}))
def test_activations_agree_with_the_original(golden, net):
    model = Caffe(golden, net).double().eval()
    outputs = {}
    for name, layer in model.named_children():
        layer.register_forward_hook(lambda _, __, out, name=name: outputs.__setitem__(name, out))
    model(golden.array(net, "input"))
    last = {spec["top"][0]: spec["name"] for spec in model.specs}
    for blob, name in last.items():
        stored = golden.array(net, "act", blob)
        found = outputs[name].reshape(stored.shape)
        assert float((found - stored).abs().max()) <= TOLERANCE * float(stored.abs().max()), blob


def test_departures_agree_where_the_original_has_rules(golden):
    """Above its layers without a rule the original and the engine are the same, below they are not."""
    tag = "eb_onehot"
    differences = compare(golden, "sigmoid_tanh_elu", tag)
    assert differences["fc"] == 0
    assert differences["elu"] < TOLERANCE
    assert differences["conv3"] > TOLERANCE  # the original multiplies by ELU's derivative there
    differences = compare(golden, "softmax_top", tag)
    assert differences["prob"] == 0
    assert differences["fc"] > TOLERANCE  # the signal on a probability is the signal on its score
    model = Caffe(golden, "softmax_top").double().eval()
    record = forward(model, golden.array("softmax_top", "input"), None)
    signal = golden.array("softmax_top", "signal", "onehot")
    (found,) = sweep(record, signal[None, None], [record.places["fc"].value], ExcitationRules(eb.Policies()))
    assert torch.equal(found[0, 0].reshape(signal.shape), signal)


def test_departure_batch_norm_sign_changes_maps_only_where_gammas_are_negative(golden):
    net = "bn_scale_separate"
    model = Caffe(golden, net).double().eval()
    image = golden.array(net, "input")
    weights = {0: 1.0}

    def maps(batch_norm):
        policies = eb.Policies(batch_norm=batch_norm)
        output = lambda scores: scores.mean((2, 3))  # noqa: E731
        return eb.explain(model, image, [weights], layer="input", policies=policies, output=output).maps

    negative = bool((golden.array(net, "param", "scale1.0") < 0).any())
    assert negative == (not torch.allclose(maps("fold"), maps("copy")))
    with torch.no_grad():
        model.scale1.p0.abs_()
    assert torch.allclose(maps("fold"), maps("copy"))


def test_departure_conserving_residual(golden):
    """`proportional` keeps all mass where the original's signed shares make or lose some."""
    net = "mini_resnet"
    model = Caffe(golden, net).double().eval()
    image = golden.array(net, "input")
    kept = eb.balance(model, image, [0, 3], layer="pool1", policies=eb.Policies(residual="proportional"))
    assert torch.allclose(kept.arrived + kept.lost, torch.ones(2, 2, dtype=torch.float64), atol=1e-12)
    assert float(kept.negative.abs().max()) == 0
    original = eb.balance(model, image, [0, 3], layer="pool1", policies=eb.Policies.original())
    assert float((original.arrived - 1).abs().max()) > 1e-3


def test_index_names_every_net(golden):
    assert len(golden.index) == 25, json.dumps(sorted(golden.index))
