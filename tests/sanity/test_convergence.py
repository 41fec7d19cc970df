"""Signals of different classes against direct matrix products, whose rank goes to one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sanity_networks import pooled, subjects
from torch import nn

from excitation import ExcitationError
from excitation.evaluation.sanity import class_cosines, list_stages, run_convergence
from excitation.models._loaded import LoadedModel

DEPTH, WIDTH, CLASSES = 8, 12, 4


@pytest.fixture
def chain():
    """Positive layers below a signed one, its input, and the transition matrices from the top down by hand."""
    torch.manual_seed(3)
    layers = [nn.Conv1d(WIDTH, WIDTH, 1, bias=False) for _ in range(DEPTH)]
    for layer in layers:
        nn.init.uniform_(layer.weight, 0.01, 1)
    top = nn.Linear(WIDTH, CLASSES, bias=False)
    model = nn.Sequential(*layers, nn.Flatten(), top).double().eval()
    image = torch.rand(1, WIDTH, 1, dtype=torch.float64)
    activations = [image[0, :, 0].numpy()]
    matrices = [layer.weight[:, :, 0].detach().numpy() for layer in layers]
    for matrix in matrices:
        activations.append(matrix @ activations[-1])
    w = top.weight.detach().numpy()

    def transition(weights, a):
        return a[:, None] * weights.T / (weights @ a)

    unit = transition(w.clip(min=0), activations[-1])
    dual = transition((-w).clip(min=0), activations[-1])
    down = [transition(matrix, a) for matrix, a in zip(matrices[::-1], activations[-2::-1], strict=True)]
    return LoadedModel(model, "chain"), image, unit, dual, down


def _cosines(start, down, first, second):
    found = []
    signals = start
    for matrix in (None, *down):
        signals = signals if matrix is None else matrix @ signals
        a, b = signals[:, first], signals[:, second]
        found.append(a @ b / np.sqrt((a @ a) * (b @ b)))
    return found


def test_a_chain_of_positive_matrices_forgets_the_class_as_its_product_nears_rank_one(chain):
    model, image, unit, dual, down = chain
    layers = [stage.below for stage in list_stages(model.model, image)]
    pairs = [[0, 1], [2, 3], [1, 2]]
    plain = class_cosines(model, image, "mwp", pairs, layers)
    contrasted = class_cosines(model, image, "c-mwp", pairs, layers)
    for pair, mwp, c_mwp in zip(pairs, plain, contrasted, strict=True):
        assert mwp == pytest.approx(_cosines(unit, down, *pair), abs=1e-12)
        # Ever smaller differences of nearly equal columns: what cancels costs digits.
        assert c_mwp == pytest.approx(_cosines(unit - dual, down, *pair), abs=1e-6)
    product = unit
    for matrix in down:
        product = matrix @ product
    size = np.linalg.svd(product, compute_uv=False)
    assert size[1] / size[0] < 1e-5
    assert all(1 - row[-1] < 1e-8 for row in plain)
    assert all(later >= earlier for row in plain for earlier, later in itertools.pairwise(row))
    # The contrast has no mass, hence no part in the direction that wins: it does not join it.
    assert np.abs((unit - dual).sum(0)).max() < 1e-12
    assert all(1 - abs(value) > 1e-6 for row in contrasted for value in row[:4])


def test_a_run_is_the_median_over_pairs_and_goes_on(tmp_path):
    model = pooled()
    asked = subjects(model, 2)
    layers = [stage.below for stage in list_stages(model.model, asked[0].values)]
    path = tmp_path / "convergence.json"
    names = ["mwp", "gradient", "r-mwp"]
    run_convergence(model, asked[:1], names, out=path, pairs=3)
    found = run_convergence(model, asked, names, out=path, pairs=3)
    whole = run_convergence(model, asked, names, out=tmp_path / "again.json", pairs=3)
    assert found.images == whole.images
    for subject in asked:
        entry = found.images[subject.name]
        rows = class_cosines(model, subject.values, "mwp", entry["classes"], layers)
        assert entry["methods"]["mwp"]["cosine"] == pytest.approx(np.median(rows, 0), abs=1e-5)
        rows = np.abs(class_cosines(model, subject.values, "gradient", entry["classes"], layers))
        assert entry["methods"]["gradient"]["absolute"] == pytest.approx(np.median(rows, 0), abs=1e-5)
        assert None not in entry["methods"]["r-mwp"]["cosine"]
    with pytest.raises(ExcitationError, match="another configuration \\(seed\\)"):
        run_convergence(model, asked, names, out=path, pairs=3, seed=1)
    with pytest.raises(ExcitationError, match="propagates no signal"):
        run_convergence(model, asked, ["rise"], out=path)
