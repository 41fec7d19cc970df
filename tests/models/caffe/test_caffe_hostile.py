"""Files made to hurt: each loads or gets one clear error, in bounded time and memory."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import caffe_wire as wire
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import excitation as eb
from excitation.models.caffe import load_caffe

HERE = Path(__file__).parent
TEXT = """name: "small"
input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 9 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 stride: 1 pad: 1 group: 1 dilation: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" relu_param { negative_slope: 0.1 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
        pooling_param { pool: AVE kernel_h: 3 kernel_w: 2 stride: 2 pad_h: 1 } }
layer { name: "norm" type: "LRN" bottom: "pool" top: "norm" lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL } }
layer { name: "cat" type: "Concat" bottom: "pool" bottom: "norm" top: "cat" concat_param { axis: 1 } }
layer { name: "cut" type: "Slice" bottom: "cat" top: "cut1" top: "cut2" slice_param { slice_point: 3 } }
layer { name: "flat" type: "Reshape" bottom: "cut1" top: "flat" reshape_param { shape { dim: 0 dim: -1 } } }
layer { name: "hush" type: "Silence" bottom: "cut2" }
layer { name: "fc" type: "InnerProduct" bottom: "flat" top: "fc" inner_product_param { num_output: 5 } }
"""
WEIGHTS = (
    wire.chunk(1, "small")
    + wire.layer("conv", wire.blob(np.ones((4, 3, 3, 3))), wire.blob(np.zeros(4)))
    + wire.old_layer("fc", wire.blob(np.ones((5, 75)), legacy=True), wire.blob(np.zeros(5), double=True))
)
WORDS = [*sorted(set(TEXT.split())), "-1", "0", "4294967295", "99999999999999999999", "1e39", "nan", "{", "}", "<", "["]
fast = settings(max_examples=150, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


def survives(folder, text, weights=None):
    """Load; a refusal must be one sentence of bearable length."""
    prototxt, caffemodel = folder / "net.prototxt", folder / "net.caffemodel"
    prototxt.write_bytes(text if isinstance(text, bytes) else text.encode())
    if weights is not None:
        caffemodel.write_bytes(weights)
    said = ""
    try:
        load_caffe(prototxt, None if weights is None else caffemodel)
    except eb.ExcitationError as error:
        said = str(error)
    assert len(said) < 700
    assert len(said.splitlines()) <= 1
    return said


def test_the_undamaged_files_load(folder):
    assert survives(folder, TEXT, WEIGHTS) == ""


@fast
@given(st.binary(max_size=300))
def test_random_bytes(folder, content):
    assert survives(folder, TEXT, content)
    assert survives(folder, content)


@fast
@given(st.integers(0, len(WEIGHTS) - 1))
def test_cut_caffemodels(folder, end):
    assert survives(folder, TEXT, WEIGHTS[:end])


@fast
@given(st.data())
def test_damaged_caffemodels(folder, data):
    content = bytearray(WEIGHTS)
    for _ in range(data.draw(st.integers(1, 4))):
        # Names, tags, lengths and shapes are where damage tells; the numbers are most of the file.
        place = data.draw(st.sampled_from([*range(60), *range(470, 560), *range(len(content) - 120, len(content))]))
        byte = data.draw(st.integers(0, 255))
        kind = data.draw(st.sampled_from(["set", "insert", "delete"]))
        if kind == "set":
            content[place % len(content)] = byte
        elif kind == "insert":
            content.insert(place, byte)
        else:
            del content[place % len(content)]
    survives(folder, TEXT, bytes(content))


@fast
@given(st.data())
def test_damaged_texts(folder, data):
    words = TEXT.split()
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(words) - 1))
        if data.draw(st.booleans()):
            words[place] = data.draw(st.sampled_from(WORDS))
        else:
            del words[place]
    survives(folder, "\n".join(words))


NUMBERS = st.sampled_from([0, 1, 2, 3, 5, 7, 1000, 10**6, 2**31, 2**32 - 1, 2**62, -1, -2])


@fast
@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["Convolution", "Deconvolution", "Pooling"]))
def test_absurd_sizes(folder, kernel, stride, pad, size, kind):
    option = "pooling_param { pool: AVE" if kind == "Pooling" else "convolution_param { num_output: 4"
    survives(
        folder,
        f'input: "data" input_shape {{ dim: 1 dim: 3 dim: 8 dim: {size} }}\n layer {{ name: "x" type: "{kind}"'
        f' bottom: "data" top: "x" {option} kernel_size: {kernel} stride: {stride} pad: {pad} }} }}',
    )


OPTIONS = {
    "ArgMax": "argmax_param { top_k: A axis: B }",
    "Clip": "clip_param { min: A max: B }",
    "ConvolutionDepthwise": "convolution_param { kernel_size: A pad: B dilation: C }",
    "Exp": "exp_param { base: A scale: B shift: C }",
    "Interp": "interp_param { height: A width: B pad_beg: C }",
    "Log": "log_param { base: A scale: B shift: C }",
    "Normalize": "norm_param { eps: A }",
    "Permute": "permute_param { order: [0, A, B, C] }",
    "Reduction": "reduction_param { operation: A axis: B coeff: C }",
    "Swish": "swish_param { beta: A }",
    "Tile": "tile_param { axis: A tiles: B }",
    "interp": "interp_param { zoom_factor: A shrink_factor: B pad_end: C }",
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_absurd_options(folder, kind):
    generator = random.Random(11)
    values = ["0", "1", "2", "3", "-1", "-2", "1000", "65536", "2147483647", "1e39", "-1e30", "1e-30", "nan", "-inf"]
    said = []
    for _ in range(40):
        drawn = {letter: generator.choice(values) for letter in "ABC"}
        options = re.sub(r"\b[ABC]\b", lambda found: drawn[found.group()], OPTIONS[kind])  # noqa: B023
        said.append(survives(folder, one(kind.replace("interp", "Interp"), options)))
    assert len(set(said)) > 1


def one(kind, rest):
    return (
        'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 9 }\n'
        f'layer {{ name: "x" type: "{kind}" bottom: "data" top: "x" {rest} }}'
    )


def tower(count, rest):
    text = 'input: "x0" input_shape { dim: 1 dim: 3 dim: 8 dim: 9 }\n'
    return text + "".join(
        f'layer {{ name: "x{i + 1}" bottom: "x{i}" top: "x{i + 1}" {rest.replace("BOTTOM", f"x{i}")} }}\n'
        for i in range(count)
    )


POOL = 'type: "Pooling" pooling_param { kernel_size: 1 }'
TEXTS = {
    "deep": ("layer { a { " * 20_000, "nested more than 16 deep"),
    "deep lines": ("layer {\n a {\n" * 20_000, "nested more than 16 deep"),
    "deep inside strings": ('"' + "\\\\" * 7000 + "\n", "not the text"),
    "many lines": ("a: 1\n" * 20_000, "no input"),
    "too long": (" \n" * 600_000, "more than 1 MiB"),
    "many layers": ("layer { }\n" * 5000, "more than 4000 layers"),
    "many inputs": ('input: "data"\n' * 5_000, "5000 inputs"),
    "terabytes of parameters": (one("InnerProduct", "inner_product_param { num_output: 250000000 }"), "parameters"),
    "terabytes of output": (
        one("Convolution", "convolution_param { num_output: 4294967295 kernel_size: 1 }"), "at most 268435456 numbers",
    ),
    "gigabytes of parameters": (
        one("InnerProduct", "inner_product_param { num_output: 2000000 }"), "434000000 parameters (1.7 GB); without",
    ),
    "gigabytes of blobs": (
        one("Convolution", "convolution_param { num_output: 2000000 kernel_size: 1 }")
        + ' layer { name: "y" type: "TanH" bottom: "x" top: "y" }', "2 blobs of 288000000 numbers",
    ),
    "a tower of doubling": (tower(60, 'type: "Concat" bottom: "BOTTOM"'), "at most 268435456 numbers"),
    "a tower of matrices": (
        tower(300, 'type: "InnerProduct" inner_product_param { num_output: 9000 }'), "without a caffemodel at most",
    ),
    "a wide window": (
        one("LRN", "lrn_param { local_size: 99999 norm_region: WITHIN_CHANNEL }"), "local_size 99999 is too large",
    ),
    "a wide pad": (one("Pooling", "pooling_param { kernel_size: 99999 stride: 99999 pad: 99998 }"), "too large"),
    "a long name": (one("Python" * 2000, ""), "not supported"),
    "many axes": (
        'input: "x0" input_shape {' + "dim: 1\n" * 20_000 + "}\n" + tower(1, POOL).partition("\n")[2], "dimensions",
    ),
    "not finite": (one("Power", "power_param { shift: inf }"), "NaN or infinite"),
    "zeros": (b"\0" * 1000, "not the text"),
    "other encoding": (TEXT.encode("utf-16"), "not a text"),
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
def test_hostile_texts(folder, case):
    text, words = TEXTS[case]
    start = time.process_time()
    assert words in survives(folder, text)
    assert time.process_time() - start < 10


MEBIBYTES = 8 << 20
SMALL = wire.chunk(7, wire.chunk(1, wire.varint(4) + b"\3\3\3"))
FILES = {
    "empty layers": b"\xa2\x06\x00" * (MEBIBYTES // 3),
    "empty old layers": b"\x12\x00" * (MEBIBYTES // 2),
    "empty blobs": wire.chunk(100, wire.chunk(1, "conv") + b"\x3a\x00" * (MEBIBYTES // 2)),
    "empty pieces": wire.layer("conv", b"\x2a\x00" * (MEBIBYTES // 2) + SMALL, wire.blob([0] * 4)),
    "axes": wire.layer("conv", wire.chunk(7, wire.chunk(1, b"\1" * MEBIBYTES)), wire.blob([0] * 4)),
    "groups": b"\x0b" * MEBIBYTES,
    "groups within": wire.layer("conv", b"\x0b" * MEBIBYTES, wire.blob([0] * 4)),
    "layers within layers": wire.chunk(100, b"\xa2\x06" * (MEBIBYTES // 2)),
    "loose numbers": wire.layer("conv", b"\x2d\0\0\0\0" * (MEBIBYTES // 5) + SMALL, wire.blob([0] * 4)),
    "zeros": b"\0" * MEBIBYTES,
    "endless number": b"\xff" * MEBIBYTES,
    "terabytes": wire.layer("conv", wire.blob([1], shape=(1 << 50, 3, 3, 3)), wire.blob([0] * 4)),
    "terabyte field": wire.varint(100 << 3 | 2) + wire.varint(1 << 62) + b"x",
}


@pytest.mark.parametrize("case", FILES)
def test_hostile_caffemodels(folder, case):
    start = time.process_time()
    assert survives(folder, TEXT, FILES[case])
    assert time.process_time() - start < 5


def test_a_sparse_file_of_terabytes_is_not_read(folder):
    huge = folder / "huge.caffemodel"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    (folder / "net.prototxt").write_text(TEXT)
    with pytest.raises(eb.ExcitationError, match="1099511627776 bytes"):
        load_caffe(folder / "net.prototxt", huge)
    with pytest.raises(eb.ExcitationError, match="is it a caffemodel"):
        load_caffe(huge)
    huge.unlink()


def test_memory_is_bounded():
    """All of the above in one process take less than a fifth of a gigabyte on top of what it takes to load a net."""
    code = f"""
import resource, sys, pathlib, tempfile
sys.path.insert(0, {str(HERE)!r})
import torch
torch.set_num_threads(1)
import test_caffe_hostile as cases
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    cases.survives(folder, cases.TEXT, cases.WEIGHTS)
    before = peak()
    for text, _ in cases.TEXTS.values():
        cases.survives(folder, text)
    for weights in cases.FILES.values():
        cases.survives(folder, cases.TEXT, weights)
    gigabytes = cases.TEXT.replace("num_output: 5 ", "num_output: 5000000 ")
    assert "(5000000, 75) expected" in cases.survives(folder, gigabytes, cases.WEIGHTS)
    print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200
