"""The tag classifier of the symbol world: `python -m experiments.symbols.tags`.

Draws scenes of `train` and `dominant`, joins and cleans their noisy uploads, fine-tunes a network on the tags alone,
and measures each word on unseen scenes of `val`, whose content is known. Seeded; goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from excitation._files import whole_file, write_whole
from excitation.cli._console import ProgressDisplay
from excitation.data.symbols import COLOUR_NAMES, SYMBOL_NAMES, Scene, export_scenes, make_scene
from excitation.data.symbols._tags import NON_VISUAL, VISUAL, _of_object, _of_scene
from excitation.models import load_model
from excitation.training import Options, Recipe, clean_uploads, measure, train_tags
from experiments.symbols.allocation import keep_memory

SPLITS = ("train", "dominant")


def main(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/symbols_tags"),
    scenes: Annotated[int, typer.Option(help="Of train.")] = 6000,
    dominant: Annotated[int, typer.Option(help="Scenes with one large object.")] = 4000,
    threshold: Annotated[int, typer.Option(help="Of the dictionary.")] = 100,
    rate: Annotated[float, typer.Option(help="Learning rate at first.")] = 0.01,
    batch: Annotated[int, typer.Option(help="Pictures in a step.")] = 32,
    passes: Annotated[int, typer.Option(help="At most.")] = 6,
    every: Annotated[int, typer.Option(help="Steps between looks at held-out users.")] = 100,
    scratch: Annotated[bool, typer.Option(help="Random weights at first, not those of `symbols`.")] = False,
    judged: Annotated[int, typer.Option(help="Scenes of val to measure on.")] = 1000,
    threads: Annotated[int, typer.Option(help="Of torch.")] = 1,
) -> None:
    """Draw, clean, train, measure."""
    torch.set_num_threads(threads)
    keep_memory()
    for split, count in zip(SPLITS, (scenes, dominant), strict=True):
        for _ in export_scenes(out / split, count, 0, split):
            pass
    joined = out / "uploads.jsonl"
    if not joined.exists():
        with whole_file(joined) as file:
            for upload in _joined(out):
                file.write(json.dumps(upload).encode() + b"\n")
    cleaned = clean_uploads([joined], out / "cleaned", threshold=threshold)
    print({"uploads": cleaned.uploads, "removed": cleaned.removed, "kept": cleaned.kept, "words": cleaned.dictionary})
    options = Options(rate=rate, batch=batch, passes=passes, every=every, warm_up=50, patience=3, clip=5.0)
    run = out / ("scratch" if scratch else "tuned")
    with ProgressDisplay("training on tags") as display:
        found = train_tags(
            out / "cleaned", out, "symbols", run, scratch=scratch, recipe=Recipe("none", 160, 150), options=options,
            progress=display.show_training,
        )  # fmt: skip
    report = judge(f"trained:{found.file}", judged)
    training = json.loads((run / "report.json").read_text())
    whole = {"cleaning": {"removed": cleaned.removed, "kept": cleaned.kept}, "training": training, "scenes": report}
    write_whole(run / "tags.json", json.dumps(whole, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def judge(spec: str, count: int) -> dict[str, object]:
    """Precision of each word on scenes of `val`, by what is really there; words nobody can see are left out."""
    loaded = load_model(spec)
    names = loaded.class_names
    assert names is not None
    seen = [number for number, name in enumerate(names) if name not in NON_VISUAL]
    scores, labels = [], np.zeros((count, len(seen)), np.bool_)
    with torch.inference_mode():
        for index in range(count):
            scene = make_scene(index, 0, "val")
            there = _words(scene)
            labels[index] = [names[number] in there for number in seen]
            image = torch.from_numpy(scene.image).permute(2, 0, 1)[None].float() / 127.5 - 1
            scores.append(loaded.model(image)[0, seen].numpy())
    precision = measure(np.stack(scores), labels, None, [names[number] for number in seen])
    kinds = {"symbols": SYMBOL_NAMES, "colours": COLOUR_NAMES, "other words": VISUAL}
    means = {
        kind: round(float(np.mean([precision.by_class[w][0] for w in words if w in precision.by_class])), 4)
        for kind, words in kinds.items()
    }
    return {"mean by kind": means, "words that cannot be seen": len(names) - len(seen), **precision.as_json()}


def _words(scene: Scene) -> set[str]:
    """All words that are true of a scene."""
    words = set(_of_scene(scene))
    for item in scene.instances:
        words |= {item.name, item.colour_name, *_of_object(item)}
    return words


def _joined(out: Path) -> Iterator[dict[str, object]]:
    """The uploads of all splits under one folder; users of different splits are different people."""
    for split in SPLITS:
        for line in (out / split / "tags.jsonl").read_text().splitlines():
            upload = json.loads(line)
            yield {**upload, "image": f"{split}/{upload['image']}", "user": f"{split}-{upload['user']}"}


if __name__ == "__main__":
    typer.run(main)
