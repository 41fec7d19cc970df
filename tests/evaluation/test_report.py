"""Tables: figures by hand, layout in every form, and what the notes admit."""

import csv
import io
from pathlib import Path

import pytest

from excitation import ExcitationError
from excitation.evaluation import (
    Cell,
    PublishedFigures,
    Results,
    Row,
    Table,
    as_csv,
    as_sweep,
    category_table,
    choose_layers,
    choose_rows,
    comparison_table,
    layer_tables,
    localization_table,
    pointing_table,
    read_published,
    report_tables,
)  # fmt: skip

HITS = {  # by method and layer: image, category, hit; image 1 is not difficult
    ("c-mwp", "pool4"): [("1", "cat", 1), ("2", "cat", 1), ("2", "dog", 1), ("3", "dog", 0)],
    ("mwp", "pool4"): [("1", "cat", 1), ("2", "cat", 0), ("2", "dog", 1), ("3", "dog", 0)],
    ("mwp", "pool2"): [("1", "cat", 0), ("2", "cat", 0), ("2", "dog", 0), ("3", "dog", 0)],
    ("grad_1", "default"): [("1", "cat", 1), ("2", "cat", 1), ("2", "dog", 0)],
    ("centre", ""): [("1", "cat", 1), ("2", "cat", 1), ("2", "dog", 0), ("3", "dog", 1)],
}


def results(name="voc", network="net", hits=HITS, **more):
    rows = tuple(
        Row(image, category, method, layer, 1, 2, bool(hit), image != "1", 1.0, 0.1)
        for (method, layer), pairs in hits.items()
        for image, category, hit in pairs
    )
    layers = {"mwp": ["pool4", "pool2"], "c-mwp": ["pool4"], "grad_1": [None], "centre": []}
    configuration = {"game": "pointing", "data": {"name": name}, "network": network, "layers": layers}
    fields = {
        "path": Path(f"{name}.sqlite"), "configuration": configuration, "shard": (0, 1), "planned": 3,
        "finished": ("1", "2", "3"), "rows": rows, "left_out": (), "problems": (), "environments": ({"torch": "1"},),
    }  # fmt: skip
    return Results(**{**fields, **more})


def figures(table):
    return {name: [cell.text for cell in cells] for name, cells in table.rows}


def test_the_paper_s_table():
    table = pointing_table([results(), results("coco", hits={("mwp", "pool4"): [("1", "cat", 1)]})])
    assert table.columns == (("voc, net", "All"), ("voc, net", "Diff."), ("coco, net", "All"), ("coco, net", "Diff."))
    assert table.groups == [("voc, net", 2), ("coco, net", 2)]
    # Layers are told apart where any of the runs has several.
    assert figures(table) == {
        "centre": ["75.0", "75.0", "", ""],  # cat 1, dog 1/2; difficult: cat 1, dog 1/2
        "grad_1": ["50.0", "50.0", "", ""],
        "mwp @ pool4": ["50.0", "25.0", "100.0", ""],
        "mwp @ pool2": ["0.0", "0.0", "", ""],
        "c-mwp": ["75.0", "75.0", "", ""],
    }
    best = {name: [cell.best for cell in cells] for name, cells in table.rows}
    assert best["centre"] == best["c-mwp"] == [True, True, False, False]
    assert best["mwp @ pool4"] == [False, False, True, False]
    assert table.notes[0].startswith("voc, net: 4 pairs (3 difficult) on 3 images; grad_1 has only 3 of the pairs.")


def test_pooled_with_intervals():
    table = pointing_table([results()], average="pooled", intervals=True, samples=50)
    rows = figures(table)
    assert rows["centre"][0].startswith("75.0 [")
    assert rows["mwp @ pool4"][0].startswith("50.0 [")
    assert "bootstrap over images with 50 samples" in table.notes[0]


def test_published_figures_have_rows_and_columns_of_their_own():
    beside = PublishedFigures({"pointing": {"c-MWP": {("voc, net", "All"): 80.0, ("coco, vgg", "All"): 49.6}}}, ("N.",))
    (table,) = report_tables([results()], samples=20, published=beside)
    assert table.columns[-1] == ("coco, vgg", "All")
    assert figures(table)["c-MWP"] == ["80.0", "", "49.6"]
    assert figures(table)["centre"][2] == ""
    assert not any(cell.best for cell in table.rows[-1][1])
    assert table.notes[-1] == "N."
    (plain,) = report_tables([results()], samples=20, published=PublishedFigures({"grid": {}}, ("N.",)))
    assert "N." not in plain.notes


@pytest.mark.parametrize(("content", "said"), [
    ('{"pointin": {"A": {"D": {"All": 1}}}}',
     "contains the game 'pointin'; published figures can be given for pointing"),
    ('{"notes": ["a"]}', "contains no game"),
    ('{"pointing": {"A": 1}}', "does not have the format"),
    ("[]", "does not have the format"),
    ("nothing", "cannot be read as published figures"),
])  # fmt: skip
def test_published_figures_that_no_table_can_show_are_refused(tmp_path, content, said):
    place = tmp_path / "figures.json"
    place.write_text(content)
    with pytest.raises(ExcitationError, match=said):
        read_published(place)


def test_what_is_missing_is_said():
    run = results(
        finished=("1",), left_out=tuple((image, "hat", "the category has no classes") for image in "12"),
        problems=(("a.jpg", "is broken."),), environments=({"torch": "1"}, {"torch": "2"}),
        own_layers={("grad_1", "default", "fire9"): 3},
    )  # fmt: skip
    (note,) = pointing_table([run]).notes
    for words in ("NOT FINISHED, 1 of 3 images", "2 pairs left out since the category has no classes",
                  "layers that were not named: grad_1 (fire9)", "1 problems with the data, listed in voc.sqlite",
                  "2 different sets of versions"):  # fmt: skip
        assert words in note
    with pytest.raises(ExcitationError, match="no results were given"):
        pointing_table([])
    with pytest.raises(ExcitationError, match="same data set and network"):
        pointing_table([results(), results()])
    with pytest.raises(ExcitationError, match="not of the pointing game"):
        pointing_table([results(configuration={"game": "grid"})])


def test_categories_and_wins():
    table = category_table(results())
    assert [name for _, name in table.columns] == ["Pairs", "centre", "grad_1", "mwp @ pool4", "mwp @ pool2", "c-mwp"]
    assert figures(table) == {
        "cat": ["2", "100.0", "100.0", "50.0", "0.0", "100.0"],
        "dog": ["2", "50.0", "0.0", "50.0", "0.0", "50.0"],
        "best alone": ["", "0", "0", "0", "0", "0"],
        "best with others": ["", "2", "1", "1", "0", "2"],
    }
    assert figures(category_table(results(), difficult=True))["cat"] == ["1", "100.0", "100.0", "0.0", "0.0", "100.0"]
    easy = results(hits={("mwp", "pool4"): [("1", "cat", 1)]})
    with pytest.raises(ExcitationError, match="no difficult pairs"):
        category_table(easy, difficult=True)


def test_methods_in_pairs():
    table = comparison_table(results(), "mwp @ pool4", samples=200)
    rows = figures(table)
    assert set(rows) == {"centre", "grad_1", "mwp @ pool2", "c-mwp"}
    assert rows["c-mwp"][:2] == ["75.0", "+25.0"]
    assert rows["c-mwp"][4] == "4"
    assert rows["grad_1"][4] == "3"
    hard = comparison_table(results(), "mwp@pool4", samples=200, difficult=True)
    assert "difficult pairs" in hard.title
    assert figures(hard)["c-mwp"][:2] == ["75.0", "+50.0"]  # cat 1 instead of 0
    assert figures(hard)["c-mwp"][4] == "3"
    with pytest.raises(ExcitationError, match="has no row 'lrp'; its rows: centre, grad_1"):
        comparison_table(results(), "lrp")


def test_c_gradient_is_explained_where_it_is_nothing():
    def run(mass, name="c-gradient"):
        rows = (Row("1", "cat", name, "", None, None, False, True, mass, 0.1),)
        return results(rows=rows, configuration={**results().configuration, "layers": {name: [None]}})

    assert "zero by construction" in pointing_table([run(0.0)]).notes[-1]
    assert "zero by construction" in pointing_table([run(0.0, "c-gradient (softmax)")]).notes[-1]
    for other in (run(0.5, "c-gradient:signed=True"), run(0.0, "c-deconv"), results()):
        assert not any("zero by construction" in note for note in pointing_table([other]).notes)


def test_rows_are_chosen_and_keep_their_names():
    run = results()
    (one,) = choose_rows([run], layers=["pool4"])  # the centre and grad_1 have a single place
    assert list(figures(pointing_table([one]))) == ["centre", "grad_1", "mwp @ pool4", "c-mwp"]
    (two,) = choose_rows([run], {"mwp": ["pool2"], "c-mwp": []}, ["pool4"])
    assert list(figures(pointing_table([two]))) == ["mwp @ pool2", "c-mwp"]
    won = figures(category_table(two))
    assert (won["best alone"], won["best with others"]) == (["", "0", "2"], ["", "0", "0"])
    with pytest.raises(ExcitationError, match="no method has several layers"):
        as_sweep(one, 2)
    for methods, layers, said in (
        ({"lrp": []}, [], "has no method 'lrp'; its methods: c-mwp, centre, grad_1, mwp"),
        ({"mwp": ["pool9"]}, [], "no row of 'mwp' at 'pool9'; its layers: pool2, pool4"),
        ({"centre": ["pool4"]}, [], "no row of 'centre' at 'pool4'; its layers: none"),
        (None, ["pool4", "pool9"], "has no layer 'pool9'; its layers: default, pool2, pool4"),
        (None, ["default"], "no row of 'mwp' at 'default'"),
    ):
        with pytest.raises(ExcitationError, match=said):
            choose_rows([run], methods, layers)
    other = results("coco", hits={("centre", ""): HITS["centre", ""]})
    with pytest.raises(ExcitationError, match=r"coco\.sqlite: has none of the selected methods: mwp"):
        choose_rows([run, other], {"mwp": []})


def test_forms():
    table = pointing_table([results(), results("coco", hits={("centre", ""): HITS["centre", ""]})])
    text = table.as_text().splitlines()
    assert text[0] == "Pointing game: accuracy in percent, mean over categories"
    (row,) = [line.split() for line in text if line.strip().startswith("mwp @ pool4")]
    assert row == ["mwp", "@", "pool4", "50.0", "25.0"]
    assert "75.0*" in table.as_text()
    markdown = table.as_markdown().splitlines()
    assert markdown[2] == "| Method | voc, net, All | voc, net, Diff. | coco, net, All | coco, net, Diff. |"
    assert "| centre | **75.0** | **75.0** | **75.0** | **75.0** |" in markdown
    assert len({line.count("|") for line in markdown if line.startswith("|")}) == 1
    latex = table.as_latex()
    assert r"\multicolumn{2}{c}{voc, net} & \multicolumn{2}{c}{coco, net}" in latex
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-5}" in latex
    assert r"grad\_1 & 50.0 & 50.0 &  &  \\" in latex
    assert r"\textbf{75.0}" in latex
    assert latex.count("{") == latex.count("}")


def test_one_csv_holds_tables_of_any_shape():
    run = results()
    tables = [
        pointing_table([run], intervals=True, samples=50),
        comparison_table(run, "mwp @ pool4", samples=50),
        *layer_tables(as_sweep(results(hits={**HITS, ("mwp", "pool2"): HITS["mwp", "pool4"]}), 2), samples=20),
    ]
    lines = list(csv.DictReader(io.StringIO(as_csv(tables))))
    assert list(lines[0]) == ["table", "row", "group", "column", "value", "low", "high", "text"]
    assert not any(None in line or None in line.values() for line in lines)  # as many words everywhere
    assert list(dict.fromkeys(line["table"] for line in lines)) == [table.title for table in tables]
    for table in tables:
        own = [line for line in lines if line["table"] == table.title]
        assert [line["text"] for line in own if line["column"] == "note"] == list(table.notes)
        shown = [cell for _, cells in table.rows for cell in cells if cell.text]
        given = [line for line in own if line["column"] != "note"]
        assert len(given) == len(shown)
        for line, cell in zip(given, shown, strict=True):
            for name in ("value", "low", "high"):
                assert (float(line[name]) if line[name] else None) == getattr(cell, name)
            assert line["text"] == ("" if line["value"] or line["low"] else cell.text)
    (line,) = [
        line for line in lines if (line["table"], line["row"], line["column"]) == (tables[0].title, "c-mwp", "All")
    ]
    assert (line["group"], float(line["value"])) == ("voc, net", 75)
    assert float(line["low"]) <= 75 <= float(line["high"])
    (line,) = [line for line in lines if line["row"] == "c-mwp" and line["column"] == "minus mwp @ pool4"]
    assert float(line["low"]) <= float(line["value"]) == 25 <= float(line["high"])
    (line,) = [line for line in lines if line["column"] == "Layer"]
    assert (line["row"], line["value"], line["text"]) == ("mwp", "", "pool4")


def test_latex_columns_without_a_group_keep_their_place():
    table = Table("50 % & more_", "x", (("", "a"), ("", "b"), ("g", "c")), (("r", (Cell("1"), Cell("2"), Cell("3"))),))
    lines = table.as_latex().splitlines()
    (heads,) = [line for line in lines if "multicolumn" in line]
    assert heads.count("&") == 3
    assert r"\cmidrule(lr){4-4}" in lines
    assert r"\caption{50 \% \& more\_}" in lines
    with pytest.raises(ValueError, match="has 1 cells for 3 columns"):
        Table("t", "x", table.columns, (("r", (Cell("1"),)),))
    brackets = Table("t [b]x[/b]", "[red]", (("", "[1]"),), (("[bold]r", (Cell("[2]"),)),))
    assert "[bold]r" in brackets.as_text()
    assert "[red]" in brackets.as_text()


def test_a_layer_is_chosen_on_images_that_do_not_judge_it():
    # pool2 is right on the held-out images 1 and 3 and wrong on 2, pool4 the other way round.
    hits = {
        ("mwp", "pool4"): [("1", "cat", 0), ("2", "cat", 1), ("2", "dog", 1), ("3", "dog", 0)],
        ("mwp", "pool2"): [("1", "cat", 1), ("2", "cat", 0), ("2", "dog", 1), ("3", "dog", 1)],
        ("c-mwp", "pool4"): [("1", "cat", 1)],
    }
    (chosen,) = choose_layers(as_sweep(results(hits=hits), 2), samples=20)
    assert (chosen.method, chosen.layer, chosen.images) == ("mwp", "pool2", (2, 1))
    assert (chosen.held_out, chosen.judged) == (1.0, 0.5)


def test_images_without_a_pair_are_held_out_but_not_counted():
    # Every second of six images is held out: 0, 2, 4. Of these 0 has no pair; of the others 5 has none.
    hits = {
        ("mwp", layer): [("1", "cat", 1), ("2", "cat", 1), ("3", "dog", 1), ("4", "dog", 0)]
        for layer in ("pool4", "pool2")
    }
    run = as_sweep(results(hits=hits, finished=tuple("012345"), planned=6), 2)
    (chosen,) = choose_layers(run, samples=20)
    assert chosen.images == (2, 2)
    table = layer_tables(run, samples=20)[1]
    assert "on 2 held-out images of voc, net, accuracy on the 2 others" in table.title
    assert table.notes == (
        "Every 2-th of 6 images was held out to choose the layer and is not judged. 2 images have no pair and are not"
        " counted.",
    )
    # Image 1 is not difficult.
    table = layer_tables(run, difficult=True, samples=20)[1]
    assert "on 2 held-out images of voc, net, accuracy on the 1 others" in table.title
    assert "difficult pairs" in table.title
    assert "3 images have no difficult pair" in table.notes[0]


def test_localization_counts_images_that_have_a_box():
    rows = tuple(
        Row(image, "cat", "mwp", "pool4", None, None, True, False, 1.0, 0.1, 0.9, (0.9, 0.2)) for image in "1234"
    )
    more = {"game": "localization", "alphas": [0.0, 0.5], "overlap": 0.5, "held_out": 2, "layers": {"mwp": ["pool4"]}}
    run = results(rows=rows, configuration={**results().configuration, **more}, finished=tuple("012345"), planned=6)
    note = localization_table([run], samples=20).notes[1]
    assert "alpha chosen on 2 held-out images, every 2-th; error on the 2 others" in note


def test_what_is_no_sweep():
    with pytest.raises(ExcitationError, match="no method has several layers"):
        as_sweep(results(hits={("c-mwp", "pool4"): [("1", "cat", 1)]}), 2)
    with pytest.raises(ExcitationError, match="held_out is 1; give at least 2"):
        as_sweep(results(), 1)
    other = {**results().configuration, "game": "grid"}
    with pytest.raises(ExcitationError, match="'grid'"):
        as_sweep(results(configuration=other), 2)
