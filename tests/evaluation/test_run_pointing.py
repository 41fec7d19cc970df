"""The whole game on a world whose answers are known, and on real photos."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from pointing_world import MAPPING, SIDE, make_data, network, note, play

from excitation import ExcitationError, LayerError, explain
from excitation.data import category_target, is_difficult, read_coco, read_imagenet
from excitation.evaluation import (
    Centre,
    NamedMethod,
    StoreError,
    Tolerance,
    describe_method,
    is_hit,
    merge_results,
    point_of_map,
    read_results,
    region,
    run_pointing,
)
from excitation.evaluation._configuration import environment, hash_files, hash_model, hash_sources
from excitation.methods import find_method
from excitation.models._loaded import LoadedModel, Preprocessing


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("world") / "coco")


def timeless(results):
    return [dataclasses.replace(row, seconds=None) for row in results.rows], results.left_out, results.problems


def test_every_pair_method_and_layer_has_its_row(tmp_path, world):
    seen = []
    results = play(tmp_path / "run.sqlite", world, progress=seen.append)
    assert results.complete
    assert not results.problems
    data = read_coco(world)
    pairs = {(image.id, category) for image in data for category in image.categories if category != "hat"}
    expected = {
        (*pair, *method)
        for pair in pairs
        for method in [("mwp", "conv"), ("mwp", "pool"), ("c-mwp", "conv"), ("c-mwp", "pool"), ("centre", "")]
    }
    assert {(row.image, row.query, row.method, row.layer) for row in results.rows} == expected
    hats = {(image.id, "hat", "the category has no classes") for image in data if "hat" in image.categories}
    assert set(results.left_out) == hats
    assert len(hats) == 2
    assert [item.done for item in seen] == list(range(1, 13))
    assert (seen[-1].planned, seen[-1].earlier, seen[-1].remaining) == (12, 0, 0)


def test_rows_say_what_explain_and_the_metric_say(tmp_path, world):
    results = play(tmp_path / "run.sqlite", world, tolerance=Tolerance(3))
    model, data = network(), read_coco(world)
    rows = {(row.image, row.query, row.method, row.layer): row for row in results.rows}
    checked = 0
    for image in data:
        one = model.preprocessing(data.read(image))[None]
        for category in set(image.categories) - {"hat"}:
            for method, contrast in (("mwp", {}), ("c-mwp", {"method": "c-mwp"})):
                maps = explain(model, one, [category_target(MAPPING[category])], layer="conv", **contrast).maps
                row = rows[image.id, category, method, "conv"]
                point = point_of_map(maps[0, 0], image.size)
                assert (row.x, row.y) == point
                assert row.hit == is_hit(point, region(image, category), 3)
                assert row.mass == pytest.approx(float(maps.sum()), abs=1e-6)
                assert row.difficult == is_difficult(image, category, "segments")
                assert row.seconds > 0
                checked += 1
            centre = rows[image.id, category, "centre", ""]
            assert (centre.x, centre.y) == ((image.size[1] - 1) // 2, (image.size[0] - 1) // 2)
            assert centre.mass is None
    assert checked == 48
    # A network that knows colours exactly points at its squares.
    assert all(row.hit for row in results.rows if row.method == "mwp")
    assert not all(row.hit for row in results.rows if row.method == "centre")
    assert {row.difficult for row in results.rows} == {True, False}


def test_crowds_can_be_set_aside(tmp_path, world):
    results = play(tmp_path / "run.sqlite", world, crowds=False, methods={"centre": Centre()})
    crowded = {(image.id, item.category) for image in read_coco(world) for item in image.instances if item.crowd}
    told = {(image, category) for image, category, reason in results.left_out if "only crowds" in reason}
    assert told == crowded != set()
    assert not {(row.image, row.query) for row in results.rows} & crowded


def test_a_list_decides_what_is_difficult(tmp_path, world):
    listed = {str(i): {"red"} if i % 2 else set() for i in range(11)}
    results = play(tmp_path / "run.sqlite", world, difficult=listed, methods={"centre": Centre()})
    for row in results.rows:
        assert row.difficult == (row.query == "red" and row.image in listed and int(row.image) % 2 == 1)
    assert [sentence for _, sentence in results.problems] == [
        "image '11' is not in the list of difficult images; its pairs are treated as not difficult."
    ]


def test_one_forward_pass_for_all_layers_and_categories(tmp_path, world):
    calls = []
    model = network()
    model.model.register_forward_pre_hook(lambda module, inputs: calls.append(tuple(inputs[0].shape)))
    methods = {"mwp": NamedMethod("mwp"), "c-mwp": NamedMethod("c-mwp")}
    run_pointing(
        model, read_coco(world), methods, ("conv", "pool"), out=tmp_path / "r", mapping=MAPPING, shortest=48, limit=5
    )
    assert len(calls) == 5  # the same for both methods
    assert calls[0] == (1, 3, 48, 64)


def test_other_methods_plug_in(tmp_path, world):
    def corner(model, images, targets, *, layer=None):
        maps = torch.zeros(len(images), len(targets), 6, 8)
        maps[..., -1, -1] = 1
        return maps

    methods = {"corner": corner, "gradient": find_method("gradient"), "grad-cam": find_method("grad-cam")}
    results = play(tmp_path / "run", world, methods=methods, layers={"grad-cam": ("conv",)}, limit=4)
    assert results.configuration["blur"] == ["gradient"]
    assert results.configuration["layers"] == {"corner": [None], "gradient": [None], "grad-cam": ["conv"]}
    sizes = {image.id: image.size for image in read_coco(world)}
    for row in results.rows:
        assert row.layer == ("conv" if row.method == "grad-cam" else "default")
        if row.method == "corner":
            assert row.x > 0.85 * sizes[row.image][1]
            assert row.y > 0.8 * sizes[row.image][0]
    assert {row.method for row in results.rows} == set(methods)


def test_a_map_that_is_the_same_everywhere_points_nowhere(tmp_path, world):
    """The first pixel would be a hit on what lies in that corner."""

    def blank(model, images, targets, *, layer=None):
        return torch.zeros(len(images), len(targets), 6, 8)

    def flat(model, images, targets, *, layer=None):
        return torch.ones(len(images), len(targets), 6, 8)

    def corner(model, images, targets, *, layer=None):
        maps = torch.zeros(len(images), len(targets), 6, 8)
        maps[..., 0, 0] = 1
        return maps

    tolerance = Tolerance(30)
    results = play(
        tmp_path / "run", world, methods={"blank": blank, "flat": flat, "corner": corner}, tolerance=tolerance
    )
    assert any(row.hit for row in results.rows if row.method == "corner")
    for row in results.rows:
        if row.method != "corner":
            assert (row.x, row.y, row.hit) == (None, None, False)


def test_broken_pictures_are_noted_and_the_rest_is_played(tmp_path, world):
    copy = make_data(tmp_path / "coco")
    (copy / "images/3.png").write_bytes((copy / "images/3.png").read_bytes()[:90])
    (copy / "images/5.png").unlink()
    results = play(tmp_path / "run", copy)
    assert results.complete
    assert len(results.finished) == 12
    whole = play(tmp_path / "whole", world)
    assert {row.image for row in whole.rows} - {row.image for row in results.rows} == {"3", "5"}
    told = sorted(f"{Path(path).name} {sentence}" for path, sentence in results.problems)
    assert told[0].startswith("3.png is truncated or damaged")
    assert told[1].startswith("5.png image 5 in instances.json: its picture is missing")
    assert len(told) == 2


def test_a_method_that_fails_on_an_image_is_noted(tmp_path, world):
    mwp = NamedMethod("mwp")

    def moody(model, images, targets, *, layer=None):
        if images.shape[2] > images.shape[3]:
            raise RuntimeError("too tall\nfor me")
        maps = mwp(model, images, targets, layer=layer)
        return maps * torch.nan if images.shape[2] == images.shape[3] else maps

    results = play(tmp_path / "run", world, methods={"moody": moody, "mwp": mwp}, layers=("pool",))
    assert {int(row.image) % 3 for row in results.rows if row.method == "moody"} == {0}
    assert {int(row.image) % 3 for row in results.rows if row.method == "mwp"} == {0, 1, 2}
    told = {sentence for _, sentence in results.problems}
    assert "method 'moody' failed: too tall for me Its results are missing." in told
    assert any("is not finite" in sentence for sentence in told)

    def broken(model, images, targets, *, layer=None):
        raise RuntimeError("never works")

    with pytest.raises(ExcitationError, match="'broken' failed on 3 images and succeeded on none: never works"):
        play(tmp_path / "other", world, methods={"broken": broken})
    with pytest.raises(ExcitationError, match="failed on 3 images"):
        play(tmp_path / "shape", world, methods={"shape": lambda *_, layer: torch.zeros(1, 1)})


class Moody:
    """Works until its mood changes."""

    configuration = "moody"

    def __init__(self, works):
        self.works = works

    def __call__(self, model, images, targets, *, layer=None):
        if not self.works:
            raise RuntimeError("in a mood")
        return torch.eye(6).expand(len(images), len(targets), 6, 6)


def test_a_method_that_worked_before_is_not_given_up(tmp_path, world):
    def stop(state):
        if state.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(tmp_path / "run", world, methods={"moody": Moody(True)}, layers=(None,), progress=stop)
    results = play(tmp_path / "run", world, methods={"moody": Moody(False)}, layers=(None,))
    assert results.complete
    assert len({row.image for row in results.rows}) == 4
    assert sum("in a mood" in sentence for _, sentence in results.problems) == 8


def test_a_changed_package_is_noted_and_not_refused(tmp_path, world, monkeypatch):
    """A file of before this was noted is one more."""
    from excitation.evaluation import _configuration, _game, pointing_table

    real, out = _configuration.environment, tmp_path / "run"

    def session(**more):
        def stop(state):
            if state.done == state.earlier + 3:
                raise KeyboardInterrupt

        monkeypatch.setattr(_game, "environment", lambda device: {**real(device), **more})
        with pytest.raises(KeyboardInterrupt):
            play(out, world, methods={"centre": Centre()}, progress=stop)
        return read_results(out)

    monkeypatch.setattr(_configuration, "hash_sources", lambda: "aaaa")
    session()
    results = session()
    assert [item["sources"] for item in results.environments] == ["aaaa"]
    monkeypatch.setattr(_configuration, "hash_sources", lambda: "bbbb")
    results = session()
    assert [item["sources"] for item in results.environments] == ["aaaa", "bbbb"]
    assert "made under 2 different sets of versions" in " ".join(pointing_table([results]).notes)


def test_sources_are_names_and_contents(tmp_path):
    (tmp_path / "below").mkdir()
    file = tmp_path / "below/a.py"
    assert hash_files(tmp_path) == ""
    file.write_bytes(b"x = 1\ny = 2\n")
    first = hash_files(tmp_path)
    assert len(first) == 12
    (tmp_path / "note.txt").write_text("no source")
    file.write_bytes(b"x = 1\r\ny = 2\r\n")
    assert hash_files(tmp_path) == first
    file.write_bytes(b"x = 1\ny = 3\n")
    assert hash_files(tmp_path) != first
    file.write_bytes(b"x = 1\ny = 2\n")
    file.rename(tmp_path / "a.py")
    assert hash_files(tmp_path) != first
    assert environment(torch.device("cpu"))["sources"] == hash_sources()


def test_what_is_difficult_does_not_depend_on_whether_crowds_are_hit(tmp_path):
    copy = make_data(tmp_path / "coco", 3)
    file = copy / "annotations/instances.json"
    content = json.loads(file.read_text())
    # The picture has red in a corner, green, and a crowd of red over half of it.
    content["annotations"] = [
        note(0, 0, 1, (0, 0, 8, 8)), note(1, 0, 2, (50, 30, 8, 8)), note(2, 0, 1, (0, 16, 64, 32), crowd=True)
    ]  # fmt: skip
    file.write_text(json.dumps(content))
    methods = {"centre": Centre()}
    found = [play(tmp_path / str(crowds), copy, methods=methods, crowds=crowds) for crowds in (True, False)]
    for results, hit in zip(found, (True, False), strict=True):
        assert {row.query: (row.hit, row.difficult) for row in results.rows} == {
            "red": (hit, False), "green": (False, True)
        }  # fmt: skip


def test_what_is_wrong_with_the_question_stops_the_run(tmp_path, world):
    with pytest.raises(LayerError):
        play(tmp_path / "a", world, layers=("nowhere",))
    with pytest.raises(ExcitationError, match="not a class of this network"):
        play(tmp_path / "b", world, mapping={"red": (99,)})
    with pytest.raises(ExcitationError, match="no method"):
        play(tmp_path / "c", world, methods={})
    with pytest.raises(ExcitationError, match="at least one layer"):
        play(tmp_path / "d", world, layers=())
    with pytest.raises(ExcitationError, match="shard is"):
        play(tmp_path / "e", world, shard=(2, 2))


def test_a_run_is_its_configuration(tmp_path, world):
    out = tmp_path / "run"
    play(out, world, limit=2)
    assert play(out, world, limit=2).complete
    for change in (
        {"tolerance": Tolerance(14)}, {"mapping": {"red": (0,)}}, {"layers": ("pool",)}, {"crowds": False},
        {"methods": {"mwp": NamedMethod("mwp", spatial="softmax")}}, {"limit": 3}, {"difficult": {}}, {"shortest": 56},
        {"blur": {"mwp"}}, {"truth": "boxes"}, {"network": "other"},
    ):  # fmt: skip
        with pytest.raises(StoreError, match=f"another configuration.*{next(iter(change))}|preprocessing|classes"):
            play(out, world, **{"limit": 2, **change})
    other = network()
    other.model.classify.weight.data[0, 0] += 1e-6
    assert hash_model(other.model) != hash_model(network().model)
    assert (
        hash_model(network().model) == hash_model(network().model) == read_results(out).configuration["model"]["hash"]
    )


def test_categories_find_classes_by_name_or_by_the_data_set(tmp_path, world):
    named = dataclasses.replace(network(), class_names=["red", "green, lime", "blue", "navy"])
    results = run_pointing(named, read_coco(world), {"centre": Centre()}, out=tmp_path / "run", shortest=None)
    assert {row.query for row in results.rows} == {"red", "green", "blue"}
    assert results.configuration["preprocessing"]["size"] == [48, 48]


def test_images_without_places_are_left_out(tmp_path, shared):
    data = read_imagenet(shared("data/imagenet_sample"))
    results = run_pointing(network(), data, {"centre": Centre()}, out=tmp_path / "run", limit=3)
    assert [reason for _, _, reason in results.left_out] == ["the category has no annotated location"] * 3


def test_shards_give_the_whole(tmp_path, world):
    parts = [tmp_path / f"{index}.sqlite" for index in range(3)]
    for index, part in enumerate(parts):
        play(part, world, shard=(index, 3))
    merged = merge_results(parts, tmp_path / "merged.sqlite")
    assert timeless(merged) == timeless(play(tmp_path / "whole.sqlite", world))
    assert merged.complete


def test_kills_in_a_real_run_change_nothing(tmp_path, world, writers):
    out = tmp_path / "killed.sqlite"
    writers.kill_often(out, "point", out, world)
    assert timeless(play(out, world)) == timeless(play(tmp_path / "whole.sqlite", world))


def test_descriptions_are_the_same_in_another_process():
    texts = [describe_method(item) for item in (NamedMethod("c-mwp"), Centre(), find_method("gradient"), play)]
    assert "0x" not in "".join(texts)
    assert json.loads(texts[0])["name"] == "c-mwp"
    assert json.loads(texts[2])["name"] == "gradient"
    assert texts[3] == "pointing_world.play"
    assert describe_method(NamedMethod("mwp")) != texts[0]


def test_cropped_maps_point_into_the_crop(tmp_path, world):
    model = dataclasses.replace(network(), preprocessing=Preprocessing(size=(48, 48), resize="crop"))
    results = run_pointing(model, read_coco(world), {"mwp": NamedMethod("mwp")}, ("conv",), out=tmp_path / "run",
                           mapping=MAPPING, shortest=None, tolerance=Tolerance(SIDE))  # fmt: skip
    sizes = {image.id: image.size for image in read_coco(world)}
    for row in results.rows:
        height, width = sizes[row.image]
        assert (width - 48) // 2 <= row.x < (width + 48) // 2
        assert (height - 48) // 2 <= row.y < (height + 48) // 2


def test_real_photos(tmp_path, shared):
    """Some of COCO with untrained weights: every pair has a row, and a second call does nothing."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(3, 8, 7, stride=8), torch.nn.ReLU(), torch.nn.Conv2d(8, 1000, 1)]
    model = LoadedModel(torch.nn.Sequential(*layers).eval(), "random", Preprocessing())
    data = read_coco(shared("data/coco128"))
    mapping = json.loads(shared("data/coco128/coco_to_imagenet.json").read_text())
    out = tmp_path / "run"
    results = run_pointing(model, data, {"mwp": NamedMethod("mwp")}, ("1",), out=out, mapping=mapping, limit=6)
    known = sum(category in mapping for i in data.ids[:6] for category in data.image(i).categories)
    assert len(results.rows) == known > 0
    again = run_pointing(model, data, {"mwp": NamedMethod("mwp")}, ("1",), out=out, mapping=mapping, limit=6)
    assert again.rows == results.rows
