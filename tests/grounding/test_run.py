"""The evaluation of phrases as a run: resumption, the choice of gamma, tables, and other models' boxes."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import pytest
import torch
from PIL import Image

import excitation as eb
from excitation import ExcitationError
from excitation.data.symbols import export_scenes, make_scene
from excitation.evaluation import NamedMethod, read_results
from excitation.grounding import (
    GAMMAS,
    GROUPS,
    PROTOCOLS,
    Detections,
    Proposals,
    choose_phrase_rows,
    chosen_gammas,
    evaluate,
    fuse_maps,
    gamma_figure,
    gamma_recalls,
    judge_phrase,
    judgements,
    open_phrases,
    open_proposals,
    phrase_tables,
    point_phrases,
    rescore,
    run_phrases,
    symbol_phrases,
    write_npz_proposals,
)

METHODS = {"mwp": NamedMethod("mwp"), "c-mwp": NamedMethod("c-mwp"), "cam": NamedMethod("cam")}
LAYERS = {"mwp": ("inception_3b",), "c-mwp": ("inception_3b",), "cam": (None,)}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    root = tmp_path_factory.mktemp("worlds")
    for split, count in (("test", 4), ("val", 3)):
        for _ in export_scenes(root / split, count, 0, split):
            pass
    return root


def opened(worlds, split):
    return open_phrases(f"flickr30k:{worlds / split / 'entities'}", worlds / split / "images")


def windows(image, _):
    """Boxes on a grid, so that no package is needed; the score prefers small ones."""
    height, width = image.size
    boxes = [
        (x, y, min(x + side, width), min(y + side, height))
        for side in (30, 60, 110)
        for x in range(0, width - side // 2, side // 2)
        for y in range(0, height - side // 2, side // 2)
    ]
    table = torch.tensor(boxes, dtype=torch.float64)
    return Proposals(image.size, table, -(table[:, 2] - table[:, 0]))


def run(worlds, out, **changed):
    given = {
        "methods": METHODS, "layers": LAYERS, "proposals": windows, "proposals_name": "windows", "shortest": 160,
        "lookup": "case", "fusions": ("mean", "minimum"), "validation": opened(worlds, "val"), **changed,
    }  # fmt: skip
    return run_phrases(eb.load_model("symbols:tags"), opened(worlds, "test"), out=out, **given)


@pytest.fixture(scope="module")
def results(worlds, tmp_path_factory):
    return run(worlds, tmp_path_factory.mktemp("run") / "run.sqlite")


def test_every_phrase_method_and_fusion_has_its_row(worlds, results):
    boxed = [phrase for phrase in opened(worlds, "test").phrases() if phrase.boxes]
    judged = judgements(results)
    assert list(judged) == ["proposals", "cam", "cam, minimum", "mwp", "mwp, minimum", "c-mwp", "c-mwp, minimum"]
    for own in judged.values():
        assert sorted((item.image, item.key) for item in own) == sorted(
            (f"test/{phrase.image}", phrase.key) for phrase in boxed
        )
        assert {item.text for item in own} == {phrase.text.casefold() for phrase in boxed}
    assert len(results.finished) == results.planned == 7


def test_ranks_are_those_of_the_parts(worlds, results):
    """One image by hand: explain, mean of the words, rescore with the chosen gamma, judge."""
    model = eb.load_model("symbols:tags")
    data = opened(worlds, "test")
    image = data.image(data.ids[1])
    gamma = chosen_gammas(results)["c-mwp @ inception_3b"]
    rows = {row.query: row for row in results.rows if row.image == f"test/{image.id}" and row.method == "c-mwp"}
    regions = windows(image, None)
    checked = 0
    for phrase in image.phrases:
        names = [name for name in phrase.text.casefold().split() if name in model.class_names]
        if not phrase.boxes or not names or "sign" in names or "pair" in phrase.text:
            continue
        with Image.open(image.path) as picture:
            found = eb.explain(model, picture, names, layer="inception_3b", method="c-mwp")
        whole = torch.nn.functional.interpolate(fuse_maps(found.maps[0])[None, None], image.size, mode="bicubic")
        whole = whole[0].clamp(min=0)
        (ranked,) = rescore(whole, regions, gamma)
        (row,) = (row for query, row in rows.items() if query.startswith(f"{phrase.key}/"))
        for place, protocol in enumerate(PROTOCOLS):
            first = judge_phrase(phrase, image.size, ranked, protocol).first
            assert row.series[place] == (-1 if first is None else first)
        (point,) = point_phrases([phrase], whole)
        assert row.series[len(PROTOCOLS)] == point.hit
        assert row.series[len(PROTOCOLS) + 2 :] == pytest.approx(ranked.scores.tolist(), rel=1e-4, abs=1e-9)
        checked += 1
    assert checked >= 3


def test_gamma_is_the_best_of_the_validation_split(results):
    recalls = gamma_recalls(results)
    assert len(recalls) == 6
    for name, gamma in chosen_gammas(results).items():
        best = max(recalls[name].values())
        assert gamma == min(value for value in GAMMAS if recalls[name][value] == best)
    assert len({tuple(values.values()) for values in recalls.values()}) > 1
    assert gamma_figure(results).axes


def test_a_stopped_run_goes_on_and_repeats_nothing(worlds, results, tmp_path):
    class StopError(Exception):
        pass

    def stop(progress):
        if progress.done in (2, 5):
            raise StopError

    for _ in range(2):
        with pytest.raises(StopError):
            run(worlds, tmp_path / "run.sqlite", progress=stop)
    seen = []
    again = run(worlds, tmp_path / "run.sqlite", progress=lambda progress: seen.append(progress.done))
    assert seen == [6, 7]
    timeless = [[(*vars(row).items(),) for row in found.rows] for found in (again, results)]
    assert [[item for item in row if item[0] != "seconds"] for row in timeless[0]] == [
        [item for item in row if item[0] != "seconds"] for row in timeless[1]
    ]
    with pytest.raises(ExcitationError, match="another configuration"):
        run(worlds, tmp_path / "run.sqlite", shortest=200)


def test_boxes_of_another_model_are_scored_by_the_same_code(worlds, tmp_path):
    """A model that knows the answer for one type of phrase, and one that says nothing."""
    data = opened(worlds, "test")
    boxed = [phrase for phrase in data.phrases() if phrase.boxes]
    known = {
        (phrase.image, phrase.key): Detections.ranked(torch.tensor([phrase.target], dtype=torch.float64), torch.ones(1))
        for phrase in boxed[::2]
    }
    found = run(worlds, tmp_path / "run.sqlite", validation=None, gamma=0.5, detections={"CCA*": known, "mute": {}},
                methods={"mwp": METHODS["mwp"]}, layers=("inception_3b",), fusions=("mean",))  # fmt: skip
    judged = judgements(found)
    assert list(judged) == ["proposals", "mwp", "CCA*", "mute"]
    assert evaluate(judged["CCA*"]).recall[1] == pytest.approx(len(boxed[::2]) / len(boxed))
    assert evaluate(judged["mute"]).recall[10] == 0
    tables = phrase_tables(found, "merged", against=("CCA*",))
    assert tables[-1].title == "Recall minus that of CCA*"
    assert {name: cells[0].value for name, cells in tables[-1].rows}["mute"] == pytest.approx(
        -100 * len(boxed[::2]) / len(boxed)
    )
    with pytest.raises(ExcitationError, match="no validation split"):
        gamma_figure(found)
    with pytest.raises(ExcitationError, match="another row"):
        run(worlds, tmp_path / "other.sqlite", detections={"mwp": known})


def test_the_papers_tables_stand_beside(results):
    association, groups, pointing = phrase_tables(results, paper=True)
    names = [name for name, _ in association.rows]
    assert names[:4] == ["proposals", "MCG's own scores (paper)", "cam", "cam, minimum"]
    assert names[names.index("c-mwp, minimum") + 1] == "c-MWP, MCG (paper)"
    columns = dict(zip(association.columns, dict(association.rows)["c-MWP, MCG (paper)"], strict=True))
    assert columns["", "gamma"].text == "0.50"
    assert columns["small", "R@1"].value == 21.2
    assert columns["all", "mAP (phrase)"].value == 30.8
    lrp = dict(zip(groups.columns, dict(groups.rows)["LRP, MCG (paper)"], strict=True))
    assert [lrp["", group].value for group in GROUPS] == [64.6, 37.7, 16.4, 62.9, 63.5, 45.7, 59.4, 37.9]
    assert "LRN" in groups.notes[-1]
    assert [column for _, column in pointing.columns] == ["phrase", "entity"]
    chosen = choose_phrase_rows(results, ["c-mwp"])
    assert [name for name, _ in phrase_tables(chosen)[0].rows] == ["c-mwp"]
    for wrong in ([], ["zebra"]):
        with pytest.raises(ExcitationError, match="row"):
            choose_phrase_rows(results, wrong)


def test_chosen_rows_keep_their_names_and_tables(worlds, tmp_path):
    found = run(worlds, tmp_path / "run.sqlite", validation=None, gamma=0.5, detections={"CCA,a": {}},
                methods={"c-mwp": METHODS["c-mwp"], "mwp": METHODS["mwp"]},
                layers={"mwp": ("inception_3b", "inception_3a"), "c-mwp": ("inception_3b",)})  # fmt: skip
    every = ["proposals", "mwp @ inception_3b", "mwp @ inception_3a", "mwp, minimum @ inception_3b",
             "mwp, minimum @ inception_3a", "c-mwp", "c-mwp, minimum", "CCA,a"]  # fmt: skip
    assert list(judgements(found)) == every
    whole = dict(phrase_tables(found)[0].rows)
    for name in every:
        table = phrase_tables(choose_phrase_rows(found, [name]))[0]
        assert table.rows == ((name, whole[name]),)
        assert ("have no box by" in table.notes[0]) == (name not in ("proposals", "CCA,a"))
    assert whole["mwp @ inception_3a"][0].text == "0.50"
    assert not whole["CCA,a"][0].text


def test_names_of_rows_that_cannot_be_told_from_others_are_refused(worlds, tmp_path):
    for name in ("CCA, product", "CCA, other", "CCA @ home"):
        for changed in ({"detections": {name: {}}}, {"methods": {name: METHODS["mwp"]}, "layers": ("inception_3b",)}):
            with pytest.raises(ExcitationError, match="choose a name without"):
                run(worlds, tmp_path / "run.sqlite", **changed)


def test_changed_contents_refuse_to_continue(worlds, tmp_path):
    """Each time only a content changes, never a name."""
    data, model = opened(worlds, "test").first(1), eb.load_model("symbols:tags")
    image = data.image(data.ids[0])
    box = torch.tensor([[0.0, 0, 9, 9]], dtype=torch.float64)

    def play(loaded=model, boxes=box):
        return run_phrases(
            loaded, data, {"mwp": METHODS["mwp"]}, tmp_path / "run.sqlite", gamma=0.5, shortest=None, lookup="case",
            proposals=open_proposals(f"npz:{tmp_path}"), proposals_name="files", layers=("inception_3b",),
            detections={"CCA": {(image.id, image.phrases[0].key): Detections.ranked(boxes, torch.ones(len(boxes)))}},
        )  # fmt: skip

    write_npz_proposals(tmp_path / f"{image.id}.npz", windows(image, None))
    assert play().rows == play().rows
    names = (*model.class_names[1:], model.class_names[0])
    smaller = dataclasses.replace(model.preprocessing, size=(64, 64))
    for changed, said in (
        ({"boxes": box + 1}, "detections"),
        ({"loaded": dataclasses.replace(model, class_names=names)}, "dictionary"),
        ({"loaded": dataclasses.replace(model, preprocessing=smaller)}, "preprocessing"),
    ):
        with pytest.raises(ExcitationError, match=f"another configuration.*{said}"):
            play(**changed)
    play()
    write_npz_proposals(tmp_path / f"{image.id}.npz", windows(image, None).best(9))
    with pytest.raises(ExcitationError, match=r"another configuration.*proposals_hash"):
        play()


def test_data_without_picture_files_is_refused(tmp_path):
    with pytest.raises(ExcitationError, match="symbols-test could be judged, since no image has a picture file"):
        run_phrases(eb.load_model("symbols:tags"), symbol_phrases(3), {"mwp": METHODS["mwp"]}, tmp_path / "run.sqlite",
                    proposals=windows, proposals_name="windows", gamma=1, lookup="case")  # fmt: skip


def test_a_folder_with_an_at_sign_is_opened(worlds, tmp_path):
    scenes = tmp_path / "a@b"
    shutil.copytree(worlds / "val", scenes)
    shutil.copytree(scenes / "entities", scenes / "c@d")
    ids = opened(worlds, "val").ids
    for folder in ("entities", "c@d"):
        assert open_phrases(f"flickr30k:{scenes / folder}", scenes / "images").ids == ids
        (scenes / folder / "two.txt").write_text("\n".join(ids[:2]))
        assert open_phrases(f"flickr30k:{scenes / folder}@two", scenes / "images").ids == ids[:2]
    with pytest.raises(ExcitationError, match="zebra"):
        open_phrases(f"flickr30k:{scenes / 'c@d'}@zebra", scenes / "images")


def test_wrong_settings_are_refused(worlds, tmp_path):
    for changed, said in (
        ({"gamma": 0.5}, "one of the two"), ({"validation": None}, "one of the two"),
        ({"validation": None, "gamma": 2}, "gamma"), ({"fusions": ()}, "fusion"), ({"methods": {}}, "method"),
        ({"validation": open_phrases(f"flickr30k:{worlds / 'val' / 'entities'}", tmp_path)}, "could be judged"),
    ):  # fmt: skip
        with pytest.raises(ExcitationError, match=said):
            run(worlds, tmp_path / f"{len(said)}.sqlite", **changed)


def test_bad_pictures_are_listed_and_left_out(worlds, tmp_path):
    broken = tmp_path / "images"
    broken.mkdir()
    names = opened(worlds, "test").ids
    (broken / f"{names[0]}.png").write_bytes(b"no picture")
    Image.new("RGB", (20, 20)).save(broken / f"{names[1]}.png")
    Image.fromarray(make_scene(2, 0, "test").image).save(broken / f"{names[2]}.png")
    data = open_phrases(f"flickr30k:{worlds / 'test' / 'entities'}", broken)
    found = run_phrases(eb.load_model("symbols:tags"), data, {"mwp": METHODS["mwp"]}, tmp_path / "run.sqlite",
                        proposals=windows, proposals_name="windows", gamma=1, shortest=160, lookup="case")  # fmt: skip
    assert {row.image for row in found.rows} == {f"test/{names[2]}"}
    assert len(found.problems) == 3


def test_phrases_of_a_method_that_fails_count_as_missed(worlds, tmp_path):
    calls = []

    def fails_second(model, image, targets, layer):
        calls.append(None)
        if len(calls) > 1:
            raise ExcitationError("no map here.")
        return torch.rand(1, len(targets), 8, 8)

    found = run(worlds, tmp_path / "run.sqlite", validation=None, gamma=0.5, fusions=("product",),
                methods={"half": fails_second}, layers=(None,))  # fmt: skip
    judged = judgements(found)
    assert len(judged["half, product"]) == len(judged["proposals"])
    first = found.finished[0]
    assert {item.image for item in judged["half, product"] if len(item.scores)} == {first}
    assert sum("failed" in sentence for _, sentence in found.problems) == 3
    silent = sum(not len(item.scores) for item in judged["half, product"])
    assert f"{silent} have no box by half, product" in phrase_tables(found)[0].notes[0]


def test_a_method_that_always_fails_stops_a_run_that_goes_on(worlds, tmp_path):
    class StopError(Exception):
        pass

    def stop(progress):
        raise StopError

    def fails(model, image, targets, layer):
        raise ExcitationError("no map here.")

    given = {"validation": None, "gamma": 0.5, "methods": {"broken": fails}, "layers": (None,), "fusions": ("mean",)}
    with pytest.raises(StopError):
        run(worlds, tmp_path / "run.sqlite", **given, progress=stop)
    with pytest.raises(ExcitationError, match="succeeded on none"):
        run(worlds, tmp_path / "run.sqlite", **given)


def test_proposals_by_name(worlds, tmp_path):
    data = opened(worlds, "test")
    image = data.image(data.ids[0])
    pixels = make_scene(0, 0, "test").image
    write_npz_proposals(tmp_path / f"{image.id}.npz", windows(image, None))
    read = open_proposals(f"npz:{tmp_path}", 7)
    assert torch.equal(read(image, pixels).boxes, windows(image, None).best(7).boxes)
    with pytest.raises(ExcitationError, match="no such file of proposals"):
        read(data.image(data.ids[1]), pixels)
    for wrong in ("mcg", "npz:", f"npz:{tmp_path}/absent", "superpixels:5", "windows"):
        with pytest.raises(ExcitationError, match="proposals"):
            open_proposals(wrong)
    for wrong in ("flickr30k", "json:a.json", "refcoco:a.json", "voc:a", ""):
        with pytest.raises(ExcitationError, match="phrase data"):
            open_phrases(wrong)
    for name in ("superpixels", "selective-search"):
        pytest.importorskip("skimage" if name == "superpixels" else "cv2")
        assert 0 < len(open_proposals(name, 20)(image, pixels)) <= 20


def test_the_commands(worlds, tmp_path, capsys):
    pytest.importorskip("skimage", reason="scikit-image (extra 'grounding') is not installed")
    from excitation.cli import main

    def call(*words):
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        return left.value.code, *capsys.readouterr()

    phrase = next(phrase for phrase in opened(worlds, "test").phrases() if phrase.boxes)
    line = {"image": phrase.image, "caption": phrase.caption, "span": [*phrase.span], "boxes": [[*phrase.boxes[0]]]}
    (tmp_path / "other.jsonl").write_text(json.dumps({**line, "scores": [1.0]}) + "\nbroken\n")
    test, out = worlds / "test", tmp_path / "run.sqlite"
    given = ["phrases", "run", "--data", f"flickr30k:{test / 'entities'}", "--images", test / "images", "--limit", 2,
             "--model", "symbols:tags", "--methods", "mwp@inception_3b", "--shortest", 160, "--lookup", "case",
             "--detections", f"other={tmp_path / 'other.jsonl'}", "--out", out]  # fmt: skip
    assert "one of the two" in call(*given)[2]
    code, said, err = call(*given, "--gamma", 0.5)
    assert code == 0, err
    assert "Recall at 5 by group" in said
    assert "line 2" in err
    code, said, err = call("phrases", "report", out, "--paper", "--against", "mwp", "--form", "markdown")
    assert code == 0, err
    assert "| c-MWP, MCG (paper) | 0.50 |" in said
    assert "Recall minus that of mwp" in said
    assert call("phrases", "report", out, "--rows", "mwp", "--form", "csv")[1].startswith("table,")
    assert "no validation split" in call("phrases", "report", out, "--figure", tmp_path / "g.png")[2]
    assert "NAME=FILE" in call(*given, "--gamma", 0.5, "--detections", "x")[2]
    rows = read_results(out).rows
    assert {row.method for row in rows} == {"mwp", "proposals", "other"}
    assert not any(math.isnan(value) for row in rows for value in row.series)
