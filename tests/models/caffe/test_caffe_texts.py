"""What a prototxt can say: dialects, inputs, phases, blobs in place and shared; and where files do not fit."""

from __future__ import annotations

import subprocess
import sys

import caffe_wire as wire
import numpy as np
import pytest
import torch

import excitation as eb
from excitation.models import _catalogue
from excitation.models.caffe import load_caffe

INPUT = 'input: "data" input_shape { dim: 1 dim: 3 dim: 6 dim: 7 }\n'
SHAPE = "convolution_param { num_output: 4 kernel_size: 3 }"
CONV = f'layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" {SHAPE} }}\n'
RELU = 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }\n'
FC = 'layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 5 } }\n'
WEIGHT, BIAS = np.arange(108).reshape(4, 3, 3, 3) / 100 - 0.5, np.array([0.25, -1, 2, 0])


def read(tmp_path, text, weights=None):
    (tmp_path / "net.prototxt").write_text(text)
    if weights is None:
        return load_caffe(tmp_path / "net.prototxt")
    (tmp_path / "net.caffemodel").write_bytes(weights)
    return load_caffe(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")


def same(first, second, shape=(2, 3, 6, 7)):
    image = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        return torch.equal(first.model.double()(image), second.model.double()(image))


INPUTS = {
    "input_dim": 'input: "data" input_dim: 1 input_dim: 3 input_dim: 6 input_dim: 7',
    "Input layer": 'layer { name: "in" type: "Input" top: "data"'
    " input_param { shape { dim: 9 dim: 3 dim: 6 dim: 7 } } }",
    "MemoryData": 'layer { name: "in" type: "MemoryData" top: "data" top: "label"'
    " memory_data_param { batch_size: 4 channels: 3 height: 6 width: 7 } }",
    "DummyData": 'layer { name: "in" type: "DummyData" top: "data"'
    " dummy_data_param { shape { dim: 1 dim: 3 dim: 6 dim: 7 } } }",
    "old DummyData": 'layer { name: "in" type: "DummyData" top: "data"'
    " dummy_data_param { num: 1 channels: 3 height: 6 width: 7 data_filler { type: \"xavier\" } } }",
    "ImageData": 'layer { name: "in" type: "ImageData" top: "data" top: "label"'
    ' image_data_param { source: "list.txt" new_height: 6 new_width: 7 shuffle: true } }',
    "name without a size": 'input: "data" layer { name: "in" type: "Input" top: "data"'
    " input_param { shape { dim: [1, 3, 6, 7] } } }",
    "two inputs": 'input: "label" input: "data" input_shape { dim: 1 } input_shape { dim: 1 dim: 3 dim: 6 dim: 7 }',
}  # fmt: skip


@pytest.mark.parametrize("form", INPUTS)
def test_input_forms(tmp_path, form):
    found = read(tmp_path, f"{INPUTS[form]}\n{CONV}{RELU}{FC}")
    assert found.model.shape == (3, 6, 7)
    assert found.preprocessing.size == (6, 7)
    assert found.preprocessing.resize == "squash"
    assert same(found, read(tmp_path, INPUT + CONV + RELU + FC))


def test_data_layer_brings_size_mean_and_scale(tmp_path):
    source = 'data_param { source: "x" backend: LMDB batch_size: 8 }'
    data = f'layer {{ name: "data" type: "Data" top: "data" top: "label" {source}'
    found = read(tmp_path, data + " transform_param { crop_size: 6 mirror: false mean_value: 10 scale: 0.5 } }" + CONV)
    assert found.preprocessing.size == (6, 6)
    assert found.preprocessing.mean == (10, 10, 10)
    # Caffe subtracts before it scales: half of what is left, so divided by two.
    assert (found.preprocessing.scale, found.preprocessing.std) == (1, (2, 2, 2))
    means = "mean_value: 1 mean_value: 2 mean_value: 3"
    assert read(tmp_path, f"{data} transform_param {{ crop_size: 6 {means} }} }}" + CONV).preprocessing.mean == (
        1,
        2,
        3,
    )
    with pytest.raises(eb.ExcitationError, match="how large the pictures"):
        read(tmp_path, data + " }" + CONV)


def test_networks_that_take_any_size_see_whole_pictures(tmp_path):
    assert read(tmp_path, INPUT + CONV).preprocessing.resize == "shortest"
    assert read(tmp_path, INPUT + CONV + FC).preprocessing.resize == "squash"
    flat = 'layer { name: "f" type: "Flatten" bottom: "conv" top: "f" }'
    assert read(tmp_path, INPUT + CONV + flat).preprocessing.resize == "squash"


OLD = """
input: "data" input_dim: 1 input_dim: 3 input_dim: 6 input_dim: 7
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2
  convolution_param { num_output: 4 kernel_size: 3 } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "drop" type: DROPOUT bottom: "conv" top: "conv" dropout_param { dropout_ratio: 0.5 } }
layers { name: "fc" type: INNER_PRODUCT bottom: "conv" top: "fc" inner_product_param { num_output: 5 } }
"""


def test_old_dialect(tmp_path):
    assert same(read(tmp_path, OLD), read(tmp_path, INPUT + CONV + RELU + FC))
    for kind in (
        "ABSVAL", "ARGMAX", "BNLL", "CONCAT", "ELTWISE", "EXP", "FLATTEN", "LRN", "POWER", "SIGMOID", "SLICE",
        "SOFTMAX", "SPLIT", "TANH",
    ):  # fmt: skip
        read(tmp_path, f'{OLD} layers {{ name: "x" type: {kind} bottom: "conv" top: "x" }}')
    with pytest.raises(eb.ExcitationError, match=r"'x' \(MVN, line 9 of net.prototxt\)"):
        read(tmp_path, f'{OLD}\nlayers {{ name: "x" type: MVN bottom: "conv" top: "x" }}')
    with pytest.raises(eb.ExcitationError, match="dialect before 2014"):
        read(tmp_path, 'input: "data" input_dim: [1, 3, 6, 7] layers { layer { name: "conv" type: "conv" } }')


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_weights_of_every_form(tmp_path, old, legacy, double, packed):
    blobs = [wire.blob(item, legacy=legacy, double=double, packed=packed) for item in (WEIGHT, BIAS)]
    # Fields of which the reader knows nothing lie around: a number, a text, and the gradients.
    noise = wire.number(10, 1) + wire.chunk(2000, "noise")
    blobs = [item + wire.chunk(6, b"\0" * 8) for item in blobs]
    weights = wire.chunk(1, "net") + noise + (wire.old_layer if old else wire.layer)("conv", *blobs)
    model = read(tmp_path, INPUT + CONV, weights).model
    assert model.conv.weight.dtype == torch.float32
    np.testing.assert_array_equal(model.conv.weight.detach().numpy(), np.float32(WEIGHT))
    np.testing.assert_array_equal(model.conv.bias.detach().numpy(), np.float32(BIAS))
    if double:
        exact = load_caffe(tmp_path / "net.prototxt", tmp_path / "net.caffemodel", dtype=torch.float64).model
        np.testing.assert_array_equal(exact.conv.weight.detach().numpy(), WEIGHT)


def test_inner_products_of_old_files_have_four_dimensions(tmp_path):
    weight, bias = np.ones((5, 80)), np.zeros(5)
    conv = wire.layer("conv", wire.blob(WEIGHT), wire.blob(BIAS))
    weights = conv + wire.old_layer("fc", wire.blob(weight, legacy=True), wire.blob(bias, legacy=True))
    assert read(tmp_path, INPUT + CONV + FC, weights).model.fc.weight.shape == (5, 80)


def test_phases(tmp_path):
    def with_rules(*rules):
        layers = "".join(
            f'layer {{ name: "r{i}" type: "Power" bottom: "data" top: "y" power_param {{ scale: {i + 2} }} {rule} }}\n'
            for i, rule in enumerate(rules)
        )
        return read(tmp_path, INPUT + layers).model

    train, test = "include { phase: TRAIN }", "include { phase: TEST }"
    for rules, left in (
        ((train, test), "r1"),
        ((test, "exclude { phase: TEST }"), "r0"),
        (("exclude { phase: TRAIN }", "include { stage: \"deploy\" }"), "r0"),
        (("include { not_stage: \"deploy\" }", "include { min_level: 1 }"), "r0"),
        (("include { phase: TRAIN } include { max_level: 3 }", train), "r0"),
        (("exclude { phase: TEST stage: \"other\" }", train), "r0"),
    ):  # fmt: skip
        assert [name for name, _ in with_rules(*rules).named_children()] == [left]
    staged = (
        'state { level: 2 stage: "deploy" }'
        + INPUT
        + CONV.replace("name:", 'include { stage: "deploy" min_level: 2 } name:')
    )
    assert read(tmp_path, staged).model.conv is not None
    with pytest.raises(eb.ExcitationError, match="both include and exclude"):
        with_rules("include { phase: TEST } exclude { phase: TRAIN }")


TRAINING = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } transform_param { crop_size: 30 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST } transform_param { crop_size: 8 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } param { lr_mult: 2 }
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "aux" type: "InnerProduct" bottom: "conv" top: "aux" inner_product_param { num_output: 3 } }
layer { name: "loss1" type: "SoftmaxWithLoss" bottom: "aux" bottom: "label" top: "loss1" loss_weight: 0.3 }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "top1" type: "Accuracy" bottom: "fc" bottom: "label" top: "top1" accuracy_param { top_k: 5 } }
"""


def test_training_networks_leave_their_losses_behind(tmp_path):
    found = read(tmp_path, TRAINING)
    assert [name for name, _ in found.model.named_children()] == ["conv", "aux", "fc"]
    scores = found.model(torch.rand(1, 3, 8, 8))
    assert list(scores) == ["aux", "fc"]
    assert found.output == "fc"
    assert eb.explain(found.model, torch.rand(1, 3, 8, 8), [2], layer="conv", output=found.output).maps.shape == (
        1,
        1,
        6,
        6,
    )
    silent = TRAINING + 'layer { name: "hush" type: "Silence" bottom: "aux" }'
    assert read(tmp_path, silent).model(torch.rand(1, 3, 8, 8)).shape == (1, 3)


def test_layers_in_place_and_branches_before_them(tmp_path):
    """A branch that leaves before a blob is changed in place sees it unchanged, as Caffe's Split gives it."""
    before = 'layer { name: "before" type: "Power" bottom: "conv" top: "before" }\n'
    after = 'layer { name: "after" type: "Power" bottom: "conv" top: "after" }\n'
    model = read(tmp_path, INPUT + CONV + before + RELU + after).model
    made = model(torch.randn(2, 3, 6, 7))
    assert (made["before"] < 0).any()
    assert torch.equal(made["before"].relu(), made["after"])


def test_shared_parameters(tmp_path):
    def conv(name, bottom, share):
        param = f'param {{ name: "w" {share} }} param {{ name: "b" }}'
        shape = "convolution_param { num_output: 3 kernel_size: 1 }"
        return f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" {param} {shape} }}\n'

    text = INPUT + conv("one", "data", "") + conv("two", "one", "share_mode: PERMISSIVE")
    weight, bias = np.arange(9).reshape(3, 3, 1, 1) / 4, np.array([1, 2, 3])
    for count in (1, 2):
        layers = [wire.layer(name, wire.blob(weight), wire.blob(bias)) for name in ("one", "two")[:count]]
        model = read(tmp_path, text, b"".join(layers)).model
        assert model.one.weight is model.two.weight
        assert model.one.bias is model.two.bias
        assert len(list(model.parameters())) == 2
        model.double()
        assert model.one.weight is model.two.weight
        image = torch.randn(2, 3, 6, 7, dtype=torch.float64)
        again = model.two(model.one(image))
        assert torch.equal(model(image), again)
    with pytest.raises(eb.ExcitationError, match="shares 'w' with layer 'one'"):
        read(tmp_path, text.replace("num_output: 3", "num_output: 2", 1))
    old = OLD.replace('name: "conv"', 'name: "conv" param: "w" param: "b"')
    assert read(tmp_path, old).model.conv.weight.shape == (4, 3, 3, 3)


def test_names_that_pytorch_does_not_take(tmp_path):
    names = ["a.b", "a_b", "fire2/expand", "forward", "type", "input", "x:y", "n#2", "training"]
    layers, bottom = "", "data"
    for name in names:
        layers += (
            f'layer {{ name: "{name}" type: "Power" bottom: "{bottom}" top: "t{name}" power_param {{ shift: 1 }} }}\n'
        )
        bottom = f"t{name}"
    model = read(tmp_path, INPUT + layers).model
    children = [name for name, _ in model.named_children()]
    assert children == ["a_b", "a_b_", "fire2/expand", "forward_", "type_", "input_", "x_y", "n_2", "training_"]
    image = torch.zeros(1, 3, 6, 7)
    assert torch.equal(model(image), image + 9)
    assert {"fire2/expand", "input_"} <= {layer.name for layer in eb.list_layers(model, image)}


def test_without_weights_the_network_is_the_same_each_time(tmp_path):
    state = torch.get_rng_state()
    first, second = (read(tmp_path, INPUT + CONV + RELU + FC) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert same(first, second)
    assert float(first.model.conv.weight.detach().std()) == pytest.approx((2 / 27) ** 0.5, rel=0.2)
    assert not first.model.training


def test_wrong_images_get_one_sentence(tmp_path):
    model = read(tmp_path, INPUT + CONV).model
    for shape in ((1, 4, 6, 7), (3, 6, 7)):
        with pytest.raises(eb.ExcitationError, match="takes"):
            model.forward(torch.zeros(shape))


BROKEN = {
    "nothing": ("", "no input"),
    "no layers": (INPUT, "holds no layer"),
    "syntax": (INPUT + CONV.replace('type: "Conv', 'type: Conv'), "line 2"),
    "open": (INPUT + "layer {\n name: 'x'\n", "line"),
    "option": (INPUT + CONV + CONV.replace("kernel_size", "kernal_size"), "line 3: .*'kernal_size'"),
    "options": (INPUT + CONV + RELU.replace("top", "relu_parm { negative_slope: 1 } top"), "'relu_parm' is not known"),
    "another word": (INPUT + CONV.replace("layer", "Layer"), "line 2: a network has no 'Layer'"),
    "list": (INPUT + "layer: [{ name: 'a' } { name: 'b' }]", "line 2: .*',' or ']' is expected"),
    "extension": (INPUT + "[caffe.more]: 1\n" + CONV, "line 2: .*name is in brackets"),
    "option in a list": (INPUT + "layer: [" + CONV[6:].replace("kernel_size", "kernal_size") + "]", "'kernal_size'"),
    "unknown bottom": (INPUT + CONV.replace('bottom: "data"', 'bottom: "dat"'), "'dat', which nothing makes"),
    "later bottom": (INPUT + CONV.replace('bottom: "data"', 'bottom: "fc"') + FC, "which only layer 'fc'"),
    "own bottom": (INPUT + RELU, "'conv', which only layer 'relu'"),
    "made twice": (INPUT + CONV + CONV, "already made"),
    "no top": (INPUT + CONV.replace('top: "conv"', ""), "has no top"),
    "no type": (INPUT + CONV.replace('type: "Convolution"', ""), "no type"),
    "mixed": (INPUT + CONV + 'layers { name: "x" type: RELU bottom: "conv" top: "x" }', "mixes the dialects"),
    "two sizes": (INPUT + "input_dim: 1\n" + CONV, "both input_dim and input_shape"),
    "no size": ('input: "data"' + CONV, "1 inputs and gives 0 sizes"),
    "three sizes": ('input: "data" input_dim: 1 input_dim: 3 input_dim: 6 ' + CONV, "four input_dim"),
    "zero": (INPUT.replace("dim: 6", "dim: 0") + CONV, "each at least 1"),
    "negative": (INPUT.replace("dim: 6", "dim: -6") + CONV, "each at least 1"),
    "label": ('input: "data" input: "label" input_shape { dim: 1 dim: 3 dim: 6 dim: 7 } input_shape { dim: 1 }'
              + CONV.replace('bottom: "data"', 'bottom: "label"'), "which a picture does not give"),
    "loss": (INPUT + CONV + 'layer { name: "l" type: "EuclideanLoss" bottom: "conv" top: "l" }'
             + RELU.replace("conv", "l"), "not computed"),
    "same name": (INPUT + INPUT + CONV, "two inputs have one name"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_texts(tmp_path, case):
    text, words = BROKEN[case]
    with pytest.raises(eb.ExcitationError, match=words) as caught:
        read(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 1
    assert "net.prototxt" in str(caught.value)


MISFITS = {
    "other layer": (wire.layer("other", wire.blob(WEIGHT), wire.blob(BIAS)), "no weights for it"),
    "no bias": (wire.layer("conv", wire.blob(WEIGHT)), "1 blobs for it, 2 expected"),
    "shape": (wire.layer("conv", wire.blob(WEIGHT.reshape(4, 27)), wire.blob(BIAS)), r"\(4, 27\), \(4, 3, 3, 3\) exp"),
    "legacy": (wire.layer("conv", wire.blob(WEIGHT[:2], legacy=True), wire.blob(BIAS)), r"\(2, 3, 3, 3\)"),
    "missing": (wire.layer("conv", wire.blob(WEIGHT.ravel()[:5], shape=WEIGHT.shape), wire.blob(BIAS)), "5 numbers"),
    "empty": (wire.layer("conv", wire.blob([], shape=WEIGHT.shape), wire.blob(BIAS)), "0 numbers, 108 expected"),
    "half": (
        wire.layer("conv", wire.chunk(5, b"123") + wire.chunk(7, wire.number(1, 4)), wire.blob(BIAS)), r"\(4,\)",
    ),
    "within": (
        wire.layer("conv", wire.blob(WEIGHT), wire.chunk(5, b"x" * 15) + wire.chunk(7, wire.number(1, 4))),
        "within a number",
    ),
    "terabytes": (wire.layer("conv", wire.blob([1], shape=(1 << 40, 3, 3, 3)), wire.blob(BIAS)), "1099511627776"),
    "infinite": (wire.layer("conv", wire.blob(WEIGHT), wire.blob([1, np.inf, 0, 0])), "NaN or infinite"),
    "no layers": (wire.chunk(1, "net"), "holds no layers"),
    "nothing": (b"", "holds no layers"),
    "ancient": (wire.chunk(2, wire.chunk(1, wire.chunk(1, "conv"))), "before 2014"),
    "text": ((INPUT + CONV).encode(), "no caffemodel"),
    "cut": (wire.layer("conv", wire.blob(WEIGHT), wire.blob(BIAS))[:-7], "damaged or cut short"),
    "long": (wire.varint(100 << 3 | 2) + wire.varint(1 << 45) + b"xx", "damaged or cut short"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_files_that_do_not_fit(tmp_path, case):
    weights, words = MISFITS[case]
    with pytest.raises(eb.ExcitationError, match=words) as caught:
        read(tmp_path, INPUT + CONV, weights)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_files(tmp_path):
    with pytest.raises(eb.ExcitationError, match="cannot be read"):
        load_caffe(tmp_path / "none.prototxt")
    with pytest.raises(eb.ExcitationError, match="cannot be read"):
        load_caffe(tmp_path)
    (tmp_path / "net.prototxt").write_text(INPUT + CONV)
    with pytest.raises(eb.ExcitationError, match=r"caffemodel .* cannot be read"):
        load_caffe(tmp_path / "net.prototxt", tmp_path / "none.caffemodel")


def test_spec(tmp_path):
    (tmp_path / "a.prototxt").write_text(INPUT + CONV)
    (tmp_path / "a.caffemodel").write_bytes(wire.layer("conv", wire.blob(WEIGHT), wire.blob(BIAS)))
    spec = f"caffe:{tmp_path}/a.prototxt,{tmp_path}/a.caffemodel"
    assert _catalogue.load_model(spec).spec == spec
    assert _catalogue.model_files(spec) == [tmp_path / "a.prototxt", tmp_path / "a.caffemodel"]
    for wrong in ("caffe:", "caffe:a.prototxt", "caffe:,x", "caffe:x,"):
        with pytest.raises(eb.ExcitationError, match="caffe:PROTOTXT,CAFFEMODEL"):
            _catalogue.load_model(wrong)


def test_missing_protobuf_is_named():
    code = (
        "import sys; sys.modules['google.protobuf'] = None\n"
        "from excitation.models._catalogue import load_model\n"
        "try: load_model('caffe:a,b')\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install excitation[caffe]" in done.stdout
