"""The sanity checks of the documentation: `python -m experiments.sanity symbols` (or `resnet`, `squeezenet`).

Each check is one `excitation sanity` command, one core each; stopped at any moment, the same command goes on. Tables
and numbers go to `docs/results/sanity_*`, charts to `docs/figures/sanity_*`.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

from excitation._files import write_whole
from excitation.evaluation.sanity import read_findings, summary_table
from experiments.paper_mini import Clock, together

WORLD = Path("runs/sanity/world")
SHARED = Path("../shared")
SQUEEZENET = SHARED / "models/squeezenet_v1.0"
PHOTOS = [
    SHARED / "data/photos",
    *(
        SHARED / "data/imagenet_sample/images" / name
        for name in (
            "n02128925_jaguar.JPEG", "n02992211_cello.JPEG", "n03791053_motor_scooter.JPEG", "n04398044_teapot.JPEG",
        )
    ),
]  # fmt: skip
"""Six photos, and four more of other kinds."""


@dataclass(frozen=True)
class Checks:
    """One network's checks.

    Attributes:
        model: as `--model` takes it.
        images: options that say which images; scenes of the symbol world if there are none.
        every: maps are taken after every so many stages.
        expensive: images that expensive methods see while layers are randomised from the top down.
        layer: where Excitation Backprop's maps are taken; the network's default if not given.
    """

    model: str
    images: tuple[object, ...] = ("--data", f"coco:{WORLD}")
    every: int = 1
    expensive: int = 2
    layer: str = ""

    def commands(self, out: Path, count: int) -> list[list[object]]:
        """The `excitation` commands of the checks."""
        shared = ["--model", self.model, *self.images, "--count", count, "--out", out]
        randomisation = ["sanity", "randomisation", *shared, "--every", self.every]
        if self.layer:
            randomisation += ["--layer", self.layer]
        return [
            [*randomisation, "--expensive", self.expensive],
            [*randomisation, "--independent", "--expensive", 0],
            ["sanity", "convergence", *shared, "--pairs", 3],
        ]


CHECKS = ("randomisation", "independent", "convergence")

ON_PHOTOS = tuple(word for path in PHOTOS for word in ("--images", path))
NETWORKS = {
    "symbols": {"symbols": Checks("symbols")},
    "resnet": {"resnet": Checks("symbols:resnet", expensive=1)},
    "squeezenet": {
        name: Checks(f"caffe:{SQUEEZENET / file},{SQUEEZENET / 'squeezenet_v1.0.caffemodel'}", ON_PHOTOS, 6, 1, "pool4")
        for name, file in (("squeezenet", "deploy.prototxt"), ("squeezenet_pooled", "deploy_gapfirst.prototxt"))
    },
}
"""By the word on the command line, then by name of the results: SqueezeNet has its own head and the re-ordered one. Its
maps are taken where the games on real photos take them: where the engine would by itself, so high up, they are CAMs."""


def main() -> None:
    """Run what has not been run yet, then copy tables, numbers and charts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--count", type=int, default=10, help="Images; a larger number goes on.")
    parser.add_argument("--runs", type=Path, default=Path("runs/sanity"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    given = parser.parse_args()
    clock = Clock(given.runs / "seconds.json")
    if given.network != "squeezenet":
        together([["symbols", "--count", 30, "--out", WORLD]])
    for name, checks in NETWORKS[given.network].items():
        first, second, last = checks.commands(given.runs / name, given.count)
        with clock.measuring(name):
            together([first, second])
            together([last])
        keep(given.runs / name, given.docs, name)


def keep(run: Path, docs: Path, name: str) -> None:
    """Copy what the documentation shows; maps on photos stay where they are."""
    summary = summary_table(*(read_findings(run / f"{check}.json") for check in CHECKS))
    write_whole(docs / "results" / f"sanity_{name}.md", summary.as_markdown())
    for check in CHECKS:
        for kind in ("json", "md"):
            write_whole(docs / "results" / f"sanity_{name}_{check}.{kind}", (run / f"{check}.{kind}").read_text())
        chart = run / ("convergence.png" if check == "convergence" else f"{check}-grid.png")
        shutil.copyfile(chart, docs / "figures" / f"sanity_{name}_{check}.png")
    if not name.startswith("squeezenet"):
        shutil.copyfile(run / "strip.png", docs / "figures" / f"sanity_{name}_strip.png")


if __name__ == "__main__":
    main()
