"""Every layer against one-number-at-a-time arithmetic, in both precisions' reach, and its refusals."""

from __future__ import annotations

import itertools

import caffe_naive as naive
import caffe_wire as wire
import numpy as np
import pytest
import torch

import excitation as eb
from excitation.models.caffe import load_caffe


def normal(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32).astype(np.float64)


def load(tmp_path, body, shape, blobs=(), name="x"):
    """A network of one layer `x` (or as written) on an input of a shape, in double precision."""
    dims = " ".join(f"dim: {size}" for size in shape)
    text = f'input: "data" input_shape {{ {dims} }}\n{body}'
    (tmp_path / "net.prototxt").write_text(text)
    if not blobs:
        return load_caffe(tmp_path / "net.prototxt").model.double()
    (tmp_path / "net.caffemodel").write_bytes(wire.layer(name, *(wire.blob(item) for item in blobs)))
    return load_caffe(tmp_path / "net.prototxt", tmp_path / "net.caffemodel").model.double()


def one(kind, options="", tops='top: "x"'):
    return f'layer {{ name: "x" type: "{kind}" bottom: "data" {tops} {options} }}'


def run(model, *arrays):
    with torch.no_grad():
        result = model(*(torch.from_numpy(array) for array in arrays))
    return {key: value.numpy() for key, value in result.items()} if isinstance(result, dict) else result.numpy()


POOLS = [
    case
    for case in itertools.product((5, 6, 7), (1, 2, 3, 4), (1, 2, 3), (0, 1, 2, 3))
    if case[3] < case[1] and case[2] <= case[1]
]


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_pooling(tmp_path, method):
    assert len(POOLS) > 50
    for size, kernel, stride, pad in POOLS:
        x = normal(2, 3, size, size + 1)
        options = f"pooling_param {{ pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad} }}"
        found = run(load(tmp_path, one("Pooling", options), x.shape), x)
        wanted = naive.pool(x, (kernel,) * 2, (stride,) * 2, (pad,) * 2, method)
        assert found.shape == wanted.shape, (size, kernel, stride, pad)
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_pooling_with_sides_of_their_own(tmp_path, method):
    x = normal(1, 2, 9, 11)
    options = f"pooling_param {{ pool: {method} kernel_h: 3 kernel_w: 4 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 3 }}"
    found = run(load(tmp_path, one("Pooling", options), x.shape), x)
    np.testing.assert_allclose(found, naive.pool(x, (3, 4), (2, 3), (1, 3), method), rtol=1e-12, atol=1e-14)


def test_pooling_over_everything_at_any_size(tmp_path):
    for method, expected in (("MAX", np.max), ("AVE", np.mean)):
        model = load(tmp_path, one("Pooling", f"pooling_param {{ pool: {method} global_pooling: true }}"), (1, 3, 5, 6))
        for x in (normal(2, 3, 5, 6), normal(1, 3, 8, 4)):
            np.testing.assert_allclose(run(model, x), expected(x, (2, 3), keepdims=True), rtol=1e-12)


def test_pooling_rounding_down(tmp_path):
    x = normal(1, 2, 8, 8)
    for option in ("round_mode: FLOOR", "ceil_mode: false"):
        options = f"pooling_param {{ pool: AVE kernel_size: 3 stride: 2 {option} }}"
        found = run(load(tmp_path, one("Pooling", options), x.shape), x)
        np.testing.assert_allclose(found, naive.pool(x, (3, 3), (2, 2), (0, 0), "AVE")[:, :, :3, :3], rtol=1e-12)


def test_wide_maxima_are_won_by_neurons(tmp_path):
    """With padding of more than half a window no mass may go into the padding."""
    text = (
        one("Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 2 }", 'top: "p"')
        + 'layer { name: "fc" type: "InnerProduct" bottom: "p" top: "fc" inner_product_param { num_output: 2 } }'
    )
    model = load(tmp_path, text, (1, 2, 6, 6))
    image = torch.rand(1, 2, 6, 6, dtype=torch.float64)
    assert float(eb.explain(model, image, [1], layer="input").maps.sum()) == pytest.approx(1, abs=1e-12)


CONVOLUTIONS = {
    "plain": ("num_output: 4 kernel_size: 3", (3, 3), (1, 1), (0, 0), (1, 1), 1),
    "stride": ("num_output: 4 kernel_size: 3 stride: 2 pad: 1", (3, 3), (2, 2), (1, 1), (1, 1), 1),
    "sides": (
        "num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 0 pad_w: 2", (3, 2), (2, 1), (0, 2),
        (1, 1), 1,
    ),
    "twice": (
        "num_output: 4 kernel_size: 3 kernel_size: 1 pad: 1 pad: 0 stride: 1 stride: 3", (3, 1), (1, 3), (1, 0), (1, 1),
        1,
    ),
    "group": ("num_output: 4 kernel_size: 2 group: 2", (2, 2), (1, 1), (0, 0), (1, 1), 2),
    "dilation": ("num_output: 4 kernel_size: 3 dilation: 2 pad: 2", (3, 3), (1, 1), (2, 2), (2, 2), 1),
    "dilations": ("num_output: 2 kernel_size: 2 dilation: 1 dilation: 3", (2, 2), (1, 1), (0, 0), (1, 3), 1),
}  # fmt: skip


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolution(tmp_path, case):
    options, kernel, stride, pad, dilation, group = CONVOLUTIONS[case]
    x, outputs = normal(2, 4, 8, 9), 2 if case == "dilations" else 4
    weight, bias = normal(outputs, 4 // group, *kernel), normal(outputs)
    model = load(tmp_path, one("Convolution", f"convolution_param {{ {options} }}"), x.shape, (weight, bias))
    wanted = naive.convolve(x, weight, bias, stride, pad, dilation, group)
    np.testing.assert_allclose(run(model, x), wanted, rtol=1e-10, atol=1e-12)
    plain = load(
        tmp_path, one("Convolution", f"convolution_param {{ {options} bias_term: false }}"), x.shape, (weight,)
    )
    np.testing.assert_allclose(run(plain, x), wanted - bias[:, None, None], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("group", [1, 2])
def test_deconvolution(tmp_path, group):
    x, weight, bias = normal(2, 4, 3, 4), normal(4, 6 // group, 4, 3), normal(6)
    options = f"num_output: 6 kernel_h: 4 kernel_w: 3 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0 group: {group}"
    model = load(tmp_path, one("Deconvolution", f"convolution_param {{ {options} }}"), x.shape, (weight, bias))
    wanted = naive.deconvolve(x, weight, bias, (2, 3), (1, 0), group)
    np.testing.assert_allclose(run(model, x), wanted, rtol=1e-10, atol=1e-12)


def test_inner_product(tmp_path):
    x = normal(2, 3, 4, 5)
    weight, bias = normal(7, 60), normal(7)
    for axis in (1, -3):
        options = f"inner_product_param {{ num_output: 7 axis: {axis} }}"
        model = load(tmp_path, one("InnerProduct", options), x.shape, (weight, bias))
        np.testing.assert_allclose(run(model, x), x.reshape(2, 60) @ weight.T + bias, rtol=1e-10)
    weight = normal(20, 6)
    options = "inner_product_param { num_output: 6 axis: 2 transpose: true bias_term: false }"
    model = load(tmp_path, one("InnerProduct", options), x.shape, (weight,))
    np.testing.assert_allclose(run(model, x), x.reshape(2, 3, 20) @ weight, rtol=1e-10)
    options = "inner_product_param { num_output: 2 axis: 3 bias_term: false }"
    weight = normal(2, 5)
    np.testing.assert_allclose(run(load(tmp_path, one("InnerProduct", options), x.shape, (weight,)), x), x @ weight.T)


ACTIVATIONS = {
    "relu": ("ReLU", "", lambda x: np.maximum(x, 0)),
    "leaky": ("ReLU", "relu_param { negative_slope: 0.25 engine: CUDNN }", lambda x: np.where(x > 0, x, x / 4)),
    "elu": ("ELU", "elu_param { alpha: 0.5 }", lambda x: np.where(x > 0, x, (np.exp(x) - 1) / 2)),
    "sigmoid": ("Sigmoid", "", lambda x: 1 / (1 + np.exp(-x))),
    "tanh": ("TanH", "", np.tanh),
    "dropout": ("Dropout", "dropout_param { dropout_ratio: 0.9 }", lambda x: x),
    "softmax": ("Softmax", "", lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
    "softmax of rows": (
        "Softmax", "softmax_param { axis: -1 }", lambda x: np.exp(x) / np.exp(x).sum(3, keepdims=True),
    ),
    "power": ("Power", "power_param { scale: -2 shift: 0.5 }", lambda x: 0.5 - 2 * x),
    "cube": ("Power", "power_param { scale: 2 shift: 1 power: 3 }", lambda x: (1 + 2 * x) ** 3),
    "flatten": ("Flatten", "", lambda x: x.reshape(len(x), -1)),
    "flatten some": ("Flatten", "flatten_param { axis: 1 end_axis: 2 }", lambda x: x.reshape(len(x), -1, x.shape[3])),
    "reshape": ("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } }", lambda x: x.reshape(len(x), 2, -1)),
    "reshape by count": (
        "Reshape", "reshape_param { shape { dim: 1 dim: 60 } }", lambda x: x.reshape(len(x), 60),
    ),
    "split": ("Split", "", lambda x: x),
    "eltwise of one": ("Eltwise", "eltwise_param { coeff: 2 }", lambda x: 2 * x),
}  # fmt: skip


@pytest.mark.parametrize("case", ACTIVATIONS)
def test_layers_without_weights(tmp_path, case):
    kind, options, wanted = ACTIVATIONS[case]
    model = load(tmp_path, one(kind, options), (1, 3, 4, 5))
    for x in (normal(1, 3, 4, 5), normal(4, 3, 4, 5)):
        np.testing.assert_allclose(run(model, x), wanted(x), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "shape", ["dim: 3 dim: 4 dim: 1 } axis: 1 num_axes: 2", "dim: 0 dim: -1 dim: 1 } axis: 1 num_axes: 2"]
)
def test_reshape_of_some_axes(tmp_path, shape):
    x = normal(2, 3, 4, 5)
    model = load(tmp_path, one("Reshape", f"reshape_param {{ shape {{ {shape} }}"), (1, 3, 4, 5))
    np.testing.assert_array_equal(run(model, x), x.reshape(2, 3, 4, 1, 5))
    added = load(tmp_path, one("Reshape", "reshape_param { shape { dim: 1 } axis: -1 num_axes: 0 }"), (1, 3, 4, 5))
    np.testing.assert_array_equal(run(added, x), x[..., None])


def test_prelu(tmp_path):
    x, slopes = normal(2, 3, 4, 5), np.array([0.5, -0.25, 0])
    found = run(load(tmp_path, one("PReLU"), x.shape, (slopes,)), x)
    np.testing.assert_allclose(found, np.where(x > 0, x, x * slopes[:, None, None]), rtol=1e-12)
    model = load(tmp_path, one("PReLU", "prelu_param { channel_shared: true filler { value: 1 } }"), x.shape, ([0.5],))
    np.testing.assert_allclose(run(model, x), np.where(x > 0, x, x / 2), rtol=1e-12)


@pytest.mark.parametrize(("size", "k"), [(3, 1), (5, 2), (9, 1)])
def test_lrn(tmp_path, size, k):
    x = normal(2, 7, 6, 5) * 3
    options = f"lrn_param {{ local_size: {size} alpha: 0.5 beta: 0.75 k: {k} }}"
    found = run(load(tmp_path, one("LRN", options), x.shape), x)
    np.testing.assert_allclose(found, naive.lrn_across(x, size, 0.5, 0.75, k), rtol=1e-11)
    options = f"lrn_param {{ local_size: {size} alpha: 0.5 beta: 0.75 norm_region: WITHIN_CHANNEL }}"
    model = load(tmp_path, one("LRN", options), x.shape)
    np.testing.assert_allclose(run(model, x), naive.lrn_within(x, size, 0.5, 0.75), rtol=1e-11)


def test_lrn_within_channels_passes_signals_unchanged(tmp_path):
    """As Sec. 3.4 of the paper has it for normalisation across channels."""
    head = 'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 3 } }'
    options = "lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL }"
    model = load(tmp_path, one("LRN", options) + head, (1, 2, 5, 4))
    image = torch.rand(1, 2, 5, 4, dtype=torch.float64)
    above, below = eb.explain(model, image, [2], layer=["x", "input"]).by_layer.values()
    assert torch.allclose(above, below, rtol=0, atol=1e-15)
    assert float(below.sum()) == pytest.approx(1, abs=1e-12)


def test_batch_norm(tmp_path):
    x, mean, variance = normal(2, 3, 4, 5), normal(3), np.abs(normal(3)) + 0.5
    for factor in (1.0, 1000.0, 0.25):
        blobs = (np.float32(mean * factor), np.float32(variance * factor), [factor])
        model = load(tmp_path, one("BatchNorm", "batch_norm_param { eps: 0.125 }"), x.shape, blobs)
        m, v = (np.asarray(item, np.float64)[:, None, None] / factor for item in blobs[:2])
        np.testing.assert_allclose(run(model, x), (x - m) / np.sqrt(v + 0.125), rtol=1e-10)
    never = load(tmp_path, one("BatchNorm", "batch_norm_param { eps: 0.25 }"), x.shape, (mean, variance, [0.0]))
    np.testing.assert_allclose(run(never, x), 2 * x, rtol=1e-12)


def test_scale_and_bias(tmp_path):
    x, gamma, beta = normal(2, 3, 4, 5), normal(3), np.array([0.5, -1.0, 2.0])
    both = load(tmp_path, one("Scale", "scale_param { bias_term: true }"), x.shape, (gamma, beta))
    np.testing.assert_allclose(run(both, x), x * gamma[:, None, None] + beta[:, None, None], rtol=1e-10, atol=1e-12)
    bias = load(tmp_path, one("Bias"), x.shape, (beta,))
    np.testing.assert_allclose(run(bias, x), x + beta[:, None, None], rtol=1e-12, atol=1e-12)
    rows = normal(4, 5)
    last = load(tmp_path, one("Scale", "scale_param { axis: 2 num_axes: -1 }"), x.shape, (rows,))
    np.testing.assert_allclose(run(last, x), x * rows, rtol=1e-12)
    middle = load(tmp_path, one("Scale", "scale_param { axis: -2 }"), x.shape, (rows[:, 0],))
    np.testing.assert_allclose(run(middle, x), x * rows[:, :1], rtol=1e-12)
    number = load(tmp_path, one("Scale", "scale_param { num_axes: 0 }"), x.shape, (np.array(2.5),))
    np.testing.assert_allclose(run(number, x), 2.5 * x, rtol=1e-12)


def test_scale_by_a_second_blob(tmp_path):
    """As squeeze-and-excitation networks write their gates."""
    x = normal(2, 3, 4, 5)
    pool = one("Pooling", "pooling_param { pool: AVE global_pooling: true }", 'top: "p"')
    flat = 'layer { name: "f" type: "Flatten" bottom: "p" top: "f" }'
    for kind, combine in (("Scale", np.multiply), ("Bias", np.add)):
        ends = f'bottom: "data" bottom: "f" top: "g" {kind.lower()}_param {{ axis: 0 }}'
        gate = f'layer {{ name: "g" type: "{kind}" {ends} }}'
        found = run(load(tmp_path, pool + flat + gate, (1, 3, 4, 5)), x)
        np.testing.assert_allclose(found, combine(x, x.mean((2, 3), keepdims=True)), rtol=1e-12)


def branches(last):
    """Two branches of the input, `a = 2 x` and `b = -3 x + 1`, and a layer over them."""
    return (
        one("Power", "power_param { scale: 2 }", 'top: "a"')
        + 'layer { name: "b" type: "Power" bottom: "data" top: "b" power_param { scale: -3 shift: 1 } }'
        + f'layer {{ name: "y" {last} top: "y" }}'
    )


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("", lambda a, b: a + b),
        ("eltwise_param { operation: SUM coeff: 1 coeff: -1 }", lambda a, b: a - b),
        ("eltwise_param { coeff: -1 coeff: 0.5 }", lambda a, b: b / 2 - a),
        ("eltwise_param { operation: PROD }", lambda a, b: a * b),
        ("eltwise_param { operation: MAX }", np.maximum),
    ],
)
def test_eltwise(tmp_path, options, wanted):
    x = normal(2, 3, 4, 5)
    model = load(tmp_path, branches(f'type: "Eltwise" bottom: "a" bottom: "b" {options}'), x.shape)
    np.testing.assert_allclose(run(model, x), wanted(2 * x, 1 - 3 * x), rtol=1e-12, atol=1e-15)


def test_eltwise_of_three(tmp_path):
    x = normal(2, 3, 4, 5)
    for options, wanted in (
        ("operation: MAX", np.maximum(np.maximum(2 * x, 1 - 3 * x), x)),
        ("operation: PROD", 2 * x * (1 - 3 * x) * x),
        ("coeff: 1 coeff: 2 coeff: 3", 2 * x + 2 * (1 - 3 * x) + 3 * x),
    ):
        last = f'type: "Eltwise" bottom: "a" bottom: "b" bottom: "data" eltwise_param {{ {options} }}'
        np.testing.assert_allclose(run(load(tmp_path, branches(last), x.shape), x), wanted, rtol=1e-12, atol=1e-14)


def test_maximum_of_blobs_has_a_winner(tmp_path):
    last = 'type: "Eltwise" bottom: "a" bottom: "b" eltwise_param { operation: MAX }'
    head = 'layer { name: "fc" type: "InnerProduct" bottom: "y" top: "fc" inner_product_param { num_output: 3 } }'
    model = load(tmp_path, branches(last) + head, (1, 2, 3, 3))
    image = torch.rand(1, 2, 3, 3, dtype=torch.float64)
    assert float(eb.explain(model, image, [0], layer="y").maps.sum()) == pytest.approx(1, abs=1e-12)


def test_concat_and_slice(tmp_path):
    x = normal(2, 3, 4, 5)
    for options, axis in (("", 1), ("concat_param { axis: -1 }", 3), ("concat_param { concat_dim: 2 }", 2)):
        model = load(tmp_path, branches(f'type: "Concat" bottom: "a" bottom: "b" {options}'), x.shape)
        np.testing.assert_allclose(run(model, x), np.concatenate([2 * x, 1 - 3 * x], axis), rtol=1e-12, atol=1e-15)
    tops = 'top: "p" top: "q" top: "r"'
    for options, parts in (
        ("", np.split(x, 3, 1)),
        ("slice_param { axis: 3 slice_point: 1 slice_point: 3 }", np.split(x, [1, 3], 3)),
        ("slice_param { slice_dim: 2 slice_point: 1 slice_point: 2 }", np.split(x, [1, 2], 2)),
    ):
        found = run(load(tmp_path, one("Slice", options, tops), x.shape), x)
        assert list(found) == ["p", "q", "r"]
        for part, name in zip(parts, found, strict=True):
            np.testing.assert_array_equal(found[name], part)


def test_crop(tmp_path):
    x = normal(2, 3, 6, 7)
    small = one("Pooling", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }", 'top: "p"')
    for options, cut in (
        ("", (slice(None), slice(None), slice(0, 3), slice(0, 4))),
        ("crop_param { offset: 2 offset: 1 }", (slice(None), slice(None), slice(2, 5), slice(1, 5))),
    ):
        last = f'layer {{ name: "c" type: "Crop" bottom: "data" bottom: "p" top: "c" {options} }}'
        np.testing.assert_array_equal(run(load(tmp_path, small + last, x.shape), x), x[cut])


REFUSED = {
    "stochastic": (one("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), "stochastic"),
    "window outside": (one("Pooling", "pooling_param { kernel_size: 1 stride: 5 }"), "outside"),
    "no kernel": (one("Pooling"), "kernel_size is missing"),
    "wide pad": (one("Pooling", "pooling_param { kernel_size: 2 pad: 2 }"), "smaller than the kernel"),
    "zero stride": (one("Pooling", "pooling_param { kernel_size: 2 stride: 0 }"), "at least 1"),
    "global and kernel": (one("Pooling", "pooling_param { kernel_size: 2 global_pooling: true }"), "neither kernel"),
    "group": (one("Convolution", "convolution_param { num_output: 4 kernel_size: 1 group: 2 }"), "groups"),
    "no outputs": (one("Convolution", "convolution_param { kernel_size: 1 }"), "num_output"),
    "too large": (one("Convolution", "convolution_param { num_output: 4 kernel_size: 9 }"), "does not fit its input"),
    "both sizes": (one("Convolution", "convolution_param { num_output: 4 kernel_size: 3 kernel_h: 1 }"), "either"),
    "half a kernel": (one("Convolution", "convolution_param { num_output: 4 kernel_h: 1 }"), "at least 1"),
    "kernel of three": (
        one("Convolution", "convolution_param { num_output: 4 kernel_size: [1, 2, 3] }"), "1 or 2 expected",
    ),
    "axis": (one("Softmax", "softmax_param { axis: 4 }"), "axis 4 does not exist"),
    "images": (one("Softmax", "softmax_param { axis: 0 }"), "images of a batch"),
    "even": (one("LRN", "lrn_param { local_size: 4 }"), "odd"),
    "statistics": (one("BatchNorm", "batch_norm_param { use_global_stats: false }"), "use_global_stats"),
    "mixing": (one("Reshape", "reshape_param { shape { dim: 3 dim: -1 } }"), "mix the images"),
    "sizes": (one("Reshape", "reshape_param { shape { dim: 0 dim: 7 } }"), "does not fit"),
    "parts": (one("Slice", "", 'top: "a" top: "b"'), "equal parts"),
    "points": (one("Slice", "slice_param { slice_point: 9 }", 'top: "a" top: "b"'), "does not cut"),
    "coefficients": (one("Eltwise", "eltwise_param { coeff: 1 coeff: 2 }"), "coeff"),
    "constant": (one("Power", "power_param { power: 0 }"), "constant"),
    "crop": (one("Crop"), "1 bottoms, 2 expected"),
    "two tops": (one("ReLU", "", 'top: "a" top: "b"'), "2 tops, 1 expected"),
    "ratio": (one("Dropout", "dropout_param { dropout_ratio: 7 }"), "make no sense"),
    "type": (one("Python"), "'Python' are not supported; the documentation, docs/how-to/caffe.md, lists"),
    "spelling": (one("Relu"), "'Relu' are not supported; is 'ReLU' meant"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_layer_type_and_line(tmp_path, case):
    body, words = REFUSED[case]
    with pytest.raises(eb.ExcitationError, match=words) as caught:
        load(tmp_path, body, (1, 3, 4, 4))
    text = str(caught.value)
    assert "layer 'x' (" in text
    assert "line 2 of net.prototxt" in text
    assert len(text.splitlines()) == 1
