"""Tables 4 and 5, the curve of gamma and Fig. 7 of the paper in miniature, on the captions of the symbol world.

`python -m experiments.phrases.mini` (`make phrases-mini`). The tag classifier is bundled (`symbols:tags`). Stopped at
any moment, the same command goes on. It writes `docs/results/phrases_mini.json`, `docs/results/phrases_mini.md` and two
figures.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

import excitation as eb
from excitation._files import write_whole
from excitation.data.symbols._glyphs import SYMBOLS
from excitation.evaluation import read_results
from excitation.grounding import (
    Dictionary,
    chosen_gammas,
    draw_caption,
    find_phrases,
    gamma_figure,
    open_phrases,
)
from excitation.views import save_figure

from ..figures.compress import compress
from ..figures.places import FIGURES
from .page import page, tables_json, tables_of

EXCITATION = [sys.executable, "-c", "from excitation.cli import main; main()"]

OWN = "mwp@inception_3b,c-mwp@inception_3b,r-mwp@inception_3b"
RUNS: dict[str, list[object]] = {
    "methods": ["--methods", f"{OWN},gradient,deconv,lrp-epsilon-plus,cam,grad-cam,layer-cam"],
    "fusions": ["--methods", "c-mwp@inception_3b", "--fusion", "mean", "--fusion", "product", "--fusion", "minimum",
                "--fusion", "noun-weighted", "--limit", 100],
}  # fmt: skip
"""What follows `excitation phrases run`, beside the data, the model and the file of results."""

GROUPS = {
    "people": ("snowman",),
    "clothing": ("crown",),
    "bodyparts": ("hand", "skull"),
    "animals": ("cow", "cat"),
    "vehicles": ("airplane", "wheelchair"),
    "instruments": ("music note",),
    "scene": ("house", "tower", "cloud", "sun"),
}
"""Symbols of each of Flickr30k's types; all others are `other`. The symbol world has `other` and `scene` only."""

SHOWN = (7, 31, 44, 58)
"""Scenes of the caption figure."""


def main() -> None:
    """Draw scenes, run what is not run yet, and write tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS), metavar="NAME")
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--validation", type=int, default=100)
    parser.add_argument("--runs", type=Path, default=Path("runs/phrases_mini"))
    parser.add_argument("--results", type=Path, default=Path("docs/results"))
    parser.add_argument("--figures", type=Path, default=FIGURES)
    given = parser.parse_args()
    folder = given.runs / f"{given.test}-{given.validation}"
    for split, count in (("test", given.test), ("val", given.validation)):
        run("symbols", "--count", count, "--split", split, "--out", folder / split)
        set_types(folder / split / "entities" / "Sentences")
    tables, commands = {}, []
    for name in given.only:
        file = folder / f"{name}.sqlite"
        run(*words_of(folder, RUNS[name]), "--out", file)
        results = read_results(file)
        shown = None if name == "methods" else (0, -1)
        tables[name] = tables_of(results, paper=name == "methods", against=("c-mwp",), only=shown)
        commands.append(" ".join(map(str, ["excitation", *words_of(folder, RUNS[name])])))
    write_whole(given.results / "phrases_mini.json", tables_json(tables))
    write_whole(given.results / "phrases_mini.md", page(TITLE, INTRODUCTION, commands, tables))
    given.figures.mkdir(parents=True, exist_ok=True)
    methods = read_results(folder / "methods.sqlite")
    save_figure(gamma_figure(methods), given.figures / "phrases_gamma.png")
    gamma = chosen_gammas(methods)["c-mwp @ inception_3b"]
    draw_captions(folder / "test", gamma, given.figures / "phrases_captions.png")
    for name in ("phrases_gamma.png", "phrases_captions.png"):
        compress(given.figures / name)


TITLE = "Phrases and regions in miniature (Tables 4 and 5)"

INTRODUCTION = """
`make phrases-mini` (`python -m experiments.phrases.mini`) draws scenes of the symbol world, whose captions have phrases
with exact boxes, and grounds the phrases with the tag classifier `symbols:tags`. It never saw a box. All boxes of the
symbol world are of phrases of type `other`; for Table 5 the experiment gives phrases with some symbols the types that
Flickr30k would give them (snowman: people; crown: clothing; hand, skull: bodyparts; cow, cat: animals; airplane,
wheelchair: vehicles; music note: instruments; house, tower, cloud, sun: scene).

![Recall at 1 on the validation split against gamma](../figures/phrases_gamma.png)

*Recall at 1 on the validation split against gamma, with 95 % intervals over images.*

![Four captions with the maps of their phrases](../figures/phrases_captions.png)

*Fig. 7 in miniature: maps of c-MWP, the best box of each phrase, and the caption. The four scenes were chosen by number
before their maps were seen.*
"""


def words_of(folder: Path, options: list[object]) -> list[object]:
    """The command of one run, without its file of results."""
    parts: list[object] = ["phrases", "run", "--model", "symbols:tags", "--shortest", 160]
    for option, split in (("data", "test"), ("validation", "val")):
        parts += [f"--{option}", f"flickr30k:{folder / split / 'entities'}"]
        parts += ["--images" if option == "data" else "--validation-images", folder / split / "images"]
    return [*parts, *options]


def run(*words: object) -> None:
    """Run an `excitation` command on one core."""
    done = subprocess.run([*EXCITATION, *map(str, words)], stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"`excitation {' '.join(map(str, words))}` failed; the same command goes on.")


def set_types(folder: Path) -> None:
    """Give phrases their types by their nouns, in the files of sentences."""
    types = {}
    for symbol in SYMBOLS:
        group = next((name for name, nouns in GROUPS.items() if symbol.noun in nouns), "other")
        types[symbol.noun] = types[symbol.plural] = group

    def typed(found: re.Match[str]) -> str:
        text = found[2]
        noun = max((noun for noun in types if text.endswith(noun)), key=len, default=None)
        return found[0] if noun is None else f"[/EN#{found[1]}/{types[noun]} {text}]"

    for file in sorted(folder.glob("*.txt")):
        before = file.read_text(encoding="utf-8")
        after = re.sub(r"\[/EN#(\d+)/\w+ ([^\]]*)\]", typed, before)
        if after != before:
            write_whole(file, after)


def draw_captions(folder: Path, gamma: float, path: Path) -> None:
    """The caption figures of four scenes in two columns."""
    model = eb.load_model("symbols:tags")
    assert model.class_names is not None
    dictionary = Dictionary(model.class_names)
    data = open_phrases(f"flickr30k:{folder / 'entities'}", folder / "images")
    parts = []
    for number in SHOWN:
        image = data.image(data.ids[number % len(data)])
        assert image is not None
        assert image.path is not None
        caption = find_phrases(" ".join(max(image.captions, key=len)), dictionary)
        found = eb.ground(model, image.path, caption.phrases, method="c-mwp", gamma=gamma)
        place = path.with_name(f".{path.stem}-{number}.png")
        save_figure(draw_caption(caption, found), place, dpi=120)
        with Image.open(place) as stored:
            parts.append(stored.convert("RGB"))
        place.unlink()
    width = max(part.width for part in parts)
    rows = [parts[at : at + 2] for at in range(0, len(parts), 2)]
    heights = [max(part.height for part in row) for row in rows]
    whole = Image.new("RGB", (2 * width + 40, sum(heights) + 20 * (len(rows) - 1)), "white")
    top = 0
    for row, height in zip(rows, heights, strict=True):
        for column, part in enumerate(row):
            whole.paste(part, (column * (width + 40) + (width - part.width) // 2, top))
        top += height + 20
    whole.save(path)


if __name__ == "__main__":
    main()
