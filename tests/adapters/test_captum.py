"""Captum's metrics, figures and noise tunnel take the methods as its own; one of them is its own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import excitation as eb
from excitation.adapters import MethodAttribution
from excitation.methods import blur, find_method, list_methods

sys.path.append(str(Path(__file__).parents[1] / "methods"))
from method_networks import deep, pooled

captum = pytest.importorskip("captum.attr", reason="captum is not installed")
metrics = pytest.importorskip("captum.metrics", reason="captum is not installed")
CHEAP = {"rise": {"samples": 3}, "integrated-gradients": {"samples": 2}, "smoothgrad": {"samples": 2},
         "feedback": {"iterations": 2}, "sampled-winners": {"walks": 3}}  # fmt: skip


@pytest.fixture
def images():
    return torch.rand(3, 3, 20, 20, dtype=torch.float64) * 2 - 0.7


def test_the_gradient_is_captums_saliency(images):
    model, plain = deep(0), deep(0, inplace=False)
    ours = MethodAttribution(model, "gradient")
    for target in (4, [0, 5, 2], torch.tensor([0, 5, 2]), torch.tensor([3]), torch.tensor(3)):
        found = ours.attribute(images, target=target)
        theirs = captum.Saliency(plain).attribute(images.clone().requires_grad_(True), target=target)
        assert found.shape == images.shape
        assert not found.requires_grad
        assert torch.allclose(found.sum(1), theirs.amax(1), rtol=1e-10, atol=1e-14)
        found = ours.attribute(images, target, channels="mean", spread=False)
        assert torch.allclose(found[:, 0], theirs.mean(1), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", [item.name for item in list_methods()])
def test_every_method_at_the_images_size(name, images):
    """The sum over channels is the method's map, enlarged as `explain` enlarges it."""
    model, options = pooled(1), CHEAP.get(name, {})
    found = MethodAttribution(model, name).attribute(images, [0, 3, 3], **options)
    assert found.shape == images.shape
    maps = eb.explain(model, images, [[0], [3], [3]], method=name, **options).resized().per_image()
    truth = torch.stack([item[0] for item in maps])
    assert torch.allclose(found.sum(1), truth, rtol=1e-9, atol=1e-9 * float(truth.abs().max() + 1))
    assert torch.equal(found[:, 0], found[:, 2])


def test_tuples_layers_and_steps(images):
    model = deep(1)
    ours = MethodAttribution(model, "mwp", layer="5")
    (found,) = ours.attribute((images,), 2)
    assert torch.equal(found, ours.attribute(images, 2))
    raw = MethodAttribution(model, "mwp", layer="5", steps=()).attribute(images, 2, spread=False)
    assert torch.equal(raw, eb.explain(model, images, [2], layer="5").maps)
    paper = MethodAttribution(model, "gradient", steps=find_method("gradient").steps)
    assert torch.equal(paper.attribute(images, 1, spread=False), blur(find_method("gradient")(model, images, [1])))


def test_units_of_a_score_map(images):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).double().eval()
    ours = MethodAttribution(model, "gradient")
    for target in ((1, 4, 7), [(1, 4, 7), (0, 0, 0), (1, 15, 15)]):
        theirs = captum.Saliency(model).attribute(images.clone().requires_grad_(True), target=target)
        assert torch.allclose(ours.attribute(images, target).sum(1), theirs.amax(1), rtol=1e-10, atol=1e-14)
    with pytest.raises(eb.TargetError, match=r"\(1, 4, 16\) is no unit of scores of shape \(2, 16, 16\)"):
        ours.attribute(images, (1, 4, 16))


def test_infidelity_as_computed_by_hand(images):
    """`E (sum of perturbation * attribution - fall of the score)^2`, on networks of every kind of method."""
    model, targets = pooled(2), torch.tensor([0, 3, 1])
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(2, *images.shape, generator=generator, dtype=torch.float64) * 0.1
    for name in ("gradient", "c-mwp", "grad-cam"):
        ours = MethodAttribution(model, name)
        attributions = ours.attribute(images, targets)
        drawn = noise.clone()

        def perturb(inputs, drawn=drawn):
            # Captum lays the samples of one image next to each other.
            some = drawn.transpose(0, 1).reshape(inputs.shape)
            return some, inputs - some

        found = metrics.infidelity(ours.forward_func, perturb, images, attributions, target=targets,
                                   n_perturb_samples=2)  # fmt: skip
        truth = torch.zeros(3, dtype=torch.float64)
        maps = find_method(name)(model, images, [[0], [3], [1]])
        maps = torch.nn.functional.interpolate(maps, (20, 20), mode="bicubic") if maps.shape[-1] < 20 else maps
        with torch.no_grad():
            for some in noise:
                fall = (model(images) - model(images - some))[range(3), targets]
                truth += ((some.mean(1) * maps[:, 0]).sum((1, 2)) - fall) ** 2 / 2
        assert torch.allclose(found, truth, rtol=1e-9)


def test_a_linear_networks_gradient_times_input_has_no_infidelity():
    """With one channel nothing is lost by summing: Captum's own criterion is met exactly."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).double().eval()
    images = torch.rand(2, 1, 6, 6, dtype=torch.float64)
    ours = MethodAttribution(model, "input-x-gradient")
    found = metrics.infidelity(ours.forward_func, lambda x: (torch.ones_like(x), torch.zeros_like(x)), images,
                               ours.attribute(images, 1), target=1, n_perturb_samples=1)  # fmt: skip
    with torch.no_grad():
        missing = model(torch.zeros_like(images))[:, 1]
    whole = ours.attribute(images, 1).sum((1, 2, 3))
    assert torch.allclose(whole, model(images)[:, 1].detach() - missing, atol=1e-12)
    assert float(found.max()) < 1e-20


def test_sensitivity_as_computed_by_hand(images):
    model, targets = pooled(0), torch.tensor([0, 3, 1])
    shift = torch.linspace(-0.02, 0.02, 20, dtype=torch.float64)
    for name in ("gradient", "mwp"):
        ours = MethodAttribution(model, name)
        found = metrics.sensitivity_max(ours.attribute, images, lambda x: x + shift, target=targets,
                                        n_perturb_samples=2)  # fmt: skip
        before, after = ours.attribute(images, targets), ours.attribute(images + shift, targets)
        truth = (before - after).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
        assert torch.allclose(found, truth, rtol=1e-9)
        assert float(found.min()) > 0


def test_noise_tunnel_averages_ours_as_its_own():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).double().eval()
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    found = []
    for attribution in (MethodAttribution(model, "gradient"), captum.Saliency(model)):
        torch.manual_seed(3)
        tunnel = captum.NoiseTunnel(attribution)
        found.append(tunnel.attribute(images.clone(), nt_samples=4, stdevs=0.2, target=1))
    assert torch.allclose(found[0], found[1], rtol=1e-10, atol=1e-14)


def test_captums_figure_shows_the_map(images):
    visualization = pytest.importorskip("captum.attr").visualization
    found = MethodAttribution(pooled(1), "c-mwp").attribute(images, 2)[0].permute(1, 2, 0).numpy()
    drawn = Figure()
    axes = drawn.add_subplot()
    visualization.visualize_image_attr(found, method="heat_map", sign="positive", use_pyplot=False,
                                       plt_fig_axis=(drawn, axes), outlier_perc=0)  # fmt: skip
    shown = np.asarray(axes.images[0].get_array())
    truth = find_method("c-mwp")(pooled(1), images, [2])[0]
    assert np.unravel_index(shown.argmax(), shown.shape) == np.unravel_index(found.sum(2).argmax(), shown.shape)
    assert np.allclose(shown, found.sum(2).clip(min=0) / found.sum(2).max(), atol=1e-6)
    assert float(truth.max()) > 0


def test_wrong_questions_get_a_sentence(images):
    ours = MethodAttribution(deep(), "gradient")
    with pytest.raises(eb.TargetError, match="no target is given"):
        ours.attribute(images)
    with pytest.raises(eb.TargetError, match="2 targets are given for 3 images"):
        ours.attribute(images, [0, 1])
    with pytest.raises(eb.TargetError, match="1 targets are given for 3 images"):
        ours.attribute(images, [0])
    with pytest.raises(eb.TargetError, match="target 9 is not a class"):
        ours.attribute(images, 9)
    with pytest.raises(eb.TargetError, match="a tensor of integers, one per image"):
        ours.attribute(images, torch.rand(3))
    with pytest.raises(eb.ExcitationError, match="2 inputs are given"):
        ours.attribute((images, images), 0)
    with pytest.raises(eb.ExcitationError, match="additional_forward_args"):
        ours.attribute(images, 0, (1,))
    with pytest.raises(eb.ExcitationError, match="no option 'size'"):
        ours.attribute(images, 0, size=3)
    with pytest.raises(eb.ExcitationError, match="spread=False"):
        MethodAttribution(deep(), "mwp", layer="5", steps=()).attribute(images, 0)
    with pytest.raises(eb.ExcitationError, match="unknown method 'gradeint'"):
        MethodAttribution(deep(), "gradeint")
