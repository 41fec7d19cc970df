"""On a CUDA device: the same maps as on the CPU, however they are asked for, and hardly ever a wait for the device."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
import torch
from experiments.speed.throughput import rounded
from torch import nn

import excitation as eb
from excitation.data.symbols import make_scene
from excitation.methods import find_method, list_methods
from excitation.models import load_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

sys.path.append(str(Path(__file__).parents[1] / "methods"))

from method_networks import deep, pooled  # noqa: E402

CHEAP = {"rise": {"samples": 3}, "integrated-gradients": {"samples": 2}, "smoothgrad": {"samples": 2},
         "feedback": {"iterations": 2}, "sampled-winners": {"walks": 3}}  # fmt: skip
NAMES = [item.name for item in list_methods()]
NETWORKS = {
    "vgg11_bn": "features.11", "squeezenet1_0": "features.6", "googlenet": "maxpool3", "resnet50": "layer3",
    "mobilenet_v2": "features.13", "densenet121": "features.denseblock3", "shufflenet_v2_x0_5": "stage3",
    "efficientnet_b0": "features.5", "convnext_tiny": "features.4", "regnet_y_400mf": "trunk_output.block3",
}  # fmt: skip


@pytest.fixture
def exact_products():
    """No TF32, which PyTorch allows for convolutions."""
    with rounded(allowed=False):
        yield


def network(name):
    """A network of torchvision with batch norms that are not the identity, and images."""
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed", exc_type=ImportError)
    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, num_classes=20, **options).eval()
    images = torch.randn(2, 3, 96, 128)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.weight[::7].neg_()
                module.bias.uniform_(-0.2, 0.2)
            module.momentum = None
            module.train()
    with torch.no_grad():
        model(images)
    return model.eval(), images


def near(found, expected, tolerance):
    assert found.device.type == "cuda"
    assert found.dtype == expected.dtype
    assert float((found.cpu() - expected).abs().max()) <= tolerance * max(float(expected.abs().max()), 1e-6)
    return True


@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}, {"method": "r-mwp"}, {"against": 4}])
@pytest.mark.parametrize("name", NETWORKS)
def test_maps_of_networks(name, contrast):
    model, images = network(name)
    model, images = model.double(), images.double()
    options = {"layer": NETWORKS[name], **contrast, "signed": True}
    expected = eb.explain(model, images, [3, {5: 0.5, 6: 0.5}], **options).maps
    found = eb.explain(model.cuda(), images.cuda(), [3, {5: 0.5, 6: 0.5}], **options).maps
    assert near(found, expected, 1e-8)


@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}])
@pytest.mark.parametrize("name", ["googlenet", "resnet50", "mobilenet_v2"])
def test_single_precision(exact_products, name, contrast):
    """Held to double precision: rounding differs from the CPU's, and contrasts are differences."""
    model, images = network(name)
    options = {"layer": NETWORKS[name], "signed": True}
    plain = eb.explain(model.double(), images.double(), [3], **options).maps
    expected = eb.explain(model, images.double(), [3], **contrast, **options).maps
    found = eb.explain(model.float().cuda(), images.cuda(), [3], **contrast, **options).maps
    assert found.dtype == torch.float32
    assert float((found.cpu().double() - expected).abs().max()) <= 2e-3 * float(plain.abs().max())


@pytest.mark.parametrize("name", ["googlenet", "resnet50", "vgg11_bn"])
def test_mass_is_one_with_tf32_too(name):
    model, images = network(name)
    result = eb.explain(model.cuda(), images.cuda(), [3], layer=NETWORKS[name])
    assert torch.allclose(result.share[NETWORKS[name]].cpu(), torch.ones(2, 1, dtype=torch.float64), atol=2e-3)
    assert all(float(row.lost.abs().max()) < 2e-3 for row in result.balance.rows)


@pytest.mark.parametrize("name", NAMES)
def test_methods(name):
    images = torch.rand(3, 3, 20, 20, dtype=torch.float64) * 2 - 0.7
    model, method, options = pooled(1), find_method(name), CHEAP.get(name, {})
    targets = [0, 3, {1: 0.5, 4: 0.5}]
    expected = method(model, images, targets, **options)
    found = method(model.cuda(), images.cuda(), targets, **options)
    if name in {"rise", "smoothgrad", "sampled-winners"}:  # their draws are the device's own
        assert found.device.type == "cuda"
        assert found.shape == expected.shape
        assert bool(torch.isfinite(found).all())
    else:
        assert near(found, expected, 1e-7)


@pytest.mark.parametrize("name", ["c-mwp", "lrp", "feedback", "grad-cam", "deconv"])
def test_methods_at_several_layers_of_a_deep_network(name):
    images = torch.rand(2, 3, 20, 20, dtype=torch.float64) * 2 - 0.7
    model, method = deep(), find_method(name)
    expected = method(model, images, [1], **CHEAP.get(name, {}))
    assert near(method(model.cuda(), images.cuda(), [1], **CHEAP.get(name, {})), expected, 1e-7)


@pytest.mark.parametrize("way", ["classes", "features", "positions"])
@pytest.mark.parametrize("name", ["googlenet", "resnet50", "mobilenet_v2", "shufflenet_v2_x0_5"])
def test_all_classes_at_once(name, way):
    model, images = network(name)
    model, images = model.double().cuda(), images.double().cuda()
    maps = eb.all_classes(model, images, layer=NETWORKS[name], strategy=way)
    for options in ({}, {"method": "c-mwp", "signed": True}, {"against": 4, "signed": True}):
        expected = eb.explain(model, images, [3, {5: 0.5, 6: 0.5}], layer=NETWORKS[name], **options).maps
        assert near(maps.maps([3, {5: 0.5, 6: 0.5}], **options), expected.cpu(), 1e-8)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision(kind):
    model, images = network("resnet50")
    expected = eb.explain(model.cuda(), images.cuda(), [3], layer="layer3").maps
    with torch.autocast("cuda", kind):
        by_autocast = eb.explain(model, images.cuda(), [3], layer="layer3").maps
    kept = eb.explain(model.to(kind), images.cuda().to(kind), [3], layer="layer3").maps
    for found in (by_autocast, kept):
        assert found.dtype == torch.float32
        error = float((found - expected).abs().max() / expected.max())
        assert 1e-5 < error < 0.2
        assert torch.allclose(found.sum((2, 3)), torch.ones(2, 1, device="cuda"), atol=5e-3)


def waits(call):
    """How often the host waited for the device."""
    call()
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    found = [w for w in caught if "synchronizing CUDA operation" in str(w.message)]
    return [f"{Path(w.filename).name}:{w.lineno}" for w in found]


@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}, {"method": "r-mwp"}])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_host_hardly_waits(name, contrast):
    """Once a call, whatever the network: are the scores and the maps finite."""
    model, images = network(name)
    model, images = model.cuda(), images.cuda()
    assert len(waits(lambda: images.sum().item())) == 1  # that waits are noticed at all
    found = waits(lambda: eb.explain(model, images, [3, 5], layer=NETWORKS[name], **contrast))
    assert len(found) <= 1, found


@pytest.mark.parametrize("contrast", [{}, {"method": "c-mwp"}, {"method": "r-mwp"}, {"against": 4}])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_captured_call_gives_the_same_maps(exact_products, name, contrast):
    model, images = network(name)
    model, images = model.double().cuda(), images.double().cuda()
    options = {"layer": NETWORKS[name], **contrast, "signed": True}
    call = eb.cuda_graph(model, images, [3, 5], **options)
    kept = []
    for turn in range(2):
        other = torch.randn_like(images)
        targets = [[4 * turn, {1: 0.5, 7: 0.5}], [turn, 2]]
        expected = torch.stack(eb.explain(model, other, targets, **options).maps)
        kept.append((torch.stack(call(other, targets)), expected))
    for found, expected in kept:  # the second call has not written into the first one's maps
        assert near(found, expected.cpu(), 1e-9)
    assert near(call(images), eb.explain(model, images, [3, 5], **options).maps.cpu(), 1e-9)


def test_a_captured_call_sees_weights_that_change_in_place_and_refuses_those_that_moved():
    model, images = network("resnet50")
    model, images = model.cuda(), images.cuda()
    call = eb.cuda_graph(model, images, [3], layer="layer3")
    before = call(images)
    with torch.no_grad():
        for parameter in model.layer4.parameters():
            parameter.mul_(torch.rand_like(parameter) + 0.5)
    after = call(images)
    assert not torch.allclose(before, after, rtol=1e-2)
    assert torch.allclose(after, eb.explain(model, images, [3], layer="layer3").maps, rtol=1e-4, atol=1e-6)
    images[1] = float("nan")
    with pytest.raises(eb.ExcitationError, match="NaN or infinite for image 1"):
        call(images)
    model.fc.weight.data = model.fc.weight.data.clone()
    with pytest.raises(eb.ExcitationError, match="capture it again"):
        call(images)


@pytest.mark.parametrize("options", [{"scale": "max"}, {"resize": True, "method": "c-mwp"}, {"signal": "softmax"}])
def test_a_captured_call_at_several_layers_with_options(exact_products, options):
    model, images = network("resnet50")
    model, images = model.double().cuda(), images.double().cuda()
    options = {"layer": ["layer3", "layer4"], **options}
    call = eb.cuda_graph(model, images, [3], **options)
    other = torch.randn_like(images)
    expected, found = eb.explain(model, other, [5], **options).maps, call(other, [5])
    for layer in options["layer"]:
        assert near(found[layer], expected[layer].cpu(), 1e-8)


def test_a_captured_call_under_autocast_and_inference_mode():
    model, images = network("resnet50")
    model, images = model.cuda(), images.cuda()
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        call = eb.cuda_graph(model, images.clone(), [3], layer="layer3")
        expected = eb.explain(model, images, [3], layer="layer3").maps
        with torch.no_grad():
            assert torch.allclose(call(images.clone()), expected, rtol=1e-3, atol=1e-6)
        model.fc.weight.data.neg_()
        assert not torch.allclose(call(images), expected, rtol=1e-2)


def test_a_network_that_waits_cannot_be_captured():
    class Waiting(nn.Sequential):
        def forward(self, x):
            return super().forward(x if bool((x < 2).any()) else 2 * x)  # the host asks, below the layer

    steps = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)]
    model, images = Waiting(*steps).eval().cuda(), torch.rand(1, 3, 8, 8, device="cuda")
    with pytest.raises(eb.ExcitationError, match="cannot be captured"):
        eb.cuda_graph(model, images, [1], layer="1")
    # Nothing is left behind: random numbers, and calls.
    assert bool(torch.isfinite(eb.explain(model, torch.rand_like(images), [1], layer="1").maps).all())
    call = eb.cuda_graph(nn.Sequential(*steps).eval(), images, [1], layer="1")
    assert torch.allclose(call(images), eb.explain(model, images, [1], layer="1").maps, rtol=1e-4, atol=1e-6)


def test_the_memory_of_a_map():
    """No more than the activations above the layer, twice, over a plain forward pass."""
    model, images = network("resnet50")
    model, images = model.cuda(), images.cuda().repeat(8, 1, 1, 1)

    def peak(call):
        call()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before

    sizes = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, output: sizes.append(output.numel() * output.element_size()))
        for stage in (model.layer3, model.layer4) for module in stage.modules() if not list(module.children())
    ]  # fmt: skip
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        plain = peak(lambda: model(images))
    assert peak(lambda: eb.explain(model, images, [3], layer="layer3")) <= plain + 2 * sum(sizes)


def test_the_bundled_network():
    loaded = load_model("symbols")
    from PIL import Image

    images = loaded.preprocessing(Image.fromarray(make_scene(0, 0, "test").image))[None]
    expected = eb.explain(loaded, images, ["telephone"], method="c-mwp").maps
    loaded.model.cuda()
    found = eb.explain(loaded, images.cuda(), ["telephone"], method="c-mwp").maps
    assert float((found.cpu() - expected).abs().max()) < 0.02 * float(expected.max())


def test_images_elsewhere_are_refused_in_a_sentence():
    model, images = network("resnet50")
    with pytest.raises(eb.ExcitationError, match="cuda"):
        eb.explain(model.cuda(), images, [3], layer="layer3")
