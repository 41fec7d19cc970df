"""What a network takes for a thing that is not there (the paper's Fig. 5, bottom).

In training, pairs of symbols nearly always appear together; here one of them is missing, and the network often says it
sees both. Its attention shows why: `python -m experiments.figures.cooccurrence`. How often is counted on a thousand
scenes and written to `docs/results/symbols_cooccurrence.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from PIL import Image

from excitation import explain
from excitation._files import write_whole
from excitation.data.symbols import PAIRS, SYMBOL_NAMES, Scene, make_scene
from excitation.models import LoadedModel
from excitation.models.symbols import load_symbols
from excitation.views import FigureRow, Panel, figure, save_figure
from experiments.figures.places import FIGURES

ROWS = 3
SCENES = 1000  # of the split "test"
LARGE = 0.08  # share of the picture
SEEN = 0.5  # probability


@dataclass(frozen=True)
class Lonely:
    """A large member of a pair whose partner is not in the scene.

    Attributes:
        scene: where it is.
        pair: indices of the two symbols.
        present: its index.
        absent: its partner's.
        probabilities: what the network gives for the two.
    """

    scene: Scene
    pair: tuple[int, int]
    present: int
    absent: int
    probabilities: tuple[float, float]

    @property
    def both_seen(self) -> bool:
        """Whether the network sees the partner too."""
        return min(self.probabilities) > SEEN


def lonely_members(loaded: LoadedModel, scenes: int = SCENES, seed: int = 0) -> Iterator[Lonely]:
    """All large members of pairs without their partners, and what a network says of both."""
    for index in range(scenes):
        scene = make_scene(index, seed, "test")
        for pair in PAIRS:
            members = [item for item in scene.instances if item.symbol in pair]
            if len(members) != 1 or members[0].share <= LARGE:
                continue
            present, absent = pair if members[0].symbol == pair[0] else pair[::-1]
            with torch.inference_mode():
                scores = loaded.model(loaded.preprocessing(Image.fromarray(scene.image))[None])[0]
            both = torch.sigmoid(scores[[present, absent]]).tolist()
            yield Lonely(scene, pair, present, absent, (both[0], both[1]))


def main() -> None:
    """Count them all; draw, for the first of three pairs whose partner is seen too, the maps of both."""
    loaded = load_symbols()
    count = present = both = 0
    shown: dict[tuple[int, int], Lonely] = {}
    for lonely in lonely_members(loaded):
        count, present, both = count + 1, present + (lonely.probabilities[0] > SEEN), both + lonely.both_seen
        if lonely.both_seen and len(lonely.scene.instances) > 2 and len(shown) < ROWS:
            shown.setdefault(lonely.pair, lonely)
    record = {
        "scenes of test": SCENES,
        "large members without their partner": count,
        "seen": present,
        "seen with its partner": both,
    }
    write_whole(FIGURES.parent / "results" / "symbols_cooccurrence.json", json.dumps(record, indent=1) + "\n")
    place = FIGURES / "cooccurrence.png"
    save_figure(figure([_row(loaded, lonely) for lonely in shown.values()], title="c-MWP", peaks=True), place)
    print(place, json.dumps(record))


def _row(loaded: LoadedModel, lonely: Lonely) -> FigureRow:
    picture = Image.fromarray(lonely.scene.image)
    images = loaded.preprocessing(picture)[None]
    maps = explain(loaded, images, [lonely.present, lonely.absent], method="c-mwp").maps[0]
    there, missing = lonely.probabilities
    return FigureRow(
        picture,
        [
            Panel(maps[0], SYMBOL_NAMES[lonely.present], f"p = {there:.2f}, it is there"),
            Panel(maps[1], SYMBOL_NAMES[lonely.absent], f"p = {missing:.2f}, there is none"),
        ],
    )


if __name__ == "__main__":
    main()
