"""Phrases in one picture: words, maps, boxes, coverage, the number of passes, and the caption figure."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import excitation as eb
from excitation import ExcitationError
from excitation.core import _pictures
from excitation.data.symbols import make_captions, make_scene
from excitation.grounding import Caption, Dictionary, Proposals, draw_caption, find_phrases
from excitation.methods import _sweeps
from excitation.models import ClassNames, LoadedModel
from excitation.views import PHRASE_COLOURS, CaptionPanel, caption_figure, save_figure

ENTRIES = ["woman", "red", "coat", "dog", "running", "small", "traffic light", "light", "umbrella", "walking", "king"]


@pytest.fixture(scope="module")
def tagger():
    return eb.load_model("symbols:tags")


@pytest.fixture(scope="module")
def scene():
    return Image.fromarray(make_scene(12, 0, "test").image)


PHRASES = ["A red flower", "a white wheelchair", "the large wheel", "a zebra"]
BOXES = Proposals((160, 240), torch.tensor([[0.0, 0, 120, 160], [120, 80, 200, 150], [0, 110, 50, 160]]))


def grounded(tagger, scene, phrases=PHRASES, **settings):
    return eb.ground(tagger, scene, phrases, lookup="case", proposals=BOXES, **settings)


def test_words_are_explained_by_the_names_of_the_tagger(tagger, scene):
    by_name = eb.explain(tagger, scene, ["wheel", "flower"])
    places = [tagger.class_names.index(name) for name in ("wheel", "flower")]
    assert torch.equal(by_name.maps, eb.explain(tagger, scene, places).maps)


def test_a_phrase_has_the_mean_of_its_words_maps(tagger, scene):
    found = grounded(tagger, scene, method="c-mwp")
    names = [phrase.names for phrase in found.phrases]
    assert names == [("red", "flower"), ("white", "wheelchair"), ("large", "wheel"), ()]
    words = [name for phrase in found.phrases for name in phrase.names]
    alone = eb.explain(tagger, scene, words, method="c-mwp")
    for i in range(3):
        own = slice(2 * i, 2 * i + 2)
        assert torch.allclose(found.maps[i], alone.maps[0, own].mean(0), atol=1e-7)
        assert float(found.scores[i]) == pytest.approx(float(alone.scores[0, own].mean()), rel=1e-5)
    assert not found.maps[3].any()
    assert torch.isnan(found.scores[3])
    assert found.phrases[3].skipped == ("a", "zebra")
    assert (found.coverage.words, found.coverage.known, found.coverage.silent) == (11, 6, 1)
    assert found.explanation.targets == (tuple(PHRASES[:3]),)
    assert repr(found).startswith("Grounding(c-mwp of 4 phrases at inception_3b, mean of 6 word maps; 6 of 11 words")


def test_boxes_are_the_best_proposals(tagger, scene):
    found = grounded(tagger, scene, method="c-mwp", gamma=1)
    maps = found.at_picture()
    assert maps.shape == (4, 160, 240)
    means = [[float(one[int(y0) : int(y1), int(x0) : int(x1)].mean()) for x0, y0, x1, y1 in BOXES.boxes.tolist()]
             for one in maps[:3]]  # fmt: skip
    for ranked, own in zip(found.detections, means, strict=False):
        assert ranked.boxes.tolist() == [BOXES.boxes[i].tolist() for i in np.argsort(own)[::-1]]
        assert ranked.scores.tolist() == pytest.approx(sorted(own, reverse=True), rel=1e-5)
    assert found.boxes[0].tolist() == [0, 110, 50, 160]  # the flower
    assert found.boxes[2].tolist() == [120, 80, 200, 150]  # the wheel
    assert torch.isnan(found.boxes[3]).all()
    assert len(found.detections[3].boxes) == 0


def test_proposals_of_a_smaller_copy_are_scaled_to_the_picture(tagger, scene):
    half = Proposals((80, 120), BOXES.boxes / 2)
    found = eb.ground(tagger, scene, PHRASES, lookup="case", proposals=half, method="c-mwp", gamma=1)
    assert torch.equal(found.boxes[:3], grounded(tagger, scene, method="c-mwp", gamma=1).boxes[:3])


def test_merged_superpixels_are_the_usual_proposals(tagger, scene):
    pytest.importorskip("skimage", reason="scikit-image (extra 'grounding') is not installed")
    large = scene.resize((960, 640), Image.Resampling.BICUBIC)
    found = eb.ground(tagger, large, ["a wheel"], lookup="case", method="c-mwp", shortest=160)
    assert found.proposals.size == (333, 500)
    (wheel,) = (item for item in make_scene(12, 0, "test").instances if item.name == "wheel")
    x0, y0, x1, y1 = (4 * side for side in wheel.box)
    left, top, right, bottom = found.boxes[0].tolist()
    shared = (min(right, x1) - max(left, x0)) * (min(bottom, y1) - max(top, y0))
    assert shared > 0.5 * ((right - left) * (bottom - top) + (x1 - x0) * (y1 - y0) - shared)


def test_scores_and_not_maps_say_whether_a_phrase_is_present(tagger, scene):
    """Scene 12 has a flower and no umbrella."""
    found = grounded(tagger, scene, ["flower", "umbrella"], method="c-mwp")
    present, absent = found.scores.tolist()
    assert present > 0 > absent
    assert (found.maps.amax((1, 2)) > 0).all()
    assert not torch.isnan(found.boxes).any()


def test_a_picture_is_read_once(tagger, scene, tmp_path, monkeypatch):
    reads = []
    real = _pictures.read_picture

    def read(place):
        reads.append(place)
        return real(place)

    monkeypatch.setattr(_pictures, "read_picture", read)
    scene.save(tmp_path / "scene.png")
    found = grounded(tagger, tmp_path / "scene.png")
    assert reads == [tmp_path / "scene.png"]
    assert torch.equal(found.maps, grounded(tagger, scene).maps)


def test_all_words_take_one_forward_pass_and_one_sweep(scene, monkeypatch):
    calls = {"forward": 0, "sweep": 0}

    class Counted(torch.nn.Sequential):
        def forward(self, images):
            calls["forward"] += 1
            return super().forward(images)

    real = _sweeps.attention_maps

    def sweep(*given, **options):
        calls["sweep"] += 1
        return real(*given, **options)

    monkeypatch.setattr(_sweeps, "attention_maps", sweep)
    network = Counted(
        torch.nn.Conv2d(3, 8, 5, 4), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, 4), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 20),
    )  # fmt: skip
    words = [f"word{i}" for i in range(20)]
    model = LoadedModel(network.eval(), "counted", class_names=words, default_layer="3")
    for phrases in (["word3"], [" ".join(words)], words):
        for method in ("mwp", "c-mwp", "r-mwp"):
            calls.update(forward=0, sweep=0)
            grounded(model, scene, phrases, method=method)
            assert calls == {"forward": 1, "sweep": 1}, (method, phrases)


def test_settings_are_those_of_the_explainer(tagger, scene):
    settings = {"policies": eb.Policies(normaliser="spread")}
    grounder = eb.Grounder(tagger, lookup="case", layer="pool3", fusion="product", shortest=96, **settings)
    found = grounder(scene, ["a red flower"], proposals=BOXES)
    assert found.explanation.layer == "pool3"
    assert found.explanation.frames[0].size == (160, 240)
    assert found.explanation.top is None  # a product is no mass
    assert found.maps.shape[1] < grounded(tagger, scene, layer="pool3").maps.shape[1]
    assert "layer='pool3'" in repr(grounder)
    for wrong, said in (
        ({"fusion": "maximum"}, "fusion"), ({"gamma": 2}, "gamma"), ({"shortest": 0}, "shortest"),
        ({"layer": ["pool3", "inception_3b"]}, "layer"), ({"lookup": "stem"}, "lookup"), ({"method": "mpw"}, "mwp"),
    ):  # fmt: skip
        with pytest.raises(Exception, match=said):
            eb.Grounder(tagger, **{"lookup": "case", **wrong})
    with pytest.raises(ExcitationError, match="class_names"):
        eb.Grounder(dataclasses.replace(tagger, class_names=None))
    for phrases, said in (
        ([], "0 phrases"),
        (["  "], "no words"),
        (["zebra"], "none of these words"),
        ("zebra", "list"),
    ):
        with pytest.raises(ExcitationError, match=said):
            grounded(tagger, scene, phrases)


def test_a_grounding_draws_itself(tagger, scene, tmp_path):
    found = grounded(tagger, scene)
    found.save(tmp_path / "maps.png")
    with Image.open(tmp_path / "maps.png") as drawn:
        assert drawn.width > 500
    assert found._repr_png_().startswith(b"\x89PNG")


def test_the_package_is_imported_without_the_evaluation():
    code = "import sys, excitation; assert 'excitation.grounding' not in sys.modules; excitation.ground; print('done')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"
    with pytest.raises(AttributeError, match="no attribute 'grond'"):
        eb.grond  # noqa: B018


def test_entries_of_several_words_synonyms_and_groups():
    names = ClassNames(["tabby, tabby cat", "bow tie, bow-tie", "traffic light", "light"], {"cat": (0,)})
    dictionary = Dictionary(names, "case")
    words = ["A", "tabby", "cat", "with", "a", "Bow", "tie", "at", "the", "traffic", "light", ",", "light", "."]
    assert [(item.span, dictionary.entries[item.entry]) for item in dictionary.match(words)] == [
        ((1, 3), "tabby, tabby cat"), ((5, 7), "bow tie, bow-tie"), ((9, 11), "traffic light"), ((12, 13), "light"),
    ]  # fmt: skip
    assert dictionary.target(dictionary.find("cat")) == "cat"
    assert dictionary.target(dictionary.find("Bow-tie")) == 1
    assert dictionary.find("tabby cat") == dictionary.find("tabby") == 0
    assert dictionary.find("") is None


def texts(sentence):
    return find_phrases(sentence, Dictionary(ENTRIES, "case")).phrases


def test_noun_phrases_of_a_sentence():
    assert texts("A woman in a red coat walks two small dog.") == ("A woman", "a red coat", "two small dog")
    assert texts("The small dog running after its red light!") == ("The small dog", "running", "its red light")
    assert texts("woman, dog and umbrella") == ("woman", "dog", "umbrella")
    assert texts("The king is near the big traffic light (red).") == ("The king", "the big traffic light", "red")
    assert texts("All of the woman's coat and her umbrella") == ("the woman's coat", "her umbrella")
    assert texts("One zebra stands here.") == ()
    assert texts("A small group of dog near a pair of red umbrella") == (
        "A small group of dog",
        "a pair of red umbrella",
    )
    caption = find_phrases("Red coat , a dog .", Dictionary(ENTRIES, "case"))
    assert (caption.words, caption.spans) == (("Red", "coat", ",", "a", "dog", "."), ((0, 2), (3, 5)))
    for wrong in ("", " . ", "a " * 6000):
        with pytest.raises(ExcitationError):
            texts(wrong)


def test_phrases_of_the_symbol_world_are_found(tagger):
    dictionary = Dictionary(tagger.class_names, "case")
    missed = total = 0
    for index in range(40):
        for caption in make_captions(make_scene(index, 0, "test")):
            found = find_phrases(caption.text, dictionary)
            boxed = [phrase.text for phrase in caption.phrases if phrase.instances]
            own = {text for text in boxed if dictionary.match(text.split())}
            missed += len(own - set(found.phrases))
            total += len(own)
    assert total > 200
    assert missed <= 0.02 * total


def test_phrases_of_any_text_lie_in_it_and_do_not_overlap():
    rng = random.Random(0)
    dictionary = Dictionary(ENTRIES, "case")
    pieces = [*ENTRIES, "a", "the", "of", "and", ",", ".", "is", "“", "\n", "é", "ing", "'s", "(", "two", "\u200b"]
    for _ in range(300):
        sentence = " ".join(rng.choices(pieces, k=rng.randint(1, 25)))
        try:
            found = find_phrases(sentence, dictionary)
        except ExcitationError:
            continue
        edges = [edge for span in found.spans for edge in span]
        assert edges == sorted(edges)
        assert all(0 <= first < end <= len(found.words) for first, end in found.spans)
        assert all(dictionary.match(found.words[first:end]) for first, end in found.spans)


def test_the_caption_figure(tagger, scene, tmp_path):
    caption = find_phrases(
        "A red flower, a white wheelchair and the large wheel.", Dictionary(tagger.class_names, "case")
    )
    found = grounded(tagger, scene, list(caption.phrases), method="c-mwp")
    drawn = draw_caption(caption, found)
    written = {text.get_text(): text.get_color() for text in drawn.texts}
    assert written["flower,"] == written["A red flower"] == PHRASE_COLOURS[0]
    assert written["wheelchair"] == written["a white wheelchair"] == PHRASE_COLOURS[1]
    assert written["and"] not in PHRASE_COLOURS
    assert "".join(text.get_text() for text in drawn.texts[-10:]) == "Aredflower,awhitewheelchairandthelargewheel."
    for ending in ("png", "pdf", "svg"):
        save_figure(drawn, tmp_path / f"caption.{ending}")
    # The words stay inside the figure, and apart from each other.
    renderer = drawn.canvas.get_renderer()
    extents = [text.get_window_extent(renderer) for text in drawn.texts]
    assert min(box.x0 for box in extents) >= 0
    assert max(box.x1 for box in extents) <= drawn.bbox.width
    below = [box for text, box in zip(drawn.texts, extents, strict=True) if text.get_fontsize() > 13]
    assert not any(one.fully_overlaps(other) for one, other in itertools.combinations(below, 2))
    with pytest.raises(ExcitationError, match="expected"):
        draw_caption(Caption(("A", "red"), ((0, 2),)), found)


def test_more_phrases_than_colours_are_numbered(scene):
    attention = torch.rand(4, 6)
    panels = [CaptionPanel(attention, (i, i + 1), (i,)) for i in range(9)]
    drawn = caption_figure(scene, [f"word{i}" for i in range(9)] + ["."], panels)
    shown = [text.get_text() for text in drawn.texts]
    assert "9. word8" in shown
    assert "word8 (9)" in shown
    for words, wrong in ((["a"], []), ([], panels), (["a"], [CaptionPanel(attention, (0, 2), (0,))]),
                         (["a", "b"], [CaptionPanel(attention, (0, 1), (1,))])):  # fmt: skip
        with pytest.raises(ExcitationError, match=r"expected|at least one"):
            caption_figure(scene, words, wrong)


VISION = {
    "usual": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                            [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                              [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                            [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip
"""In linear RGB (Machado, Oliveira, Fernandes, 2009, severity 1)."""


@pytest.mark.parametrize("vision", VISION)
def test_colours_differ_for_everybody_and_stand_out_from_white(vision):
    colour = pytest.importorskip("skimage.color", reason="scikit-image (extra 'grounding') is not installed")
    rgb = np.array([[int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)] for text in PHRASE_COLOURS])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    assert (1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)).min() >= 3.5
    seen = (linear @ VISION[vision].T).clip(0, 1)
    lab = colour.rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    least = min(float(colour.deltaE_ciede2000(one, other)) for one, other in itertools.combinations(lab, 2))
    assert least >= 14


def test_the_command(tmp_path, capsys, scene):
    pytest.importorskip("skimage", reason="scikit-image (extra 'grounding') is not installed")
    pytest.importorskip("simplemma", reason="simplemma (extra 'grounding') is not installed")
    from excitation.cli import main

    scene.save(tmp_path / "scene.png")

    def run(text, *more):
        with pytest.raises(SystemExit) as left:
            main(["ground", str(tmp_path / "scene.png"), "--text", text, "--model", "symbols:tags", "--out",
                  str(tmp_path / "out"), *more])  # fmt: skip
        return left.value.code, *capsys.readouterr()

    sentence = "A flower, a white wheelchair and the large wheels of a zebra."
    code, out, err = run(sentence)
    assert code == 0, err
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == ["scene.ground.json", "scene.ground.npz", "scene.ground.png"]  # not those of `explain`
    assert [line.partition(": ")[2].partition(":")[0] for line in out.splitlines()] == [
        "A flower (flower)", "a white wheelchair (white, wheelchair)", "the large wheels (large, wheel)",
    ]  # fmt: skip
    assert "skipped: zebra." in err
    details = json.loads((tmp_path / "out" / "scene.ground.json").read_text())
    assert [phrase["span"] for phrase in details["phrases"]] == [[0, 2], [2, 5], [6, 9]]
    assert all(len(phrase["boxes"]) == len(phrase["box_scores"]) > 1 for phrase in details["phrases"])
    with np.load(tmp_path / "out" / "scene.ground.npz") as stored:
        assert stored["pixels"].shape == (3, 160, 240)
        assert len(stored["word_maps"]) == len(stored["words"]) == 5
    before = (tmp_path / "out" / "scene.ground.npz").stat().st_mtime_ns
    code, again, _ = run(sentence, "--json")
    assert code == 0
    assert [json.loads(line)["phrase"] for line in again.splitlines()] == ["A flower", "a white wheelchair",
                                                                          "the large wheels"]  # fmt: skip
    assert (tmp_path / "out" / "scene.ground.npz").stat().st_mtime_ns == before
    for text, said in (("A flower.", "was made with text"), ("A zebra.", "was made with text")):
        code, _, err = run(text)
        assert code == 2
        assert said in err
    (tmp_path / "out" / "scene.ground.json").write_text("[]")
    assert "is no result" in run(sentence)[2]
    (tmp_path / "out" / "scene.ground.json").unlink()
    assert "no word of" in run("A zebra.")[2]
    code, _, err = run(sentence, "--no-boxes", "--format", "svg", "--fusion", "minimum")
    assert code == 0, err
    assert "boxes" not in json.loads((tmp_path / "out" / "scene.ground.json").read_text())["phrases"][0]
    assert (tmp_path / "out" / "scene.ground.svg").exists()


def test_the_fuzzing_experiment_reads_every_kind_of_file(tmp_path):
    pytest.importorskip("scipy", reason="SciPy writes the .mat files")
    pytest.importorskip("h5py", reason="h5py (extra 'grounding') is not installed")
    from experiments.phrases.fuzz import fuzz, samples

    kinds = samples(tmp_path)
    assert len(kinds) == 6
    for kind, (content, reader) in kinds.items():
        told = fuzz(content, reader, tmp_path, 300, seed=1)
        read, refused = (int(part.split()[0]) for part in told.partition(";")[0].split(", "))
        assert read + refused == 300, kind
        assert min(read, refused) > 0, kind
