"""Localization, the grid game, deletion and the layer sweep on a world whose answers are known."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from games_world import LAYERS, METHODS, SINGLE, make_single, play_game
from pointing_world import network

from excitation import ExcitationError
from excitation.data import read_coco
from excitation.evaluation import (
    ALPHAS,
    Centre,
    NamedMethod,
    best_overlap,
    boxes_of_map,
    classified_photos,
    deletion,
    insertion,
    judge,
    localized,
    make_mosaic,
    merge_results,
    probabilities,
    report_tables,
    run_grid,
    run_pointing,
    sweep_layers,
)
from excitation.methods import find_method

GAMES = ("localization", "grid", "deletion")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_single(tmp_path_factory.mktemp("single") / "coco")


def timeless(results):
    return [dataclasses.replace(row, seconds=None) for row in results.rows], results.left_out, results.problems


def maps_of(name, layer, one, target):
    return find_method(name)(network(), one, [target], layer=layer)[0, 0]


@pytest.mark.parametrize("game", GAMES)
def test_every_image_method_and_layer_has_its_row(tmp_path, world, game):
    results = play_game(game, tmp_path / "run", world, methods={**METHODS, "centre": Centre()})
    assert results.complete
    assert not results.problems
    places = {(name, layer) for name, layers in LAYERS.items() for layer in layers}
    assert {(row.method, row.layer) for row in results.rows} == places  # the centre has no map
    assert len(results.rows) == 12 * len(places)
    assert play_game(game, tmp_path / "run", world).rows == results.rows
    (table, *_) = report_tables([results], samples=10)
    assert [name for name, _ in table.rows] == ["grad-cam", "mwp @ conv", "mwp @ pool", "c-mwp @ conv", "c-mwp @ pool"]


def test_localization_says_what_its_parts_say(tmp_path, world):
    results = play_game("localization", tmp_path / "run", world)
    data, model = read_coco(world), network()
    for row in results.rows:
        image = data.image(row.image)
        one = model.preprocessing(data.read(image))[None]
        boxes = boxes_of_map(maps_of(row.method, row.layer, one, *SINGLE[row.query]), (48, 48), grid=(48, 48))
        assert row.series == tuple(best_overlap(box, [image.instances[0].box]) for box in boxes)
        assert row.value == max(row.series)
    found = localized(results, samples=10)["mwp @ conv"]
    held = sorted(data.ids)[::3]
    mine = {row.image: row.series for row in results.rows if (row.method, row.layer) == ("mwp", "conv")}
    errors = [sum(mine[item][k] < 0.5 for item in held) / len(held) for k in range(len(ALPHAS))]
    assert found.search.error == min(errors)
    assert found.search.alpha == ALPHAS[errors.index(min(errors))]
    others = [mine[item] for item in data.ids if item not in held]
    assert found.error == sum(item[errors.index(min(errors))] < 0.5 for item in others) / len(others)
    assert found.error < 0.5  # the network knows its colours
    assert (found.search.images, found.judged) == (4, 8)


def test_a_localization_without_others_is_refused(tmp_path, world):
    with pytest.raises(ExcitationError, match=r"grad-cam has 1 boxes on held-out images .* and 0 on the others"):
        localized(play_game("localization", tmp_path / "run", world, limit=1))


def test_mosaics_say_what_their_parts_say(tmp_path, world):
    options = {"side": 2, "mosaics": 3, "cell": 48, "lowest": 0.0, "seed": 5}
    four = make_single(tmp_path / "four")
    file = four / "annotations/instances.json"
    # A fourth class, so that four cells differ: the last pictures are called navy.
    text = file.read_text().replace('{"id": 3, "name": "blue"}', '{"id": 3, "name": "blue"}, {"id": 4, "name": "navy"}')
    for number in (8, 11):
        text = text.replace(f'"image_id": {number}, "category_id": 3', f'"image_id": {number}, "category_id": 4')
    file.write_text(text)
    classes = {**SINGLE, "navy": (3,)}
    data, model = read_coco(four), network()
    results = run_grid(model, data, METHODS, LAYERS, out=tmp_path / "run", mapping=classes, **options)
    assert len(results.rows) == 3 * 4 * 5
    photos, names = classified_photos(model, data, lambda name: classes[name], data.ids, cell=48)
    assert len(photos) == 12
    assert names == {0: "red", 1: "green", 2: "blue", 3: "navy"}
    one = probabilities(model, model.preprocessing(data.read(data.image("0")))[None])
    assert photos[0].confidence == pytest.approx(float(one[0, 0]), abs=1e-6)
    from excitation.evaluation import choose_mosaics

    chosen = choose_mosaics(photos, 3, side=2, lowest=0.0, seed=5)
    prepare = dataclasses.replace(model.preprocessing, resize="squash", size=(96, 96))
    for number, mosaic in enumerate(chosen):
        picture, boxes = make_mosaic([data.read(data.image(photo.id)) for photo in mosaic], 48)
        rows = [row for row in results.rows if row.image == f"2x2-{number:05d}"]
        assert {row.query for row in rows} == set(classes)
        for photo, box in zip(mosaic, boxes, strict=True):
            maps = maps_of("mwp", "conv", prepare(picture)[None], photo.index)
            verdict = judge(maps, box, (96, 96))
            (row,) = [r for r in rows if (r.query, r.method, r.layer) == (names[photo.index], "mwp", "conv")]
            assert (row.hit, row.x, row.y) == (verdict.hit, *verdict.point)
            assert row.value == pytest.approx(verdict.share, abs=1e-6)
    with pytest.raises(ExcitationError, match="need photos of 4 classes"):
        play_game("grid", tmp_path / "few", four, side=2)


def test_deletion_says_what_its_parts_say(tmp_path, world):
    results = play_game("deletion", tmp_path / "run", world, limit=3)
    data, model = read_coco(world), network()
    for row in results.rows:
        one = model.preprocessing(data.read(data.image(row.image)))[None]
        (index,) = SINGLE[row.query]

        def score(inputs, index=index):
            return model.model(inputs).softmax(1)[:, index].detach()

        maps = maps_of(row.method, row.layer, one, index)
        areas = (deletion(score, one[0], maps, steps=3).area, insertion(score, one[0], maps, steps=3).area)
        assert row.series == pytest.approx(areas, abs=1e-6)
        assert row.value == pytest.approx(areas[1] - areas[0], abs=1e-6)
        assert row.hit == (row.value > 0)
    table = report_tables([results], samples=10)[0]
    assert [name for _, name in table.columns] == ["Deletion", "Insertion", "Difference"]
    values = [cells[0].value for _, cells in table.rows]
    assert [cells[0].best for _, cells in table.rows] == [value == min(values) for value in values]


def test_probabilities_of_scores_and_score_maps():
    scores = torch.tensor([[0.0, 1.0], [2.0, -1.0]])

    class Given(torch.nn.Module):
        def forward(self, images):
            return scores[:, :, None, None].expand(2, 2, 3, 3) if images.shape[2] > 1 else scores

    model = dataclasses.replace(network(), model=Given().eval())
    for size in (1, 4):
        images = torch.zeros(2, 3, size, size)
        assert torch.allclose(probabilities(model, images, "score"), scores)
        assert torch.allclose(probabilities(model, images, "sigmoid"), scores.sigmoid())
        assert torch.allclose(probabilities(model, images), scores.softmax(1))


@pytest.mark.parametrize("game", GAMES)
def test_shards_give_the_whole(tmp_path, world, game):
    parts = [tmp_path / f"{index}" for index in range(2)]
    for index, part in enumerate(parts):
        assert not any(row.x == -1 for row in play_game(game, part, world, shard=(index, 2)).rows)
    merged = merge_results(parts, tmp_path / "merged")
    assert timeless(merged) == timeless(play_game(game, tmp_path / "whole", world))
    with pytest.raises(ExcitationError, match="another configuration"):
        play_game(game, parts[0], world, shard=(0, 2), limit=11)


@pytest.mark.parametrize("game", GAMES)
def test_kills_change_nothing(tmp_path, world, writers, game):
    out = tmp_path / "killed"
    writers.kill_often(out, "game", game, out, world)
    assert timeless(play_game(game, out, world)) == timeless(play_game(game, tmp_path / "whole", world))


def test_methods_that_can_share_one_forward_pass(tmp_path, world):
    calls = []
    model = network()
    model.model.register_forward_pre_hook(lambda module, inputs: calls.append(1))
    methods = {name: NamedMethod(name) for name in ("mwp", "c-mwp", "r-mwp", "eb-without-norm", "eb-post-norm")}
    run = run_pointing(
        model, read_coco(world), methods, ("conv", "pool"), out=tmp_path / "r", mapping=SINGLE, shortest=48
    )
    assert len(calls) == 12
    assert len(run.rows) == 12 * 5 * 2
    for row in run.rows:
        alone = run_pointing(
            network(), read_coco(world), {row.method: methods[row.method]}, (row.layer,),
            out=tmp_path / f"{row.method}{row.layer}", mapping=SINGLE, shortest=48, limit=1,
        ).rows[0]  # fmt: skip
        if row.image == alone.image:
            assert dataclasses.replace(row, seconds=None) == dataclasses.replace(alone, seconds=None)


def test_one_that_fails_does_not_stop_those_it_shares_with(tmp_path, world, monkeypatch):
    from excitation.evaluation import _method_runner

    def broken(model, images, targets, methods, layers):
        raise RuntimeError("too large together")

    monkeypatch.setattr(_method_runner, "maps_from_one_pass", broken)
    results = play_game("pointing", tmp_path / "run", world, limit=2)
    assert not results.problems
    assert {row.method for row in results.rows} == set(METHODS)


def test_the_sweep_takes_every_layer_with_space(world):
    assert sweep_layers(network(), read_coco(world), 48) == ("pool", "conv")
