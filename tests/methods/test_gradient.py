"""Gradients against autograd, the original program, and Captum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from method_networks import deep
from torch import nn

import excitation as eb
from excitation.core._request import make_request
from excitation.methods import find_method
from excitation.methods._gradient_recorder import gradients, record_gradients

captum = pytest.importorskip("captum.attr", reason="captum is not installed")
gradient = find_method("gradient")


def by_autograd(model, images, target):
    x = images.clone().requires_grad_(True)
    return torch.autograd.grad(model(x)[:, target].sum(), x)[0]


@pytest.mark.parametrize("seed", range(3))
def test_input_gradient_is_autograds_on_batches_and_targets(seed, images, untouched):
    model = deep(seed)
    check = untouched(model)
    found = gradient(model, images, [0, 4, {1: 0.25, 2: 0.75}])
    mean = gradient(model, images, [4], channels="mean")
    check()
    truth = [by_autograd(model, images, t) for t in (0, 4, 1, 2)]
    truth = [truth[0], truth[1], 0.25 * truth[2] + 0.75 * truth[3]]
    for t, g in enumerate(truth):
        assert torch.allclose(found[:, t], g.abs().amax(1), rtol=1e-12, atol=1e-14)
    assert torch.allclose(mean[:, 0], truth[1].abs().mean(1), rtol=1e-12, atol=1e-14)


def test_inner_layers_even_where_the_next_operation_is_in_place(images):
    model = deep(1, inplace=True)
    for layer in range(9):
        a = model[: layer + 1](images).detach().clone().requires_grad_(True)
        (g,) = torch.autograd.grad(model[layer + 1 :](a * 1)[:, 3].sum(), a)
        found = gradient(model, images, [3], layer=str(layer))
        assert torch.allclose(found[:, 0], g.abs().amax(1), rtol=1e-12, atol=1e-14), layer
    assert float(gradient(model, images, [3], layer=model[5]).amax()) > 0
    by_name = gradient(model, images, [3], layer="5:conv2d")
    assert torch.equal(by_name, gradient(model, images, [3], layer="5"))


def test_captum_saliency(images):
    model = deep(2, inplace=False)
    for target in range(6):
        theirs = captum.Saliency(model).attribute(images.clone().requires_grad_(True), target=target)
        assert torch.allclose(gradient(model, images, [target])[:, 0], theirs.amax(1), rtol=1e-10, atol=1e-13)


def test_names_lists_and_an_image_with_fewer_targets(images):
    model = deep(3)
    names = ["ant", "bee", "cat, kitty", "dog", "elk", "fox"]
    uneven = gradient(model, images, [["bee"], ["kitty", "fox"], [5]], class_names=names)
    assert uneven.shape == (3, 2, 20, 20)
    assert torch.allclose(uneven[1, 1], gradient(model, images, [5])[1, 0])
    assert float(uneven[0, 1].abs().max()) == 0
    assert torch.allclose(uneven[2, 0], gradient(model, images[2:], [5])[0, 0])


def test_callers_without_gradients_and_in_single_precision(images):
    model = deep(4).float()
    with torch.inference_mode():
        inside = gradient(model, images.float(), [1])
    with torch.no_grad():
        outside = gradient(model, images.float(), [1])
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)
    assert float(inside.sum()) > 0


def test_attention_has_gradients_though_no_rules():
    model = nn.Sequential(nn.Flatten(2), nn.TransformerEncoderLayer(16, 2, 8, batch_first=True), nn.Flatten(),
                          nn.Linear(48, 4)).eval()  # fmt: skip
    images = torch.rand(2, 3, 4, 4)
    found = gradient(model, images, [1])
    assert torch.allclose(found[:, 0], by_autograd(model, images, 1).abs().amax(1), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("net", ["mini_alexnet", "mini_googlenet", "mini_resnet", "sigmoid_tanh_elu", "softmax_top"])
def test_the_original_programs_gradients(net, golden):
    from caffe_tiny import Caffe

    compared = 0
    model = Caffe(golden, net).double().eval()
    image = golden.array(net, "input")
    signal = golden.array(net, "signal", "onehot").reshape(model(image).shape)
    passed = record_gradients(make_request(model, image, signal), None)  # one pass for all blobs
    for blob in golden.blobs(net, "grad_onehot"):
        stored = golden.array(net, "grad_onehot", blob)
        if stored.dim() < 3 or stored.shape[2:].numel() == 1:
            continue
        tensor = passed.tensor(model.blob_layer[blob])
        found = gradients(passed, signal[None], {blob: tensor})[0][0]
        assert float((found - stored).abs().max()) <= 1e-9 * float(stored.abs().max()), blob
        compared += 1
    assert compared >= 2
    data = golden.array(net, "grad_onehot", "data")
    assert torch.allclose(gradient(model, image, signal)[:, 0], data.abs().amax(1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("job", ["catdog__sq227", "879_umbrella__sq227"])
def test_real_photos_through_squeezenet(job, photo, shared):
    from squeezenet import load

    image, stored = photo(job)
    keys = [key.split("/") for key in stored.files if key.endswith("/grad")]
    assert len(keys) >= 2
    for head in sorted({key[1] for key in keys}):
        model = load(shared("models/squeezenet_v1.0/weights.npz"), head)
        classes = [int(key[0]) for key in keys if key[1] == head]
        found = gradient(model, image, classes, spatial="softmax")
        for k, label in enumerate(classes):
            truth = stored[f"{label}/{head}/grad"]
            assert np.abs(found[0, k].numpy() - truth).max() <= 1e-6 * truth.max()


def test_wrong_questions_get_a_sentence(images):
    model = deep()
    with pytest.raises(eb.ExcitationError, match="no option 'size'"):
        gradient(model, images, [0], size=3)
    with pytest.raises(eb.ExcitationError, match="choose one of 'max', 'mean'"):
        gradient(model, images, [0], channels="all")
    with pytest.raises(eb.LayerError, match="no layer 'nine'"):
        gradient(model, images, [0], layer="nine")
    with pytest.raises(eb.LayerError, match="no spatial axes"):
        gradient(model, images, [0], layer="11")
    with pytest.raises(eb.ExcitationError, match="Nearest: 'gradient'"):
        find_method("gradeint")
    with pytest.raises(eb.TrainingModeError, match="eval"):
        gradient(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Dropout(), nn.Flatten(), nn.Linear(1, 2)).train().double(),
                 images, [0])  # fmt: skip


class Detour(nn.Module):
    def __init__(self):
        super().__init__()
        self.main, self.side = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x):
        self.side(x)
        return self.main(x).mean((2, 3))


def test_a_layer_the_scores_do_not_depend_on(images):
    with pytest.raises(eb.LayerError, match="do not depend on layer 'side'"):
        gradient(Detour().double().eval(), images, [0], layer="side")
