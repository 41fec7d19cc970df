"""Signals neuron by neuron against the maps of the methods they belong to."""

from __future__ import annotations

import pytest
import torch
from method_networks import deep, pooled

from excitation import ExcitationError
from excitation.engine import channel_sum
from excitation.methods import find_method
from excitation.methods._backpropagated import BACKPROPAGATED, backpropagated

SIGNED = {"c-mwp", "eb-without-norm", "r-mwp"}


@pytest.mark.parametrize("name", BACKPROPAGATED)
@pytest.mark.parametrize(("network", "layers"), [(deep, ["7", "4", "input"]), (pooled, ["4", "2", "input"])])
def test_a_map_is_its_signals_sum_over_channels(name, network, layers, images, untouched):
    model = network()
    with torch.no_grad():
        model[-1].bias += 0.5  # so that some classes respond
    targets = [0, 3]
    check = untouched(model)
    signals = backpropagated(name, model, images, targets, layers)
    check()
    for layer, p in zip(layers, signals, strict=True):
        options = {"signed": True} if name in SIGNED else {}
        maps = find_method(name)(model, images, targets, layer=layer, **options)
        gradient = find_method(name).family == "gradient"
        own = p[0].abs().amax(2).transpose(0, 1) if gradient else channel_sum(p)
        if name in {"c-lrp", "clrp", "sglrp"}:
            own = own.clamp(min=0)
        if name == "eb-without-norm":
            own = own / own.flatten(2).abs().amax(2)[..., None, None]
            own = own / own.flatten(2).abs().sum(2)[..., None, None]
        assert torch.allclose(own, maps, rtol=1e-9, atol=1e-12 * float(maps.abs().max()))


def test_layers_without_space_have_signals_too(images):
    model = pooled()
    for name in ("mwp", "gradient", "lrp-epsilon"):
        (p,) = backpropagated(name, model, images, [1], ["6"])
        assert p.shape == (1, 1, 3, 10)


def test_what_carries_no_signal_is_refused(images):
    with pytest.raises(ExcitationError, match="does not pass a signal"):
        backpropagated("rise", pooled(), images, [0], ["2"])
    with pytest.raises(ExcitationError, match="nowhere"):
        backpropagated("mwp", pooled(), images, [0], ["nowhere"])
