"""How large objects are: `python -m experiments.symbols.sizes` writes `docs/results/symbols_sizes.json`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from rich.progress import track

from excitation._files import write_whole
from excitation.data.symbols import make_scene

SCENES = 1000  # of each split
SMALL = 0.02  # share of the picture
PLACE = Path("docs/results/symbols_sizes.json")


def main() -> None:
    """Measure the boxes of all objects of the first scenes."""
    found = {}
    for split in ("val", "test"):
        scenes = (make_scene(index, 0, split) for index in range(SCENES))
        shares = np.array([item.share for scene in track(scenes, split, total=SCENES) for item in scene.instances])
        found[split] = {
            "objects": len(shares),
            "under 2 %": round(float((shares < SMALL).mean()), 4),
            "least": round(float(shares.min()), 4),
            "median": round(float(np.median(shares)), 4),
            "largest": round(float(shares.max()), 4),
        }
    write_whole(PLACE, json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
