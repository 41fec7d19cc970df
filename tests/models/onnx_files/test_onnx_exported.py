"""Networks written by PyTorch's exporter are explained like their originals."""

from __future__ import annotations

import io
import warnings

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("onnx", reason="onnx is not installed", exc_type=ImportError)

import onnx

import excitation as eb
from excitation.models import ModelError


def exported(model, path, opset, *, batch=1, size=64, dynamic=True):
    """The file that PyTorch's exporter writes, loaded."""
    axes = {"x": {0: "n"}} if dynamic else {}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        torch.onnx.export(
            model, (torch.randn(batch, 3, size, size),), buffer, opset_version=opset, dynamo=False, input_names=["x"],
            output_names=["y"], dynamic_axes=axes,
        )  # fmt: skip
    path.write_bytes(buffer.getvalue())
    return eb.load_model(f"onnx:{path}")


def kinds(path):
    return {node.op_type for node in onnx.load(path).graph.node}


def mobilenet():
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed", exc_type=ImportError)
    model = models.mobilenet_v3_small(num_classes=5)
    with torch.no_grad():
        model(torch.randn(8, 3, 64, 64))  # statistics as after some training
    return model.eval()


def convnext():
    convnext = pytest.importorskip("torchvision.models.convnext", reason="no torchvision", exc_type=ImportError)
    settings = [convnext.CNBlockConfig(8, 16, 1), convnext.CNBlockConfig(16, None, 1)]
    return convnext.ConvNeXt(settings, num_classes=5, layer_scale=1.0).eval()


@pytest.mark.parametrize(
    ("build", "opset", "written"),
    [
        (mobilenet, 12, "HardSigmoid"), (mobilenet, 13, "HardSigmoid"), (mobilenet, 14, "HardSwish"),
        (convnext, 16, "Sqrt"), (convnext, 17, "LayerNormalization"), (convnext, 20, "Gelu"),
    ],
)  # fmt: skip
def test_like_the_original(build, opset, written, tmp_path):
    model, images = build(), torch.randn(2, 3, 64, 64)
    loaded = exported(model, tmp_path / "m.onnx", opset)
    assert written in kinds(tmp_path / "m.onnx"), "the exporter writes this opset in another way than the test is about"
    ours = eb.explain(loaded, images, [0, 3], layer="input")
    theirs = eb.explain(model, images, [0, 3], layer="input")
    torch.testing.assert_close(ours.scores, theirs.scores, rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(ours["input"], theirs["input"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.share["input"], theirs.share["input"], rtol=1e-5, atol=1e-5)
    assert float(theirs.share["input"].min()) > 0.2


class Written(torch.nn.Module):
    """One activation between two convolutions."""

    def __init__(self, function):
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 2, 3)
        self.function = function

    def forward(self, x):
        return self.b(self.function(self.a(x))).mean((2, 3))


FUSED = {
    "hard swish": (F.hardswish, "HardSwish"),
    "hard swish, divided last": (lambda x: x * F.relu6(x + 3) / 6, "HardSwish"),
    "hard swish, divided first": (lambda x: x * (F.relu6(x + 3) / 6), "HardSwish"),
    "hard swish, the other way round": (lambda x: F.relu6(3 + x) * x / 6, "HardSwish"),
    "gelu": (F.gelu, "Gelu"),
    "gelu, half first": (lambda x: (x * 0.5) * (torch.erf(x / 2**0.5) + 1), "Gelu"),
    "gelu, half inside": (lambda x: x * ((1 + torch.erf(x * 0.5**0.5)) * 0.5), "Gelu"),
    "layer norm": (lambda x: F.layer_norm(x, (10, 10)), "LayerNormalization"),
}

KEPT = {
    "another slope": lambda x: x * F.relu6(x + 3) / 5,
    "another shift": lambda x: x * F.relu6(x + 2.5) / 6,
    "another limit": lambda x: x * torch.clamp(x + 3, 0, 5) / 6,
    "another factor": lambda x: F.relu(x) * F.relu6(x + 3) / 6,
    "another root": lambda x: (x * 0.5) * (torch.erf(x / 1.4) + 1),
    "another one": lambda x: (x * 0.5) * (torch.erf(x / 2**0.5) + 1.01),
    "a part used elsewhere": lambda x: (lambda part: x * part / 6 + part)(F.relu6(x + 3)),
}


@pytest.mark.parametrize("name", FUSED)
def test_a_function_that_the_exporter_spelled_out_is_one_again(name, tmp_path):
    function, kind = FUSED[name]
    model, images = Written(function).eval(), torch.randn(2, 3, 12, 12) * 3
    loaded = exported(model, tmp_path / "m.onnx", 13, size=12)
    calls = [step.call.kind for step in loaded.model.steps]
    assert kind in calls
    assert not {"Mul", "Div", "Add", "Sqrt", "Erf"} & set(calls)
    torch.testing.assert_close(loaded.model(images), model(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", KEPT)
def test_what_only_looks_like_it_stays_as_written(name, tmp_path):
    model, images = Written(KEPT[name]).eval(), torch.randn(2, 3, 12, 12) * 3
    loaded = exported(model, tmp_path / "m.onnx", 13, size=12)
    assert not {"HardSwish", "Gelu"} & {step.call.kind for step in loaded.model.steps}
    torch.testing.assert_close(loaded.model(images), model(images), rtol=1e-5, atol=1e-6)


class Flat(torch.nn.Module):
    def __init__(self, flat):
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(400, 2)
        self.flat = flat

    def forward(self, x):
        return self.b(self.flat(F.relu(self.a(x))))


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize(
    "flat", [lambda x: x.flatten(1), lambda x: x.view(x.size(0), -1), lambda x: x.reshape(-1, 400),
             lambda x: x.view(x.size(0), 4, -1).transpose(1, 2).reshape(x.size(0), 400)]
)  # fmt: skip
def test_any_number_of_pictures(flat, dynamic, tmp_path):
    """Also where the exporter wrote the one picture that it traced into a reshape."""
    model = Flat(flat).eval()
    loaded = exported(model, tmp_path / "m.onnx", 13, size=12, dynamic=dynamic)
    for count in (1, 2, 5):
        images = torch.randn(count, 3, 12, 12)
        torch.testing.assert_close(loaded.model(images), model(images), rtol=1e-5, atol=1e-6)
    ours = eb.explain(loaded, torch.randn(2, 3, 12, 12), [0], layer="input").maps
    assert ours.shape == (2, 1, 12, 12)


def test_a_number_of_pictures_that_cannot_be_freed_is_refused_with_the_remedy(tmp_path):
    model = Flat(lambda x: x.permute(1, 0, 2, 3).reshape(4, 1, 100).permute(1, 0, 2).reshape(1, 400)).eval()
    loaded = exported(model, tmp_path / "m.onnx", 13, size=12)
    loaded.model(torch.randn(1, 3, 12, 12))
    with pytest.raises(ModelError, match=r"only takes 1 at a time, because .* marked dynamic, and write -1"):
        loaded.model(torch.randn(2, 3, 12, 12))


def test_a_vision_transformer_runs_like_the_original(tmp_path):
    """Attention is refused by the engine, but the file is read: maps above it can be had."""
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed", exc_type=ImportError)
    model = models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3
    )
    torch.nn.init.normal_(model.heads.head.weight)
    loaded = exported(model.eval(), tmp_path / "m.onnx", 17, size=32)
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(loaded.model(images), model(images), rtol=1e-4, atol=1e-5)
