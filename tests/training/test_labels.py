"""Fine-tuning on labels: the output layer alone or more, and the file that `--model` takes back."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from excitation import explain
from excitation.models import ModelError, load_model, to_fully_convolutional
from excitation.models._trained import read_about
from excitation.training import Options, TrainingError, measure, read_labelled, train_labels
from excitation.training._fit import predict
from excitation.training._output_layer import Scores, features, is_last, output_layer, with_classes

MODEL = "training_networks:pooled"
OPTIONS = Options(rate=0.3, batch=8, passes=12)


def trained(colours, out, model=MODEL, options=OPTIONS, **more):
    return train_labels(f"folder:{colours}", model, out, options=options, **more)


def test_the_output_layer_learns_other_classes(colours, tmp_path):
    found = trained(colours, tmp_path / "run")
    assert found.cached
    assert found.held_out.mean > 0.95
    assert list(found.held_out.by_class) == ["blue", "green", "red"]
    assert found.held_out.low <= found.held_out.mean <= found.held_out.high
    before, after = load_model(MODEL), load_model(f"trained:{found.file},{MODEL}")
    assert after.class_names == ("blue", "green", "red")
    assert after.preprocessing == before.preprocessing
    old, new = before.model.state_dict(), after.model.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old if not name.startswith("1."))
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["held out"]["mean"] == round(found.held_out.mean, 4)
    # And it can be explained, whole and as a score map.
    images = torch.rand(1, 3, 16, 16)
    assert explain(after, images, ["red"], layer="0.2").maps.shape[1] == 1
    larger = to_fully_convolutional(after, (16, 16)).model(torch.rand(1, 3, 24, 24))
    assert larger.shape[1] == 3


def test_computing_features_once_is_exact(colours):
    """The same views give the same scores whether the network is asked or its output layer alone."""
    loaded = with_classes(load_model(MODEL), ("red", "green"), np.array([0.5, 0.1]))
    examples = read_labelled(f"folder:{colours}", ("red", "green")).examples(loaded, _recipe(loaded))
    images, _ = examples.batch([0, 30, 50], [1, 2])
    assert is_last(loaded, images)
    layer = loaded.model.get_submodule(output_layer(loaded))
    assert torch.equal(layer(features(loaded, images)), loaded.model(images))
    assert not is_last(with_classes(load_model("training_networks:averaged"), "ab", np.array([0.5, 0.5])), images)


def _recipe(loaded):
    from excitation.training import Recipe

    return Recipe.of(loaded.preprocessing)


def test_views_of_the_moment_and_an_averaged_head_learn_too(colours, tmp_path):
    fresh = trained(colours, tmp_path / "fresh", views=0)
    assert not fresh.cached
    assert fresh.held_out.mean > 0.9
    averaged = trained(colours, tmp_path / "averaged", "training_networks:averaged")
    assert not averaged.cached
    assert averaged.held_out.mean > 0.9


def test_more_layers_change_only_those(colours, tmp_path):
    found = trained(colours, tmp_path / "run", layers=["0.0"], options=Options(rate=0.05, batch=8, passes=2))
    old, new = load_model(MODEL).model.state_dict(), safetensors.torch.load_file(found.file)
    changed = {name for name in old if old[name].shape != new[name].shape or not torch.equal(old[name], new[name])}
    assert changed == {"0.0.weight", "0.0.bias", "1.weight", "1.bias"}
    with pytest.raises(TrainingError, match="no layer 'nowhere'"):
        trained(colours, tmp_path / "other", layers=["nowhere"])
    with pytest.raises(TrainingError, match=r"'0\.2' has no parameters"):
        trained(colours, tmp_path / "other", layers=["0.2"])


def test_new_biases_are_log_odds(colours):
    shares = np.array([0.5, 0.01, 0.2])
    loaded = with_classes(load_model(MODEL), "xyz", shares, seed=3)
    layer = loaded.model.get_submodule("1")
    np.testing.assert_allclose(torch.sigmoid(layer.bias).detach(), shares, rtol=1e-5)
    assert 0.003 < float(layer.weight.detach().std()) < 0.03
    assert torch.equal(layer.weight, with_classes(load_model(MODEL), "xyz", shares, seed=3).model[1].weight)


def test_scores_that_cannot_be_negative_are_refused():
    with pytest.raises(TrainingError, match="ReLU or softmax after their layer"):
        with_classes(load_model("training_networks:rectified"), "xy", np.array([0.5, 0.5]))


def test_a_class_without_a_picture_is_left_out_and_told(colours, tmp_path):
    (colours / "empty").mkdir()
    found = trained(colours, tmp_path / "run", options=Options(batch=8, passes=1))
    assert found.empty == ("empty",)
    assert "empty" not in load_model(f"trained:{found.file},{MODEL}").class_names
    assert any("contain a picture" in problem for problem in found.problems)


def test_other_data_measure_it(colours, tmp_path):
    found = trained(colours, tmp_path / "run", test=f"folder:{colours}")
    assert found.test is not None
    assert found.test.pictures == 60
    assert found.test.mean > 0.95


def test_a_run_that_is_called_again_gives_the_same(colours, tmp_path):
    first = trained(colours, tmp_path / "run", options=Options(batch=8, passes=2))
    content, said = safetensors.torch.load_file(first.file), read_about(first.file)
    assert trained(colours, tmp_path / "run", options=Options(batch=8, passes=2)).fitted == first.fitted
    again = safetensors.torch.load_file(first.file)
    assert all(torch.equal(again[name], content[name]) for name in content)
    assert read_about(first.file) == said


def test_a_file_may_not_name_code_to_run(colours, tmp_path):
    found = trained(colours, tmp_path / "run", options=Options(batch=8, passes=1))
    with pytest.raises(ModelError, match="whose code would be run; if you trust it"):
        load_model(f"trained:{found.file}")


def test_what_is_no_trained_file_is_refused(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    for name, said in (("gone", "no such file"), ("bad", "not a whole"), ("plain", "not written by")):
        with pytest.raises(ModelError, match=said):
            load_model(f"trained:{tmp_path}/{name}.safetensors")
    with pytest.raises(ModelError, match="does not name a file"):
        load_model("trained:")


def test_a_bundled_network_comes_back_without_its_spec(colours, tmp_path):
    found = trained(colours, tmp_path / "run", "symbols", Options(batch=16, passes=1), views=1)
    loaded = load_model(f"trained:{found.file}")
    assert loaded.class_names == ("blue", "green", "red")
    held = read_labelled(f"folder:{colours}").part([0, 1])
    scores, _ = predict(Scores(loaded), held.examples(loaded, _recipe(loaded)))
    assert scores.shape == (2, 3)


def test_precision_by_size_leaves_other_sizes_out():
    labels = np.array([[1], [1], [0], [0]], bool)
    shares = np.array([[0.5], [0.02], [0], [0]])
    scores = np.array([[3.0], [0.0], [2.0], [1.0]])
    found = measure(scores, labels, shares, ["x"])
    assert found.by_size["0.2-1"] == (1.0, 1)
    assert found.by_size["0.01-0.05"] == (pytest.approx(1 / 3), 1)
    assert found.by_class["x"] == (pytest.approx((1 + 0.5) / 2), 2)


def test_data_that_cannot_be_used_are_refused(colours, tmp_path):
    with pytest.raises(TrainingError, match="no such folder"):
        trained(tmp_path / "gone", tmp_path / "run")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(TrainingError, match="no picture"):
        trained(tmp_path / "nothing", tmp_path / "run")


def test_the_command_says_what_it_did(colours, tmp_path, run):
    words = ("train", "labels", "--data", f"folder:{colours}", "--model", MODEL, "--out", tmp_path / "run", "--rate",
             0.3, "--batch", 8, "--passes", 12)  # fmt: skip
    code, out, err = run(*words)
    assert code == 0
    assert out.startswith("held out: mean average precision ")
    assert "model.safetensors written" in err
    code, out, err = run(*words[:-1], 13)
    assert code == 2
    assert "with another options; choose another folder" in err


def test_on_real_pictures(shared, tmp_path):
    """The output layer of a real network, on few real pictures: it learns what is there."""
    folder = shared("models/squeezenet_v1.0")
    data = f"voc:{shared('data/voc_photos')}"
    model = f"caffe:{folder}/deploy_gapfirst.prototxt,{folder}/squeezenet_v1.0.caffemodel"
    found = train_labels(data, model, tmp_path, views=1, options=Options(batch=8, passes=3))
    assert found.cached
    assert load_model(f"trained:{found.file}").class_names is not None
