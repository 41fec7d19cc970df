"""The explain function as Quantus calls it, and called by Quantus itself."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import excitation as eb
from excitation.adapters import quantus_explain

sys.path.append(str(Path(__file__).parents[1] / "methods"))
from method_networks import deep, pooled
from peers import stand_in_for_opencv


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    return generator.random((4, 3, 20, 20), dtype=np.float32) * 2 - 0.7, np.array([0, 3, 1, 3])


@pytest.mark.parametrize("name", ["c-mwp", "gradient", "lrp", "cam"])
def test_called_as_quantus_calls_it(name, batch):
    """`explain_func(model=, inputs=, targets=, **explain_func_kwargs)`, with the device Quantus adds to these."""
    x, y = batch
    model = pooled(1).float()
    found = quantus_explain(model=model, inputs=x, targets=y, method=name, device="cpu")
    assert type(found) is np.ndarray
    assert found.shape == (4, 1, 20, 20)
    maps = eb.explain(model, torch.from_numpy(x), [[int(k)] for k in y], method=name).resized().maps
    assert np.array_equal(found[:, 0], torch.stack([item[0] for item in maps]).numpy())


def test_other_precisions_places_and_options(batch):
    x, y = batch
    model = deep(1)  # double precision
    assert quantus_explain(model, x, y, method="mwp", layer="5").dtype == np.float64
    one = quantus_explain(model, torch.from_numpy(x), torch.from_numpy(y), method="lrp", rule="gamma", gamma=0.5)
    assert np.array_equal(one, quantus_explain(model, x, y, method="lrp", rule="gamma", gamma=0.5))
    assert not np.allclose(one, quantus_explain(model, x, y, method="lrp", rule="gamma", gamma=0.1))
    same = quantus_explain(model, x, 3, method="gradient")
    assert np.allclose(same[1], quantus_explain(model, x, y, method="gradient")[1])
    with pytest.raises(eb.ExcitationError, match="Quantus expects one size"):
        quantus_explain(model, x, y, method="mwp", layer="5", steps=())
    with pytest.raises(eb.TargetError, match="2 targets are given for 4 images"):
        quantus_explain(model, x, y[:2])


def test_a_metric_of_quantus(batch):
    """Maps given and maps asked for have the same sparseness, as Quantus measures it."""
    stand_in_for_opencv()  # Quantus turns and shifts pictures with it, which is not asked for here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            quantus = importlib.import_module("quantus")
        except ModuleNotFoundError as error:
            pytest.skip(f"Quantus cannot be imported: {error}")
        x, y = batch
        model = pooled(1).float()
        given = quantus_explain(model, x, y, method="c-mwp")
        metric = quantus.Sparseness(disable_warnings=True)
        common = {"model": model, "x_batch": x, "y_batch": y, "device": "cpu"}
        by_maps = metric(a_batch=given, **common)
        asked = metric(a_batch=None, explain_func=quantus_explain, explain_func_kwargs={"method": "c-mwp"}, **common)
    assert np.allclose(by_maps, asked)
    assert len(asked) == 4
