"""How an imported network's pictures are prepared: mean pictures in files of their own, grey pictures, powers."""

from __future__ import annotations

import caffe_wire as wire
import numpy as np
import pytest
import torch
from PIL import Image
from torch.overrides import TorchFunctionMode

import excitation as eb
from excitation.engine._functions import function
from excitation.models import _catalogue
from excitation.models.caffe import load_caffe, read_mean

CONV = 'layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {' \
    " num_output: 2 kernel_size: 3 } }\n"  # fmt: skip
MEAN = np.random.default_rng(0).uniform(90, 130, (3, 8, 8)).astype(np.float32)


def data(transform, more=""):
    return f'layer {{ name: "data" type: "Data" top: "data" {more} transform_param {{ crop_size: 6 {transform} }} }}\n'


def read(tmp_path, text, **options):
    (tmp_path / "net.prototxt").write_text(text)
    return load_caffe(tmp_path / "net.prototxt", **options)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("images", [False, True])
def test_mean_pictures_of_every_form(tmp_path, legacy, double, images):
    file = tmp_path / "mean.binaryproto"
    file.write_bytes(wire.blob(MEAN[None] if images else MEAN, legacy=legacy, double=double))
    expected = MEAN.astype(np.float64).mean((1, 2))
    np.testing.assert_allclose(read_mean(file, 3), expected, rtol=1e-12)


def test_where_a_mean_picture_is_found(tmp_path, monkeypatch):
    expected = pytest.approx(tuple(MEAN.astype(np.float64).mean((1, 2))))
    (tmp_path / "mean.binaryproto").write_bytes(wire.blob(MEAN))
    text = data('mean_file: "mean.binaryproto"') + CONV
    assert read(tmp_path, text).preprocessing.mean == expected
    # Prototxts name it as it lay on the machine that trained the network.
    beside = data('mean_file: "data/ilsvrc12/mean.binaryproto" scale: 0.5') + CONV
    found = read(tmp_path, beside).preprocessing
    assert found.mean == expected
    assert found.std == (2, 2, 2)
    old = data("", more='data_param { mean_file: "mean.binaryproto" }') + CONV
    assert read(tmp_path, old).preprocessing.mean == expected
    (tmp_path / "other.binaryproto").write_bytes(wire.blob(MEAN + 1))
    given = read(tmp_path, beside, mean_file=tmp_path / "other.binaryproto").preprocessing
    assert given.mean == pytest.approx(tuple(value + 1 for value in MEAN.astype(np.float64).mean((1, 2))))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "ilsvrc12").mkdir(parents=True)
    (tmp_path / "data" / "ilsvrc12" / "mean.binaryproto").write_bytes(wire.blob(MEAN + 2))
    assert read(tmp_path, beside).preprocessing.mean[0] == pytest.approx(float(MEAN[0].mean()) + 2)


def test_a_mean_picture_is_subtracted(tmp_path):
    mean = np.stack([np.full((4, 4), value) for value in (10, 20, 30)])
    (tmp_path / "mean.binaryproto").write_bytes(wire.blob(mean))
    loaded = read(tmp_path, data("") + CONV, mean_file=tmp_path / "mean.binaryproto")
    values = loaded.preprocessing(Image.new("RGB", (8, 8), (100, 50, 25)))
    assert values[:, 0, 0].tolist() == [15, 30, 70]  # blue, green, red


def test_spec_with_a_mean_picture(tmp_path):
    (tmp_path / "m.binaryproto").write_bytes(wire.blob(MEAN))
    (tmp_path / "a.prototxt").write_text(data("") + CONV)
    weights = wire.layer("conv", wire.blob(np.ones((2, 3, 3, 3))), wire.blob(np.zeros(2)))
    (tmp_path / "a.caffemodel").write_bytes(weights)
    files = [tmp_path / name for name in ("a.prototxt", "a.caffemodel", "m.binaryproto")]
    spec = f"caffe:{','.join(map(str, files))}"
    assert _catalogue.model_files(spec) == files
    assert _catalogue.load_model(spec).preprocessing.mean == pytest.approx(tuple(MEAN.mean((1, 2))))
    with pytest.raises(eb.ExcitationError, match=r"caffe:PROTOTXT,CAFFEMODEL\[,MEAN.binaryproto\]"):
        eb.load_model(f"caffe:{files[0]},{files[2]}")


BROKEN = {
    "channels": (wire.blob(MEAN[:2]), r"has shape \(2, 8, 8\); one picture of 3 channels"),
    "several": (wire.blob(np.stack([MEAN, MEAN])), r"has shape \(2, 3, 8, 8\)"),
    "flat": (wire.blob(MEAN.ravel()), r"has shape \(192,\)"),
    "nothing": (b"", r"has shape \(0, 0, 0, 0\)"),
    "missing": (wire.blob(MEAN.ravel()[:7], shape=MEAN.shape), "7 numbers, 192 expected"),
    "terabytes": (wire.blob([1], shape=(3, 1 << 30, 1 << 30)), "1 numbers"),
    "infinite": (wire.blob(np.full((3, 2, 2), np.inf)), "NaN or infinite"),
    "cut": (wire.blob(MEAN)[:-3], "damaged or cut short|numbers"),
    "text": (b"mean: 3", "no binaryproto|has shape"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_mean_pictures_that_do_not_fit(tmp_path, case):
    content, words = BROKEN[case]
    (tmp_path / "mean.binaryproto").write_bytes(content)
    with pytest.raises(eb.ExcitationError, match=words) as caught:
        read(tmp_path, data("") + CONV, mean_file=tmp_path / "mean.binaryproto")
    assert len(str(caught.value).splitlines()) == 1


def test_mean_pictures_that_are_not_there(tmp_path):
    with pytest.raises(eb.ExcitationError, match=r"'x\.binaryproto', which is neither there nor beside it; put it"):
        read(tmp_path, data('mean_file: "x.binaryproto"') + CONV)
    with pytest.raises(eb.ExcitationError, match="both mean_file and mean_value"):
        read(tmp_path, data('mean_file: "x.binaryproto" mean_value: 3') + CONV)
    with pytest.raises(eb.ExcitationError, match="cannot be read"):
        read(tmp_path, data("") + CONV, mean_file=tmp_path / "none.binaryproto")


def test_networks_of_one_channel_take_grey_pictures(tmp_path):
    grey = 'input: "data" input_shape { dim: 1 dim: 1 dim: 8 dim: 8 }\n'
    full = 'layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 3 } }'
    loaded = read(tmp_path, grey + CONV + full)
    assert (loaded.preprocessing.channels, loaded.preprocessing.mean, loaded.preprocessing.std) == ("L", (0,), (1,))
    values = loaded.preprocessing(Image.new("RGB", (20, 10), (200, 100, 50)))
    assert values.shape == (1, 8, 8)
    # Brightness as the ITU's recommendation 601 weighs the colours, to whole numbers.
    assert float(values[0, 0, 0]) == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert eb.explain(loaded, values[None], [1], layer="conv").maps.shape == (1, 1, 6, 6)
    forced = read(tmp_path, data("force_gray: true mean_value: 7 scale: 0.5") + CONV)
    assert (forced.preprocessing.channels, forced.preprocessing.mean, forced.preprocessing.std) == ("L", (7,), (2,))
    (tmp_path / "mean.binaryproto").write_bytes(wire.blob(MEAN))
    with pytest.raises(eb.ExcitationError, match="one picture of 1 channels"):
        read(tmp_path, grey + CONV, mean_file=tmp_path / "mean.binaryproto")
    with pytest.raises(ValueError, match="one value is expected"):
        eb.Preprocessing(channels="L")


class Names(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(function(func).name)
        return func(*args, **(kwargs or {}))


def test_powers_reach_the_engine_as_pow(tmp_path):
    """What becomes of them is the engine's to say; it must see the operation under its own name."""
    power = (
        'layer { name: "square" type: "Power" bottom: "conv" top: "y" power_param { power: 2 scale: 0.5 shift: 1 } }'
    )
    model = read(tmp_path, 'input: "data" input_shape { dim: 1 dim: 3 dim: 6 dim: 6 }\n' + CONV + power).model.double()
    image = torch.randn(1, 3, 6, 6, dtype=torch.float64)
    with torch.no_grad(), Names() as seen:
        found = model(image)
    assert torch.allclose(found, (1 + model.conv(image) / 2) ** 2, rtol=1e-12)
    assert seen.names.count("pow") == 1
