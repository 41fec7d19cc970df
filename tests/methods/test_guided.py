"""Guided backpropagation (the paper's Deconv) and deconvolution against the original program and Captum."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from method_networks import deep
from torch import nn

from excitation.core._request import make_request
from excitation.methods import NotApplicableError, find_method
from excitation.methods._gradient_recorder import gradients, record_gradients
from excitation.methods._guided import guided

captum = pytest.importorskip("captum.attr", reason="captum is not installed")
deconv, deconvnet, gradient = find_method("deconv"), find_method("deconvnet"), find_method("gradient")
FOLDER = Path(__file__).parents[2] / ".." / "shared" / "reference" / "caffe_tiny" / "golden_f64.npz"


def nets():
    if not FOLDER.exists():
        return []
    with np.load(FOLDER) as arrays:
        return sorted(json.loads(bytes(arrays["__index__"]).decode()))


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize("seed", range(3))
def test_captum(seed, images, untouched):
    model, theirs = deep(seed), deep(seed, inplace=False)
    check = untouched(model)
    guided, plain = deconv(model, images, list(range(6))), deconvnet(model, images, list(range(6)))
    check()
    for target in range(6):
        truth = captum.GuidedBackprop(theirs).attribute(images.clone().requires_grad_(True), target=target)
        assert torch.allclose(guided[:, target], truth.abs().amax(1), rtol=1e-10, atol=1e-13)
        truth = captum.Deconvolution(theirs).attribute(images.clone().requires_grad_(True), target=target)
        assert torch.allclose(plain[:, target], truth.abs().amax(1), rtol=1e-10, atol=1e-13)
    assert not torch.allclose(guided, plain)


UNRECTIFIED = {
    "avgpool_global", "avgpool_pad", "conv_1x1_pad1_zero_border", "conv_basic", "conv_group2", "conv_negative_input",
    "conv_nonsquare", "conv_stride2_nobias", "conv_zero_norm", "ip_basic", "maxpool_basic", "maxpool_overlap_ceil",
    "sigmoid_tanh_elu",
}  # fmt: skip
"""Nets without a rectified linear unit: the original's Deconv is the gradient there, and ours refuses by that name."""


@pytest.mark.parametrize("net", nets())
def test_the_original_programs_deconv(net, golden):
    from caffe_tiny import Caffe

    model = Caffe(golden, net).double().eval()
    image = golden.array(net, "input")
    signal = golden.array(net, "signal", "onehot").reshape(model(image).shape)
    rectifier, method = (None, gradient) if net in UNRECTIFIED else (guided, deconv)
    if net in UNRECTIFIED:
        with pytest.raises(NotApplicableError, match="such as gradient"):
            deconv(model, image, signal)
    passed = record_gradients(make_request(model, image, signal), None, rectifier=rectifier)  # one pass for all blobs
    compared = 0
    for blob in golden.blobs(net, "dc_onehot"):
        stored = golden.array(net, "dc_onehot", blob)
        if stored.dim() < 3:
            continue
        found = gradients(passed, signal[None], {blob: passed.tensor(model.blob_layer[blob])})[0][0]
        assert float((found - stored).abs().max()) <= 1e-9 * float(stored.abs().max()), blob
        compared += 1
    assert compared >= 1
    data = golden.array(net, "dc_onehot", "data")
    assert torch.allclose(method(model, image, signal)[:, 0], data.abs().amax(1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("job", ["catdog__sq227", "457_bow_tie__sq227"])
def test_real_photos_through_squeezenet(job, photo, shared):
    from squeezenet import load

    image, stored = photo(job)
    keys = [key.split("/") for key in stored.files if key.endswith("/dc")]
    assert len(keys) >= 2
    for head in sorted({key[1] for key in keys}):
        model = load(shared("models/squeezenet_v1.0/weights.npz"), head)
        classes = [int(key[0]) for key in keys if key[1] == head]
        found = deconv(model, image, classes, spatial="softmax")
        for k, label in enumerate(classes):
            truth = stored[f"{label}/{head}/dc"]
            assert np.abs(found[0, k].numpy() - truth).max() <= 1e-6 * truth.max()


class Spelled(nn.Module):
    """Rectifiers in all their spellings."""

    def __init__(self, spell):
        super().__init__()
        self.first, self.second, self.spell = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 2, 3), spell

    def forward(self, x):
        return self.second(self.spell(self.first(x))).mean((2, 3))


SPELLINGS = {
    "method": lambda x: x.relu(),
    "in place": lambda x: x.relu_(),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "threshold": lambda x: nn.functional.threshold(x, 0, 0),
    "hardtanh": lambda x: nn.functional.hardtanh(x, 0.0, 1e9),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("method", [deconv, deconvnet])
def test_rectifiers_in_any_spelling(spelling, method, images):
    torch.manual_seed(0)
    plain = Spelled(torch.relu).double().eval()
    other = Spelled(SPELLINGS[spelling]).double().eval()
    other.load_state_dict(plain.state_dict())
    assert torch.allclose(method(other, images, [0, 1]), method(plain, images, [0, 1]))


def test_the_sign_of_the_signal_decides_by_hand():
    """y = relu(x1) - relu(x2): what reaches x2 is negative, so both methods give it nothing."""
    model = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 2, 1, bias=False), nn.ReLU(),
                          nn.Flatten()).double().eval()  # fmt: skip
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2).reshape(2, 2, 1, 1))
        model[2].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 1.0]]).reshape(2, 2, 1, 1))
    image = torch.tensor([[2.0], [1.0]], dtype=torch.float64).reshape(1, 2, 1, 1)
    assert deconv(model, image, [0]).item() == 1
    assert deconv(model, image, [{0: -1.0}]).item() == 0
    silent = torch.tensor([-2.0, -1.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    assert deconv(model, silent, [0]).item() == 0
    assert deconvnet(model, silent, [0]).item() == 1
