"""Networks as torchvision has them, randomly initialised: no mass appears or disappears without an entry."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import excitation as eb

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed", exc_type=ImportError)

NETWORKS = {
    "alexnet": 128,
    "vgg11": 96,
    "vgg11_bn": 96,
    "squeezenet1_0": 128,
    "googlenet": 96,
    "resnet18": 96,
    "resnet50": 96,
    "inception_v3": 128,
}
OPTIONS = {"googlenet": {"aux_logits": False, "init_weights": False}}
OPTIONS["inception_v3"] = OPTIONS["googlenet"]


def network(name):
    """With batch norms that are not the identity: negative scales, their own statistics."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None, num_classes=20, **OPTIONS.get(name, {})).eval()
    images = torch.randn(2, 3, NETWORKS[name], NETWORKS[name] + 32)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.weight[::7].neg_()
                module.bias.uniform_(-0.2, 0.2)
            module.momentum = None
            module.train()
    with torch.no_grad():
        model(images)  # the statistics of these images
    return model.eval(), images


@pytest.mark.parametrize("name", NETWORKS)
def test_mass_is_one_at_every_cut(name):
    model, images = network(name)
    cuts = [layer.name for layer in eb.list_layers(model, images) if layer.is_cut and layer.stride is not None]
    assert len(cuts) > 10
    result = eb.explain(model, images, [3, {5: 0.5, 6: 0.5}], layer=cuts)
    balance = eb.balance(model, images, [3, {5: 0.5, 6: 0.5}], layer="input")
    lost = sum(row.lost for row in balance.rows)
    assert float(lost.abs().max()) < 1e-5
    for cut in cuts:
        assert result.is_cut[cut]
        assert float(result[cut].min()) >= 0
        assert torch.allclose(result.share[cut], torch.ones(2, 2, dtype=torch.float64), atol=1e-5), cut
    for row in balance.rows:
        assert torch.allclose(row.entered, row.passed + row.lost + row.bypassed, atol=1e-12)
        assert float(row.bypassed.abs().max()) == 0


@pytest.mark.parametrize("name", ["googlenet", "resnet50"])
def test_contrasts_have_no_mass_at_any_cut(name):
    model, images = network(name)
    cuts = [layer.name for layer in eb.list_layers(model, images) if layer.is_cut and layer.stride is not None]
    cuts = [cut for cut in cuts if cut.partition(":")[0] not in {"avgpool", "dropout"}]
    maps = eb.explain(model, images, [3], layer=cuts, method="c-mwp", signed=True)
    for cut, attention in maps.by_layer.items():
        assert float(attention.sum((2, 3)).abs().max()) < 1e-5, cut


def test_the_original_residual_rule_makes_negative_mass_where_the_default_does_not():
    model, images = network("resnet18")
    for policies, negative in ((eb.Policies.original(), True), (eb.Policies(), False)):
        account = eb.balance(model, images, [3], layer="conv1", policies=policies)
        least = min(float(row.negative.min()) for row in account.rows)
        assert (least < -1e-2) == negative
        assert least <= 0
        assert torch.allclose(account.arrived + account.lost, account.top, atol=1e-9)


def test_default_layers():
    for name, expected in {"vgg11": "features.19", "googlenet": "inception4e", "resnet50": "layer3"}.items():
        model, images = network(name)
        assert eb.explain(model, images, [0]).layer == expected


def test_one_arm_of_a_residual_block_says_so():
    model, images = network("resnet18")
    with pytest.warns(eb.BypassWarning, match=r"'layer3\.1\.bn2' is in one branch"):
        account = eb.balance(model, images, [3], layer="layer3.1.bn2")
    assert float(account.share.min()) > 0.05
    assert float(account.share.max()) < 0.95
    assert torch.allclose(account.arrived + account.bypassed, torch.ones(2, 1, dtype=torch.float64), atol=1e-5)
