"""`excitation demo`: the first minute of a new user, and the bundled classifier."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest
import torch
from PIL import Image

import excitation as eb
from excitation.cli._demo_command import crowded_scene
from excitation.data.symbols import PAIRS, make_scene
from excitation.models.symbols import SymbolNet, SymbolResNet, folded


def test_the_demo_shows_every_object(run, tmp_path):
    code, out, err = run("demo", "--seed", 0, "--out", tmp_path)
    assert (code, err) == (0, "")
    scene = crowded_scene(0)
    lost = []
    for instance in scene.instances:
        (line,) = [line for line in out.splitlines() if line.startswith(f"{instance.colour_name} {instance.name} ")]
        lost.append(float(line.split()[-1]))
        assert float(line.split()[-2]) + lost[-1] == pytest.approx(1, abs=2e-6)  # each object's own account
    assert len(set(lost)) > 1
    assert f"scene {scene.index} of world 0, explained at inception_3b\n" in out
    assert "on top 1.000000" in out
    assert float(out.partition(" + lost ")[2].split()[0]) == pytest.approx(np.mean(lost), abs=2e-6)
    with np.load(tmp_path / "maps.npz") as stored:
        assert stored["MWP"].shape[0] == len(scene.instances)
        assert stored["MWP"].sum((1, 2)) == pytest.approx(1, abs=1e-4)
        assert stored["c-MWP"].min() >= 0
    assert np.array_equal(np.asarray(Image.open(tmp_path / "picture.png")), scene.image)
    with Image.open(tmp_path / "maps.png") as drawn:
        assert min(drawn.size) > 500


@pytest.fixture
def lite():
    try:
        return eb.load_model("lite")
    except eb.ExcitationError as error:
        pytest.skip(str(error))


def test_the_demo_begins_with_a_photo(run, lite, tmp_path):
    code, out, err = run("demo", "--out", tmp_path)
    assert (code, err) == (0, "")
    assert out.startswith("photo of a cup of coffee, explained by lite at blocks.6.0.bn1.act")
    assert out.index("wooden spoon") < out.index("scene ")
    with np.load(tmp_path / "photo.npz") as stored:
        assert stored["names"].tolist() == ["espresso", "cup", "wooden spoon"]
        # The contrast with all other classes finds the spoon right of the coffee, as it lies in the photo.
        columns = [one.max(0).argmax() / one.shape[1] for one in stored["r-MWP"]]
        assert columns[0] < 0.55 < columns[2]
        assert stored["MWP"].max() <= 1
    with Image.open(tmp_path / "photo.png") as drawn:
        assert min(drawn.size) > 500


def test_a_photo_of_ones_own_is_explained_by_its_likeliest_classes(run, lite, tmp_path):
    path = tmp_path / "own.png"
    Image.effect_noise((90, 70), 80).convert("RGB").save(path)
    code, out, _ = run("demo", "--photo", path, "--out", tmp_path / "out")
    assert code == 0
    assert "scene" not in out
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"photo.png", "photo.npz"}
    with torch.no_grad():
        scores = lite.model(lite.preprocessing(Image.open(path))[None])[0]
    with np.load(tmp_path / "out" / "photo.npz") as stored:
        assert stored["classes"].tolist() == scores.topk(3).indices.tolist()
    assert run("demo", "--photo", tmp_path / "absent.png")[0] == 2


def test_without_the_extra_the_demo_shows_the_symbol_world_and_says_so(run, monkeypatch, tmp_path):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    code, out, err = run("demo", "--out", tmp_path)
    assert code == 0
    assert "the photo is skipped" in err
    assert "excitation[lite]" in err
    assert out.startswith("scene 9")
    code, _, err = run("demo", "--photo", tmp_path / "own.png")
    assert code == 2
    assert "excitation[lite]" in err


def test_another_seed_is_another_picture():
    first, second = crowded_scene(0), crowded_scene(1)
    assert first.image.shape != second.image.shape or not np.array_equal(first.image, second.image)
    assert 4 <= len({item.symbol for item in first.instances}) == len(first.instances) <= 6


@pytest.mark.parametrize("spec", ["symbols", "symbols:resnet"])
def test_the_bundled_classifiers_see_single_objects(spec):
    """On pictures they have not seen, of one large object each: the right symbol nearly always."""
    loaded = eb.load_model(spec)
    assert loaded.spec == spec
    paired = {symbol for pair in PAIRS for symbol in pair}
    right = seen = 0
    for index in range(40):
        scene = make_scene(index, 0, "dominant")
        if scene.instances[0].symbol in paired:
            continue
        with torch.no_grad():
            scores = loaded.model(loaded.preprocessing(Image.fromarray(scene.image))[None])[0]
        right += int(scores[:40].argmax()) == scene.instances[0].symbol
        seen += 1
    assert seen > 20
    assert right / seen > 0.85


def test_its_class_names_work_as_targets_and_others_are_refused():
    loaded = eb.load_model("symbols")
    images = torch.zeros(1, 3, 160, 160)
    assert torch.equal(eb.explain(loaded, images, ["cup"]).maps, eb.explain(loaded, images, [15]).maps)
    with pytest.raises(eb.TargetError, match="umbrella"):
        eb.explain(loaded, images, ["umbrela"])
    with pytest.raises(eb.ExcitationError, match="it is 'symbols' or 'symbols:resnet'"):
        eb.load_model("symbols:resnet50")


def test_folding_keeps_the_scores():
    torch.manual_seed(0)
    trained = SymbolNet(5, batch_norm=True)
    with pytest.raises(ValueError, match="training mode"):
        folded(trained)
    images = torch.rand(2, 3, 64, 80)
    trained(images)  # statistics that are not the initial ones
    trained = trained.double().eval()
    plain = folded(trained).double()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in plain.modules())
    assert torch.allclose(plain(images.double()), trained(images.double()), atol=1e-6)


def test_the_residual_network_runs_and_keeps_its_mass():
    torch.manual_seed(0)
    model = SymbolResNet(5).double().eval()
    images = torch.rand(1, 3, 64, 80).double()
    assert model(images).shape == (1, 5)
    account = eb.balance(model, images, [2], layer="layer2")
    assert float(account.arrived + account.lost) == pytest.approx(1)
