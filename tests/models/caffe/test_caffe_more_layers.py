"""Arithmetic, reductions and the layers of Caffe's forks, against loops over single numbers, and their maps."""

from __future__ import annotations

import math
import re

import caffe_naive as naive
import numpy as np
import pytest
import torch
from test_caffe_layers import load, normal, one, run
from tests.conftest import document

import excitation as eb
from excitation.models.caffe import load_caffe
from excitation.models.caffe._builders import KINDS

SHAPE = (1, 3, 4, 5)
HEAD = 'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 3 } }'


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


FUNCTIONS = {
    "relu6": ("ReLU6", "", lambda x: min(max(3 * x, 0), 6)),
    "bnll": ("BNLL", "", lambda x: math.log1p(math.exp(3 * x))),
    "abs": ("AbsVal", "", lambda x: abs(3 * x)),
    "clip": ("Clip", "clip_param { min: -0.5 max: 1.25 }", lambda x: min(max(3 * x, -0.5), 1.25)),
    "swish": ("Swish", "", lambda x: 3 * x * sigmoid(3 * x)),
    "swish beta": ("Swish", "swish_param { beta: 2.5 }", lambda x: 3 * x * sigmoid(7.5 * x)),
    "swish negative": ("Swish", "swish_param { beta: -0.5 }", lambda x: 3 * x * sigmoid(-1.5 * x)),
    "swish zero": ("Swish", "swish_param { beta: 0 }", lambda x: 1.5 * x),
    "exp": ("Exp", "", lambda x: math.exp(3 * x)),
    "exp 2": ("Exp", "exp_param { base: 2 scale: -0.5 shift: 1.5 }", lambda x: 2 ** (1.5 - 1.5 * x)),
    "exp e": ("Exp", "exp_param { scale: 0.25 shift: -1 }", lambda x: math.exp(0.75 * x - 1)),
}  # fmt: skip


@pytest.mark.parametrize("case", FUNCTIONS)
def test_functions_of_one_number(tmp_path, case):
    """Of three times the input, so that 6 and -1 are reached, and far beyond."""
    kind, options, function = FUNCTIONS[case]
    triple = one("Power", "power_param { scale: 3 }", 'top: "t"')
    text = triple + one(kind, options).replace('"data"', '"t"')
    model = load(tmp_path, text, SHAPE)
    x = normal(2, *SHAPE[1:])
    x[0, 0, 0] = [-12.0, 12.0, 0.0, 2.0, -7.0]
    np.testing.assert_allclose(run(model, x), naive.each(x, function), rtol=1e-12, atol=1e-15)


def test_logarithms(tmp_path):
    x = np.abs(normal(2, *SHAPE[1:])) + 0.1
    for options, function in (
        ("", math.log),
        ("log_param { base: 10 }", math.log10),
        ("log_param { base: 0.5 scale: 2 shift: 0.5 }", lambda x: math.log(2 * x + 0.5, 0.5)),
    ):
        found = run(load(tmp_path, one("Log", options), SHAPE), x)
        np.testing.assert_allclose(found, naive.each(x, function), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
def test_reduction(tmp_path, operation):
    x = normal(2, *SHAPE[1:])
    for axis, at in ((1, 1), (2, 2), (-1, 3)):
        for factor in (1, -2.5):
            options = f"reduction_param {{ operation: {operation} axis: {axis} coeff: {factor} }}"
            found = run(load(tmp_path, one("Reduction", options), SHAPE), x)
            np.testing.assert_allclose(found, naive.reduce(x, at, operation, factor), rtol=1e-12, atol=1e-13)
    default = run(load(tmp_path, one("Reduction", "reduction_param { axis: 1 }"), SHAPE), x)
    np.testing.assert_allclose(default, naive.reduce(x, 1, "SUM", 1), rtol=1e-12, atol=1e-13)


def test_tile_and_permute(tmp_path):
    x = normal(2, *SHAPE[1:])
    for options, axis, count in (("tiles: 2", 1, 2), ("axis: -1 tiles: 3", 3, 3), ("axis: 2 tiles: 1", 2, 1)):
        found = run(load(tmp_path, one("Tile", f"tile_param {{ {options} }}"), SHAPE), x)
        np.testing.assert_array_equal(found, naive.tile(x, axis, count))
    for written, order in (([0, 2, 3, 1], (0, 2, 3, 1)), ([0, 3], (0, 3, 1, 2)), ([], (0, 1, 2, 3))):
        options = f"permute_param {{ order: {written} }}"
        np.testing.assert_array_equal(run(load(tmp_path, one("Permute", options), SHAPE), x), naive.permute(x, order))


def test_arg_max(tmp_path):
    x = np.round(normal(2, *SHAPE[1:]))
    assert len(np.unique(x)) < 12  # many equal numbers, of which the last wins
    for count in (1, 7):
        for values in (False, True):
            options = f"argmax_param {{ top_k: {count} out_max_val: {str(values).lower()} }}"
            pairs = [naive.best(image.ravel(), count) for image in x]
            wanted = np.array([pair[: 1 + values] for pair in pairs])
            np.testing.assert_array_equal(run(load(tmp_path, one("ArgMax", options), SHAPE), x), wanted)
    for values in (False, True):
        options = f"argmax_param {{ axis: 1 top_k: 2 out_max_val: {str(values).lower()} }}"
        found = run(load(tmp_path, one("ArgMax", options), SHAPE), x)
        assert found.shape == (2, 2, 4, 5)
        for i, r, c in np.ndindex(2, 4, 5):
            np.testing.assert_array_equal(found[i, :, r, c], naive.best(x[i, :, r, c], 2)[values])


def test_arg_max_leaves_the_scores_to_be_explained(tmp_path):
    fc = HEAD.replace('"x"', '"data"')
    top = 'layer { name: "best" type: "ArgMax" bottom: "fc" top: "best" }'
    model = load(tmp_path, fc + top, SHAPE)
    loaded = load_caffe(tmp_path / "net.prototxt", dtype=torch.float64)
    assert loaded.output == "fc"
    image = torch.rand(2, *SHAPE[1:], dtype=torch.float64)
    scores = model(image)
    assert list(scores) == ["fc", "best"]
    assert torch.equal(scores["best"].flatten(), scores["fc"].argmax(1).double())
    found = eb.explain(loaded, image, [1], layer="input").maps
    plain = eb.explain(load(tmp_path, fc, SHAPE), image, [1], layer="input").maps
    assert torch.equal(found, plain)
    with pytest.raises(eb.ExcitationError, match="'best'"):
        eb.explain(model, image, [0], layer="input", output="best")
    with pytest.raises(eb.ExcitationError, match=r"'y'.*result of layer 'best' .* which are indices, not activations"):
        load(tmp_path, fc + top + 'layer { name: "y" type: "Power" bottom: "best" top: "y" }', SHAPE)


def test_axpy(tmp_path):
    """As squeeze-and-excitation networks end a block."""
    x = normal(2, *SHAPE[1:])
    pool = one("Pooling", "pooling_param { pool: AVE global_pooling: true }", 'top: "p"')
    gate = 'layer { name: "g" type: "Sigmoid" bottom: "p" top: "g" }'
    twice = 'layer { name: "t" type: "Power" bottom: "data" top: "t" power_param { scale: 2 } }'
    flat = 'layer { name: "g2" type: "Flatten" bottom: "g" top: "g2" }'
    for factor in ("g", "g2"):
        last = f'layer {{ name: "x" type: "Axpy" bottom: "{factor}" bottom: "t" bottom: "data" top: "x" }}'
        model = load(tmp_path, pool + gate + twice + flat * (factor == "g2") + last, SHAPE)
        wanted = naive.axpy(1 / (1 + np.exp(-x.mean((2, 3)))), 2 * x, x)
        np.testing.assert_allclose(run(model, x), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise"])
def test_depthwise(tmp_path, kind):
    x, weight, bias = normal(2, 4, 8, 9), normal(4, 1, 3, 3), normal(4)
    for written in ("num_output: 4", "num_output: 4 group: 4 engine: CAFFE", ""):
        options = f"convolution_param {{ {written} kernel_size: 3 stride: 2 pad: 1 }}"
        model = load(tmp_path, one(kind, options), x.shape, (weight, bias))
        wanted = naive.convolve(x, weight, bias, (2, 2), (1, 1), (1, 1), 4)
        np.testing.assert_allclose(run(model, x), wanted, rtol=1e-10, atol=1e-12)


INTERPS = {
    "size": ("height: 7 width: 9", (4, 5), (7, 9)),
    "smaller": ("height: 2 width: 1", (4, 5), (2, 1)),
    "zoom": ("zoom_factor: 3", (4, 5), (10, 13)),
    "shrink": ("shrink_factor: 2", (4, 5), (2, 3)),
    "both": ("shrink_factor: 2 zoom_factor: 4", (4, 5), (5, 9)),
    "cut": ("height: 5 width: 5 pad_beg: -1 pad_end: -1", (4, 5), (5, 5)),
    "cut one": ("zoom_factor: 2 pad_end: -2", (4, 5), (3, 5)),
}


@pytest.mark.parametrize("case", INTERPS)
def test_interp(tmp_path, case):
    options, (rows, columns), (height, width) = INTERPS[case]
    x = normal(2, 3, rows, columns)
    begin, end = ("pad_beg" in options) * 1, (2 if "pad_end: -2" in options else ("pad_end" in options) * 1)
    found = run(load(tmp_path, one("Interp", f"interp_param {{ {options} }}"), x.shape), x)
    assert found.shape == (2, 3, height, width)
    cut = x[:, :, begin : rows - end, begin : columns - end]
    np.testing.assert_allclose(found, naive.interp(cut, height, width), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_normalize(tmp_path, across, shared):
    x = normal(2, *SHAPE[1:])
    x[0] *= 1e-3
    scale = np.array(2.5) if shared else np.array([20, -0.5, 3])
    options = f"across_spatial: {str(across).lower()} channel_shared: {str(shared).lower()}"
    for eps in ("", " eps: 0.01"):
        text = f"norm_param {{ {options}{eps} scale_filler {{ type: 'constant' value: 20 }} }}"
        model = load(tmp_path, one("Normalize", text), SHAPE, (scale,))
        wanted = naive.normalize(x, scale, across, float(np.float32(0.01 if eps else 1e-10)))
        np.testing.assert_allclose(run(model, x), wanted, rtol=1e-12, atol=1e-15)
    random = load(tmp_path, one("Normalize", text), SHAPE)
    assert torch.equal(random.x.weight, torch.ones(() if shared else 3, dtype=torch.float64))


# Layers through which the engine has a rule; the others refuse by their operation's name.
PASSED = {
    "relu6": ("ReLU6", ""), "bnll": ("BNLL", ""), "clip": ("Clip", "clip_param { min: 0 max: 6 }"),
    "swish": ("Swish", "swish_param { beta: 1.5 }"), "exp": ("Exp", "exp_param { base: 2 shift: 1 }"),
    "sum": ("Reduction", "reduction_param { axis: 2 }"),
    "sumsq": ("Reduction", "reduction_param { axis: 2 operation: SUMSQ }"),
    "mean": ("Reduction", "reduction_param { axis: 2 operation: MEAN }"), "tile": ("Tile", "tile_param { tiles: 2 }"),
    "permute": ("Permute", "permute_param { order: [0, 2, 3, 1] }"),
    "interp": ("Interp", "interp_param { zoom_factor: 2 }"),
    "depthwise": ("ConvolutionDepthwise", "convolution_param { kernel_size: 3 pad: 1 }"),
}  # fmt: skip


@pytest.mark.parametrize("case", PASSED)
def test_mass_arrives_whole(tmp_path, case):
    """Above a convolution and a ReLU, whose neurons stay non-negative."""
    kind, options = PASSED[case]
    shape = "convolution_param { num_output: 3 kernel_size: 3 bias_term: false }"
    below = f'layer {{ name: "c" type: "Convolution" bottom: "data" top: "c" {shape} }}'
    rectified = 'layer { name: "r" type: "ReLU" bottom: "c" top: "c" }'
    model = load(tmp_path, below + rectified + one(kind, options).replace('"data"', '"c"') + HEAD, (1, 3, 8, 9))
    image = torch.rand(2, 3, 8, 9, dtype=torch.float64)
    maps = eb.explain(model, image, [1], layer="input").maps
    assert torch.allclose(maps.sum((1, 2, 3)), torch.ones(2, dtype=torch.float64), atol=1e-9)
    assert float(maps.min()) >= 0


def test_mass_arrives_whole_through_axpy(tmp_path):
    """All mass of a squeeze-and-excitation block takes its two branches, none the gate."""
    shape = "convolution_param { num_output: 3 kernel_size: 3 pad: 1 }"
    parts = {
        "c": ("Convolution", ["data"], shape), "r": ("ReLU", ["c"], ""),
        "d": ("Convolution", ["r"], shape), "s": ("ReLU", ["d"], ""),
        "p": ("Pooling", ["s"], "pooling_param { pool: AVE global_pooling: true }"), "g": ("Sigmoid", ["p"], ""),
        "x": ("Axpy", ["g", "s", "r"], ""),
    }  # fmt: skip
    text = ""
    for name, (kind, bottoms, options) in parts.items():
        ends = "".join(f' bottom: "{bottom}"' for bottom in bottoms)
        text += f'layer {{ name: "{name}" type: "{kind}"{ends} top: "{name}" {options} }}\n'
    image = torch.rand(2, 3, 6, 7, dtype=torch.float64)
    model = load(tmp_path, text + HEAD, (1, 3, 6, 7))
    maps = eb.explain(model, image, [1], layer="input").maps
    assert torch.allclose(maps.sum((1, 2, 3)), torch.ones(2, dtype=torch.float64), atol=1e-9)
    with pytest.raises(eb.LayerError, match="'p:"):
        eb.explain(model, image, [1], layer="p")


def test_the_documentation_lists_every_layer():
    """And no layer that it calls unread is read."""
    text = document("caffe.md").read_text()
    table, _, rest = text.partition("Any other layer,")
    assert not [kind for kind in KINDS if not re.search(rf"\b{kind}\b", table)]
    unread = rest.partition("Not read:")[2].partition("\n\n")[0]
    assert not set(re.findall(r"\w+", unread)) & set(KINDS)


REFUSED = {
    "clip": (one("Clip", "clip_param { min: 0 }"), "min and max are expected"),
    "clip ends": (one("Clip", "clip_param { min: 1 max: 0 }"), "min not above max"),
    "exp base": (one("Exp", "exp_param { base: -2 }"), "base is -2.0; -1 "),
    "exp one": (one("Exp", "exp_param { base: 1 }"), "base is 1.0"),
    "exp scale": (one("Exp", "exp_param { scale: 0 }"), "constant"),
    "exp shift": (one("Exp", "exp_param { shift: 1e30 }"), "make no sense"),
    "log base": (one("Log", "log_param { base: 0 }"), "base is 0.0"),
    "log scale": (one("Log", "log_param { scale: 0 }"), "constant"),
    "relu6": (one("ReLU6", "relu_param { negative_slope: 0.1 }"), "negative_slope"),
    "reduction": (one("Reduction"), "images of a batch"),
    "reduction coeff": (one("Reduction", "reduction_param { axis: 1 coeff: 0 }"), "constant"),
    "swish": (one("Swish", "swish_param { beta: 1e30 }"), "beta is 1e"),
    "tiles": (one("Tile"), "tiles is 0"),
    "tiles of images": (one("Tile", "tile_param { axis: 0 tiles: 2 }"), "images of a batch"),
    "many tiles": (one("Tile", "tile_param { tiles: 200000000 }"), "at most 268435456 numbers"),
    "permute images": (one("Permute", "permute_param { order: 1 }"), "axis of the images"),
    "permute twice": (one("Permute", "permute_param { order: [0, 1, 1] }"), "at most once"),
    "permute beyond": (one("Permute", "permute_param { order: [0, 4] }"), "at most once"),
    "argmax": (one("ArgMax", "argmax_param { top_k: 49 }"), "from 1 to the 48 numbers"),
    "argmax images": (one("ArgMax", "argmax_param { axis: 0 }"), "images of a batch"),
    "axpy": (one("Axpy"), "1 bottoms, 3 expected"),
    "axpy shapes": (one("Axpy", 'bottom: "data" bottom: "data"'), "a number for each channel"),
    "depthwise outputs": (one("ConvolutionDepthwise", "convolution_param { num_output: 6 }"), "num_output is 6; as"),
    "depthwise group": (one("DepthwiseConvolution", "convolution_param { group: 1 kernel_size: 1 }"), "group is 1"),
    "interp": (one("Interp"), "height and width, or zoom_factor"),
    "interp height": (one("Interp", "interp_param { height: 3 }"), "each at least 1"),
    "interp shrink": (one("Interp", "interp_param { shrink_factor: 0 }"), "each at least 1"),
    "interp zoom": (one("Interp", "interp_param { zoom_factor: 2000000000 }"), "interp|numbers|1 to|at least 1"),
    "interp pad": (one("Interp", "interp_param { zoom_factor: 2 pad_beg: 1 }"), "pad_beg is 1"),
    "interp all": (one("Interp", "interp_param { zoom_factor: 2 pad_beg: -2 pad_end: -2 }"), "less than the sides"),
    "normalize": (one("Normalize", "norm_param { eps: -1 }"), "eps is -1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(tmp_path, case):
    body, words = REFUSED[case]
    with pytest.raises(eb.ExcitationError, match=words) as caught:
        load(tmp_path, body, (1, 3, 4, 4))
    assert "layer 'x' (" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
