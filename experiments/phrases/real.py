"""Words of captions, and names of categories with numbers, on COCO photos with a network trained on ImageNet.

`python -m experiments.phrases.real` (`make phrases-real`; needs ../shared and the extra lite). No data set of phrases
with boxes drawn by people is at hand, so two derived ones are used: words of captions that name a category, with the
boxes of all its instances; and phrases made from annotations, such as "two zebras". Stopped at any moment, the same
command goes on; `--only NAME` takes one of them. It writes `docs/results/phrases_real.json` and
`docs/results/phrases_real.md`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import excitation as eb
from excitation._files import write_whole
from excitation.evaluation import Table, read_results
from excitation.grounding import Dictionary, coverage, open_phrases

from .mini import run
from .page import page, tables_json, tables_of

SHARED = Path("../shared/data")
METHODS = "mwp,c-mwp,r-mwp,cam,grad-cam"
HELD_OUT = 3
"""Every third image chooses gamma."""

PHOTOS = 30
"""Photos of each data set: the first ones with a phrase."""

NUMBERS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
TYPES = {"person": "people", "animal": "animals", "vehicle": "vehicles"}
"""Flickr30k's types of COCO's groups of categories; all others are `other`."""

SETS = {
    "words": f"words in five human captions of each of {PHOTOS} photos that name a COCO category",
    "categories": f"the categories of {PHOTOS} photos of COCO-128 with the number of instances, as in"
    ' "a photo of two zebras"',
}

INTRODUCTION = """
`make phrases-real` (`python -m experiments.phrases.real`): EfficientNet-Lite0 with ImageNet's 1000 classes (`--model
lite`), the model's layer `blocks.6.0.bn1.act`, shortest side 300, up to 500 merged superpixels, gamma chosen on every
third image. The photos and annotations are COCO's, beside the project.

**What this is not.** It is not Table 4: Flickr30k Entities and MCG's proposals are not at hand, the network knows 1000
ImageNet classes and groups of them, not 18,157 tags, and no person drew the boxes for these phrases. A word has the
boxes of all instances of its category, so the target of "man" would be the box around all persons.
"""


def main() -> None:
    """Write the derived phrases, run what is not run yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SETS, default=list(SETS), metavar="NAME")
    parser.add_argument("--runs", type=Path, default=Path("runs/phrases_real"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    given = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit(f"{SHARED}: the photos are absent; this experiment needs them.")
    makers = {"words": caption_words, "categories": category_phrases}
    tables: dict[str, list[Table]] = {}
    commands, told = [], []
    for name in given.only:
        place = given.runs / f"{name}.json"
        write_whole(place, json.dumps(split(makers[name]())))
        out = given.runs / f"{name}.sqlite"
        words: list[object] = ["phrases", "run", "--model", "lite", "--methods", METHODS, "--images", SHARED]
        words += ["--data", f"json:{place}@test", "--validation", f"json:{place}@validation"]
        run(*words, "--out", out)
        commands.append(" ".join(map(str, ["excitation", *words])))
        tables[name] = tables_of(read_results(out), against=("c-mwp", "grad-cam"))
        told.append(f"**{name}**: {SETS[name]}. {covered(place)}")
    write_whole(given.results / "phrases_real.json", tables_json(tables))
    text = "\n\n".join([INTRODUCTION.strip(), "## What is covered", *told])
    write_whole(given.results / "phrases_real.md", page("Phrases on real photos", text, commands, tables))


def caption_words() -> list[dict[str, Any]]:
    """The words of captions, from the file beside the project."""
    stored = json.loads((SHARED / "coco_captioned" / "caption_word_boxes.json").read_text())
    chosen = sorted({item["file"] for item in stored})[:PHOTOS]
    sizes = {item["file_name"]: item for item in instances("coco_captioned")["images"]}
    return [
        {
            "file": f"coco_captioned/images/{item['file']}", "caption": item["caption"], "phrase": item["phrase"],
            "boxes_xywh": item["boxes_xywh"], "entity": item["category"], "height": sizes[item["file"]]["height"],
            "width": sizes[item["file"]]["width"], "types": ["people" if item["category"] == "person" else "other"],
        }
        for item in stored
        if item["file"] in chosen
    ]  # fmt: skip


def category_phrases() -> list[dict[str, Any]]:
    """A phrase for each category of each photo. Crowds, and more than ten instances, are left out."""
    content = instances("coco128")
    categories = {item["id"]: item for item in content["categories"]}
    pictures = {item["id"]: item for item in content["images"]}
    found: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for item in content["annotations"]:
        found.setdefault((item["image_id"], item["category_id"]), []).append(item)
    chosen = sorted({image for image, _ in found})[:PHOTOS]
    entries = []
    for (image, category), items in sorted(found.items()):
        if image not in chosen or any(item.get("iscrowd") for item in items) or len(items) >= len(NUMBERS):
            continue
        name, picture = categories[category]["name"], pictures[image]
        phrase = f"{NUMBERS[len(items)]} {name if len(items) == 1 else plural(name)}"
        kind = TYPES.get(categories[category].get("supercategory", ""), "other")
        entries.append(
            {
                "file": f"coco128/images/{picture['file_name']}", "caption": f"a photo of {phrase}", "phrase": phrase,
                "start": 3, "boxes_xywh": [item["bbox"] for item in items], "entity": name, "types": [kind],
                "height": picture["height"], "width": picture["width"],
            }
        )  # fmt: skip
    return entries


def instances(folder: str) -> dict[str, Any]:
    """The COCO annotations of a folder beside the project."""
    (file,) = (SHARED / folder / "annotations").glob("*instances*.json")
    return dict(json.loads(file.read_text()))


def plural(name: str) -> str:
    """An English plural that a lemmatizer takes back."""
    if name.endswith(("s", "sh", "ch", "x")):
        return name if name.endswith("s") and not name.endswith(("ss", "us")) else f"{name}es"
    return f"{name[:-1]}ves" if name == "knife" else f"{name[:-2]}ice" if name == "mouse" else f"{name}s"


def split(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries with their split: every third file chooses gamma."""
    listed = list(entries)
    files = sorted({item["file"] for item in listed})
    held_out = set(files[::HELD_OUT])
    return [{**item, "split": "validation" if item["file"] in held_out else "test"} for item in listed]


def covered(place: Path) -> str:
    """How many words and phrases the network knows, and the most frequent words that it does not."""
    names = eb.load_model("lite").class_names
    assert names is not None
    dictionary = Dictionary(names)
    told = []
    for part in ("validation", "test"):
        phrases = [phrase.words for phrase in open_phrases(f"json:{place}@{part}", SHARED).phrases()]
        found = coverage(dictionary, phrases)
        skipped = Counter(found.skipped)
        for number in NUMBERS:
            skipped.pop(number, None)
        common = ", ".join(f"{word} ({count})" for word, count in skipped.most_common(12))
        told.append(
            f"{part.capitalize()}: {found.phrases} phrases, {found.silent} without a known word, which count as missed;"
            f" not classes, beside numbers: {common or 'none'}."
        )
    return " ".join(told)


if __name__ == "__main__":
    main()
