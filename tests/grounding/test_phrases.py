"""Phrase data sets: hand-made files of each format, the symbol world both ways, real photos, and broken files."""

from __future__ import annotations

import json
import pickle
import random
import time

import pytest
from PIL import Image

from excitation import ExcitationError
from excitation.data import DataError
from excitation.data._xml import XmlError
from excitation.data.symbols import export_scenes
from excitation.grounding import (
    GROUPS,
    SentenceError,
    is_small,
    parse_sentence,
    read_flickr30k,
    read_phrases_json,
    read_refcoco,
    symbol_phrases,
)
from excitation.grounding._entities import read_entity_boxes

SIZE = "<size><width>100</width><height>80</height><depth>3</depth></size>"
SENTENCE = "[/EN#7/people/clothing A man in red] holds [/EN#0/notvisual it] [/EN#8/other a big umbrella] ."


def thing(names, box=None, flags=""):
    words = "".join(f"<name>{name}</name>" for name in names)
    if box is not None:
        sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        flags += "<bndbox>" + "".join(f"<{tag}>{value}</{tag}>" for tag, value in sides) + "</bndbox>"
    return f"<object>{words}{flags}</object>"


ANNOTATION = (
    f"<annotation><filename>1.jpg</filename>{SIZE}"
    + thing(["7"], (1, 1, 10, 20))
    + thing(["7", "9"], (30, 5, 40, 80))
    + thing(["8"], flags="<scene>0</scene><nobndbox>1</nobndbox>")
    + thing(["10"], (1, 1, 100, 80), "<scene>1</scene><nobndbox>0</nobndbox>")
    + "</annotation>"
)


def entities(root, sentences=None, annotations=None, **lists):
    for folder, files, ending in (
        ("Sentences", sentences or {"1": SENTENCE}, "txt"),
        ("Annotations", annotations or {"1": ANNOTATION}, "xml"),
    ):
        (root / folder).mkdir(parents=True)
        for name, content in files.items():
            (root / folder / f"{name}.{ending}").write_text(content)
    for name, lines in lists.items():
        (root / f"{name}.txt").write_text("\n".join(lines))
    return root


def test_a_marked_sentence():
    found = parse_sentence(SENTENCE)
    assert " ".join(found.words) == "A man in red holds it a big umbrella ."
    assert [(item.entity, item.types, item.span) for item in found.phrases] == [
        ("7", ("people", "clothing"), (0, 4)),
        ("0", ("notvisual",), (5, 6)),
        ("8", ("other",), (6, 9)),
    ]
    assert parse_sentence("no [phrase] here").words == ("no", "[phrase]", "here")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[/EN#7/people A man", "does not end"),
        ("[/EN#7/people A [/EN#8/other hat]]", "inside another"),
        ("[/EN#7/people]", "without words"),
        ("[/EN#x/people A man]", "without a number for its entity"),
        ("[/EN#7/robots A man]", "unknown type 'robots'"),
        ("[/EN#7 A man]", "without a type"),
    ],
)
def test_sentences_that_break_the_format(line, said):
    with pytest.raises(SentenceError, match=said):
        parse_sentence(line)


def test_flickr30k_entities(tmp_path):
    data = read_flickr30k(entities(tmp_path / "f30k", test=["1", "1", ""]), "test")
    (image,) = data
    assert (data.name, len(data), image.size, image.path) == ("f30k-test", 1, (80, 100), None)
    man, it, umbrella = image.phrases
    # The last pixels are inside, so half-open boxes end one later.
    assert man.boxes == ((1, 1, 11, 21), (30, 5, 41, 81))
    assert man.target == (1, 1, 41, 81)
    assert man.text == "A man in red"
    assert it.boxes == umbrella.boxes == ()
    assert (it.types, umbrella.types, umbrella.entity) == (("notvisual",), ("other",), "8")
    assert image.captions[0][slice(*umbrella.span)] == umbrella.words
    assert umbrella.target is None
    assert is_small(man, (81, 200))
    assert not is_small(man, (80, 100))
    (told,) = map(str, data.problems)
    assert "test.txt: names images more than once" in told
    shifted = read_flickr30k(tmp_path / "f30k", offset=-1).image("1")
    assert shifted.phrases[0].boxes == ((0, 0, 10, 20), (29, 4, 40, 80))
    known = read_entity_boxes(tmp_path / "f30k/Annotations/1.xml")
    assert (known.scenes, known.unboxed, known.broken) == ({"10"}, {"8"}, 0)
    assert known.boxes["9"] == ((30, 5, 40, 80),)
    assert known.boxes["10"] == ((1, 1, 100, 80),)  # a scene with a box keeps it
    for split, offset in (("val", 0), ("../x", 0), ("test", 1)):
        with pytest.raises(ExcitationError, match=r"has no list|offset is 1"):
            read_flickr30k(tmp_path / "f30k", split, offset=offset)


def test_broken_files_are_listed_by_path(tmp_path):
    good = "[/EN#7/people A man] ."
    sentences = dict.fromkeys(["cut", "gone", "other", "far", "sizeless"], good) | {"half": f"{good}\n[/EN#7\n{good}"}
    annotations = {
        "half": ANNOTATION,
        "cut": ANNOTATION[:-9],
        "other": "<html/>",
        "far": f"<annotation>{SIZE}{thing(['7'], (200, 1, 300, 9))}{thing(['7'], (90, 1, 130, 9))}{thing([])}"
        "</annotation>",
        "sizeless": "<annotation/>",
    }
    data = read_flickr30k(
        entities(tmp_path / "x", sentences, annotations, test=[*sentences, "nul\0", "a/../b"]), "test"
    )
    (tmp_path / "x/Sentences/latin.txt").write_bytes(b"\xff\xfe")
    images = {image.id: image for image in data}
    assert list(images) == ["far", "half"]
    assert images["far"].phrases[0].boxes == ((90, 1, 100, 10),)
    assert [phrase.caption for phrase in images["half"].phrases] == [0, 2]
    assert images["half"].captions[1] == ()
    told = "\n".join(map(str, data.problems))
    for words in [
        "cut.xml: is not well-formed", "gone.xml: cannot be read", "other.xml: is no annotation",
        "far.xml: entity 7 has a box without area", "far.xml: entity 7 has a box that reaches 31 pixels beyond",
        "far.xml: has 1 objects without a name", "sizeless.xml: says no size", "half.txt: sentence 2 has a phrase that",
        "which is no name of a file",
    ]:  # fmt: skip
        assert words in told
    every = read_flickr30k(tmp_path / "x")
    assert [image.id for image in every] == ["far", "half"]
    assert "latin.txt: is no UTF-8 text" in "\n".join(map(str, every.problems))


def test_unrelated_captions_are_left_out_on_demand(tmp_path):
    root = entities(tmp_path / "x", {"1": f"{SENTENCE}\n{SENTENCE}"})
    with pytest.raises(DataError, match="UNRELATED_CAPTIONS"):
        read_flickr30k(root, unrelated=False)
    (root / "UNRELATED_CAPTIONS").write_text("image caption\n1 1\n2 zero\n")
    kept = read_flickr30k(root).image("1")
    fewer = read_flickr30k(root, unrelated=False)
    assert [phrase.caption for phrase in kept.phrases] == [0, 0, 0, 1, 1, 1]
    assert {phrase.caption for phrase in fewer.image("1").phrases} == {0}
    assert {phrase.caption for phrase in read_flickr30k(root, unrelated=False, unrelated_from=1).phrases()} == {1}
    assert "line 3 is '2 zero'" in str(next(iter(fewer.problems)))


def test_the_symbol_world_is_the_same_from_files_and_without(tmp_path):
    assert list(export_scenes(tmp_path, 4, seed=5))[-1] == 4
    exported = list(read_flickr30k(tmp_path / "entities", images=tmp_path / "images"))
    drawn = list(symbol_phrases(4, seed=5))
    assert [image.phrases for image in exported] == [image.phrases for image in drawn]
    assert [image.captions for image in exported] == [image.captions for image in drawn]
    assert all(image.path.is_file() for image in exported)
    assert any(phrase.boxes for phrase in drawn[0].phrases)


def test_a_list_of_phrases_in_json(tmp_path):
    Image.new("RGB", (100, 80)).save(tmp_path / "1.png")
    row = {"file": "1.png", "caption": "A man, a man and a dog.", "phrase": "man", "boxes_xywh": [[1, 2, 10, 20]]}
    rows = [
        row,
        row,
        {**row, "phrase": "a dog", "types": ["animals"], "split": "val", "boxes_xywh": [[90, 0, 20, 10]]},
        row,
        {**row, "phrase": "cat"},
        {**row, "start": 99},
        {**row, "boxes_xywh": [[1, 2, float("inf"), 4]]},
        {**row, "types": ["robots"]},
        {**row, "caption": None},
        {**row, "file": "../1.png"},
        {**row, "file": "2.png"},
    ]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    data = read_phrases_json(tmp_path / "p.json", tmp_path)
    (image,) = data
    assert [(item.text, item.span, item.boxes, item.types) for item in image.phrases] == [
        ("man", (1, 2), ((1, 2, 11, 22),), ()),
        ("man", (3, 4), ((1, 2, 11, 22),), ()),
        ("a dog", (5, 7), ((90, 0, 100, 10),), ("animals",)),
    ]
    assert len(data.problems) == 8 - 1  # the third "man" and the one with a wrong start read alike
    (only,) = read_phrases_json(tmp_path / "p.json", tmp_path, "val")
    assert [item.text for item in only.phrases] == ["a dog"]
    for content in ("{}", "[1]", "[", "[" * 100_000):
        (tmp_path / "q.json").write_text(content)
        with pytest.raises(DataError):
            read_phrases_json(tmp_path / "q.json", tmp_path)


def test_real_captions(shared):
    root = shared("data/coco_captioned")
    data = read_phrases_json(root / "caption_word_boxes.json", root / "images")
    images = list(data)
    assert len(images) == len(data) > 30
    for image in images:
        for phrase in image.phrases:
            own = image.captions[phrase.caption][slice(*phrase.span)]
            assert len(own) == len(phrase.words)
            assert phrase.text.casefold() in " ".join(own).casefold()
            assert phrase.boxes


def test_refcoco(tmp_path):
    refs = [
        {
            "ref_id": 1,
            "ann_id": 5,
            "image_id": 3,
            "split": "val",
            "sentences": [{"sent": "left dog"}, {"raw": "the dog"}],
        },
        {"ref_id": 2, "ann_id": 6, "image_id": 3, "split": "testA", "sentences": [{"tokens": ["man"]}, {}, 7]},
        {"ref_id": 3, "ann_id": 99, "image_id": 3, "split": "val", "sentences": [{"sent": "x"}]},
        {"ref_id": 4, "ann_id": 5, "image_id": 4, "split": "val", "sentences": []},
    ]
    instances = {
        "images": [{"id": 3, "file_name": "3.jpg", "height": 80, "width": 100}],
        "annotations": [{"id": 5, "bbox": [1, 2, 3, 4]}, {"id": 6, "bbox": [0, 0, 50, 60]}],
    }
    (tmp_path / "refs.json").write_text(json.dumps(refs))
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    data = read_refcoco(tmp_path / "refs.json", tmp_path / "instances.json", tmp_path)
    (image,) = data
    assert [(item.text, item.caption, item.entity, item.target) for item in image.phrases] == [
        ("left dog", 0, "5", (1, 2, 4, 6)),
        ("the dog", 1, "5", (1, 2, 4, 6)),
        ("man", 2, "6", (0, 0, 50, 60)),
    ]
    assert len(data.problems) == 2
    (only,) = read_refcoco(tmp_path / "refs.json", tmp_path / "instances.json", tmp_path, "testA")
    assert [item.text for item in only.phrases] == ["man"]
    (tmp_path / "refs(unc).p").write_bytes(pickle.dumps(refs))
    with pytest.raises(DataError, match=r"is a pickle, which can run any program.*convert it to JSON"):
        read_refcoco(tmp_path / "refs(unc).p", tmp_path / "instances.json", tmp_path)


def mutated(rng, content):
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place, kind = rng.randrange(len(data)), rng.choice([0, 0, 0, 1, 2, 3])
        if kind == 0:
            data[place] = rng.choice(b"0123456789 -.x") if rng.random() < 0.8 else rng.randrange(256)
        elif kind == 1:
            del data[place : place + rng.randint(1, 30)]
        elif kind == 2:
            data[place:place] = data[place : place + rng.randint(1, 30)]
        else:
            data[place:place] = rng.choice([b"[/EN#", b"]", b"/", b"<", b">", b"&a;", b"\0", b"999999999999", b"\xff"])
        if not data:
            break
    return bytes(data)


def test_damaged_sentences_and_annotations_end_in_a_clear_error(tmp_path):
    rng = random.Random(0)
    sentence_file, xml_file = tmp_path / "1.txt", tmp_path / "1.xml"
    refused: tuple[list[str], list[str]] = ([], [])
    start = time.monotonic()
    for _ in range(400):
        line = mutated(rng, SENTENCE.encode())
        sentence_file.write_bytes(line)
        try:
            found = parse_sentence(line.decode("utf-8", "replace"))
        except SentenceError as error:
            refused[0].append(str(error))
        else:
            assert all(0 <= item.span[0] < item.span[1] <= len(found.words) for item in found.phrases)
            assert all(kind in {*GROUPS, "notvisual"} for item in found.phrases for kind in item.types)
        xml_file.write_bytes(mutated(rng, ANNOTATION.encode()))
        try:
            read_entity_boxes(xml_file)
        except XmlError as error:
            refused[1].append(str(error))
    assert min(map(len, refused)) > 50
    assert max(len(said) for said in [*refused[0], *refused[1]]) < 400
    assert time.monotonic() - start < 60  # many times what it takes: bounded, not timed


def test_a_hostile_annotation_does_not_multiply(tmp_path):
    # 300 names times 300 boxes: what a small file makes of itself is bounded.
    one = thing(["7"] * 3 + [str(n) for n in range(300)], (1, 1, 2, 2))
    (tmp_path / "1.xml").write_text(f"<annotation>{SIZE}{one * 300}</annotation>")
    with pytest.raises(XmlError, match="more than 10000 boxes"):
        read_entity_boxes(tmp_path / "1.xml")
    with pytest.raises(SentenceError, match="does not end"):
        parse_sentence("[/EN#1/people a " + "[" * 200_000)
