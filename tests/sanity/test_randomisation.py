"""Runs of the randomisation check against maps made by hand; tables and charts of what it found."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sanity_networks import pooled, subjects
from scipy.stats import spearmanr
from torch import nn

from excitation import ExcitationError
from excitation.evaluation.sanity import (
    Checked,
    Findings,
    applicable,
    cascade,
    choose_methods,
    convergence_chart,
    convergence_table,
    list_stages,
    randomisation_chart,
    randomisation_table,
    run_convergence,
    run_randomisation,
    strip_figure,
    summarise,
    summary_table,
)
from excitation.methods import list_methods
from excitation.models._loaded import LoadedModel, Preprocessing
from excitation.views import save_figure

METHODS = "mwp,gradient,centre,feedback"


@pytest.mark.parametrize("order", ["cascading", "independent"])
def test_cam_after_each_stage_by_hand(order, tmp_path):
    model = pooled()
    before = copy.deepcopy(model.model.state_dict())
    asked = subjects(model, 2)
    found = run_randomisation(model, asked, choose_methods("cam"), out=tmp_path / "r.json", seed=5, order=order)
    assert found.configuration["stages"] == ["7", "3", "0"]
    stages = list_stages(model.model, asked[0].values)
    for index, subject in enumerate(asked):
        maps = []
        for _, network in cascade(model, stages, 5, index, order):
            features = network.model[:5](subject.values)[0]
            weights = network.model[7].weight[subject.target]
            maps.append((weights[:, None, None] * features).sum(0).detach().numpy().ravel())
        for count, attention in enumerate(maps):
            measured = found.images[subject.name]["methods"]["cam"][str(count)]
            assert measured["rank"] == pytest.approx(spearmanr(maps[0], attention).statistic, abs=2e-5)
            expected = spearmanr(np.abs(maps[0]), np.abs(attention)).statistic
            assert measured["absolute"] == pytest.approx(expected, abs=2e-5)
            assert measured["hit"] is None
    assert all(torch.equal(before[name], tensor) for name, tensor in model.model.state_dict().items())


def test_the_trained_map_is_like_itself_and_the_centre_learns_nothing(tmp_path):
    model = pooled()
    found = run_randomisation(model, subjects(model, 2), choose_methods(METHODS), out=tmp_path / "r.json", expensive=1)
    for entry in found.images.values():
        for name in ("mwp", "gradient"):
            assert all(entry["methods"][name]["0"][key] == 1 for key in ("grid", "absolute", "rank", "ssim", "hog"))
            assert set(entry["methods"][name]) == {"0", "1", "2", "3"}
        for stage in entry["methods"]["centre"].values():
            assert [stage[key] for key in ("grid", "absolute", "rank", "ssim", "hog")] == [1] * 5
    assert [set(entry["methods"].get("feedback", ())) for entry in found.images.values()] == [{"0", "3"}, set()]


def test_hits_are_counted_where_the_targets_place_is_known(tmp_path):
    model = pooled()
    everywhere = np.ones((16, 16), dtype=bool)
    asked = [
        dataclasses.replace(item, pixels=pixels)
        for item, pixels in zip(subjects(model, 2), (everywhere, ~everywhere), strict=True)
    ]
    found = run_randomisation(model, asked, choose_methods("mwp"), out=tmp_path / "r.json")
    hits = [[stage["hit"] for stage in entry["methods"]["mwp"].values()] for entry in found.images.values()]
    assert hits == [[1.0] * 4, [0.0] * 4]


def test_a_map_that_is_the_same_everywhere_points_nowhere(tmp_path):
    """Its first maximum is a corner, which would be a hit where the target fills the picture."""
    model = pooled()
    asked = [dataclasses.replace(item, pixels=np.ones((16, 16), dtype=bool)) for item in subjects(model, 1)]
    found = run_randomisation(model, asked, choose_methods("c-gradient"), out=tmp_path / "r.json")
    stages = found.images["image0"]["methods"]["c-gradient"].values()
    assert [stage["hit"] for stage in stages] == [0.0] * 4
    assert [stage["grid"] for stage in stages] == [None] * 4


def test_a_run_that_was_stopped_goes_on_and_another_configuration_is_refused(tmp_path):
    model = pooled()
    asked, methods = subjects(model, 2), choose_methods("gradient")
    run_randomisation(model, asked[:1], methods, out=tmp_path / "r.json")
    found = run_randomisation(model, asked, methods, out=tmp_path / "r.json")
    run_randomisation(model, asked, methods, out=tmp_path / "whole.json")
    assert (tmp_path / "r.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert json.loads((tmp_path / "r.json").read_text())["images"] == found.images
    with pytest.raises(ExcitationError, match="another configuration \\(methods, seed\\)"):
        run_randomisation(model, asked, choose_methods("cam"), out=tmp_path / "r.json", seed=1)
    (tmp_path / "r.json").write_text("[]")
    with pytest.raises(ExcitationError, match="is not a file of results of a sanity check"):
        run_randomisation(model, asked, methods, out=tmp_path / "r.json")
    with pytest.raises(ExcitationError, match="at least one"):
        run_randomisation(model, [], methods, out=tmp_path / "none.json")


def test_fewer_stages_are_measured_where_asked(tmp_path):
    model = pooled()
    found = run_randomisation(model, subjects(model, 1), choose_methods("mwp"), out=tmp_path / "r.json", every=2)
    whole = run_randomisation(model, subjects(model, 1), choose_methods("mwp"), out=tmp_path / "w.json")
    few, all_stages = (item.images["image0"]["methods"]["mwp"] for item in (found, whole))
    assert few == all_stages
    fewer = run_randomisation(model, subjects(model, 1), choose_methods("mwp"), out=tmp_path / "f.json", every=3)
    few = fewer.images["image0"]["methods"]["mwp"]
    assert few == {key: all_stages[key] for key in ("0", "1", "3")}
    heads = [" ".join(head) for head in randomisation_table(fewer).columns]
    assert len(set(heads)) == len(heads)
    assert heads[:2] == ["common grid to 7", "common grid all"]


def test_methods_are_chosen_by_name_with_their_layers():
    chosen = choose_methods("eb, grad-cam@3,gradient", "0")
    assert {name: item.layer for name, item in chosen.items()} == {"mwp": "0", "grad-cam": "3", "gradient": None}
    every = choose_methods("all")
    assert {"mwp", "c-mwp", "r-mwp", "rise", "feedback", "centre"} <= set(every)
    assert set(every) < {item.name for item in list_methods()}
    for words in ("", "mwpp"):
        with pytest.raises(ExcitationError):
            choose_methods(words)


def test_methods_that_do_not_apply_are_left_out_with_the_reason(tmp_path):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 14 * 14, 5)).eval()
    model = LoadedModel(layers, "tanh", Preprocessing(size=(16, 16)))
    asked = subjects(model, 1)
    kept, reasons = applicable(choose_methods("mwp,gradient,cam,deconv,feedback"), model, asked[0].values)
    assert list(kept) == ["mwp", "gradient"]
    assert list(reasons) == ["cam", "deconv", "feedback"]
    about = {"left_out": reasons}
    found = run_randomisation(model, asked, kept, out=tmp_path / "r.json", order="independent", about=about)
    table = randomisation_table(found)
    assert f"cam does not apply: {reasons['cam']}" in table.notes[-1]
    assert [" ".join(head) for head in table.columns][:2] == ["common grid only 3", "common grid only 0"]


def test_summaries_know_what_is_missing():
    values = [0.0, 1.0, None, 1.0, 1.0]
    found = summarise(values)
    assert (found.value, found.count, found.missing) == (0.75, 4, 1)
    # The bootstrap of four values, one of them zero: their mean is binomial in quarters.
    assert (found.interval.low, found.interval.high) == (0.25, 1.0)
    assert summarise(values, "median").value == 1.0
    assert np.isnan(summarise([None]).value)


def test_a_method_has_one_colour_and_lines_that_coincide_are_one():
    def found(names, values):
        images = {
            str(i): {"methods": {name: {str(k): {"grid": v} for k, v in enumerate(values[name])} for name in names}}
            for i in range(3)
        }
        about = {"methods": dict.fromkeys(names), "stages": ["top"], "order": "cascading"}
        return Findings(Path("none.json"), about, images)

    values = {"gradient": [1.0, 0.5], "deconv": [1.0, 0.9], "lrp-z-plus": [1.0, 0.701], "lrp-alpha1-beta0": [1.0, 0.7]}
    colours = []
    for names in (["gradient", "deconv", "lrp-z-plus", "lrp-alpha1-beta0"], ["deconv"]):
        drawn = {
            line.get_label(): line for axes in randomisation_chart(found(names, values)).axes for line in axes.lines
        }
        colours.append((drawn["deconv"].get_color(), drawn["deconv"].get_marker(), drawn["deconv"].get_linestyle()))
        if len(names) > 1:
            assert drawn["gradient"].get_color() != drawn["deconv"].get_color()
            assert "lrp-alpha1-beta0\n= lrp-z-plus" in drawn
    assert colours[0] == colours[1]
    assert colours[0][2] == "-"


def test_tables_and_figures_show_what_was_found(tmp_path):
    model = pooled()
    asked = subjects(model, 2)
    methods = choose_methods(METHODS)
    found = run_randomisation(model, asked, methods, out=tmp_path / "r.json", expensive=1)
    table = randomisation_table(found)
    rows = dict(table.rows)
    assert list(rows) == ["mwp", "gradient", "centre", "feedback"]
    values = [entry["methods"]["mwp"]["3"]["grid"] for entry in found.images.values()]
    assert rows["mwp"][2].value == pytest.approx(np.mean(values))
    assert rows["feedback"][7].value == 1
    assert "1 image, one in 3 stages and the last stage: feedback (iterations = 5)" in table.notes[1]
    meeting = run_convergence(model, asked, ["mwp", "gradient"], out=tmp_path / "c.json")
    medians = [entry["methods"]["gradient"]["absolute"][2] for entry in meeting.images.values()]
    assert dict(convergence_table(meeting).rows)["gradient"][2].value == pytest.approx(np.median(medians))
    alone = run_randomisation(model, asked, choose_methods("mwp"), out=tmp_path / "i.json", order="independent")
    whole = dict(summary_table(found, alone, meeting).rows)
    assert whole["mwp"][1].value == pytest.approx(np.mean(values))
    stages = [[entry["methods"]["mwp"][key]["grid"] for key in "123"] for entry in alone.images.values()]
    assert whole["mwp"][3].value == pytest.approx(np.mean(stages))
    assert whole["gradient"][4].value == pytest.approx(np.median(medians))
    assert [cell.text for cell in whole["centre"][3:]] == ["", ""]
    chart = randomisation_chart(found, "grid")
    drawn = {line.get_label(): line.get_ydata() for axes in chart.axes for line in axes.lines}
    assert set(methods) <= set(drawn)
    assert drawn["mwp"][3] == pytest.approx(np.mean(values))
    assert len(drawn["feedback"]) == 2
    assert "[" not in rows["mwp"][2].text  # two images make no interval
    styles = {line.get_label(): line.get_linestyle() for axes in chart.axes for line in axes.lines}
    assert {styles[name] for name in methods} == {"--"}
    few = {name: Checked(item.method) for name, item in methods.items() if name in {"mwp", "gradient"}}
    for name, figure in (
        ("a", chart), ("b", convergence_chart(meeting)), ("c", strip_figure(model, asked[0], few)),
    ):  # fmt: skip
        save_figure(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
