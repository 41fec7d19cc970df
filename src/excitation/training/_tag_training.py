"""Training of a tag classifier (Sec. 4.3) on cleaned uploads."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from .._checks import check_number
from .._files import write_whole
from ..models import LoadedModel, load_model
from ..models._trained import write_trained
from ._evaluation import Precision, measure
from ._fit import Fitted, State, fit, predict
from ._options import Options, TrainingError
from ._output_layer import Scores, choose_layers, with_classes
from ._pictures import PictureExamples, Recipe
from .tags import read_dictionary

PASSES = 3
"""The paper's passes through the data."""


@dataclass(frozen=True)
class TrainedTags:
    """The result of training on tags.

    Attributes:
        file: file of the network, for `--model trained:FILE`.
        fitted: the finished run.
        held_out: precision on the uploads of held-out users. Their tags are noisy.
        uploads: number of training uploads.
        users: number of held-out users.
    """

    file: Path
    fitted: Fitted
    held_out: Precision
    uploads: int
    users: int


def train_tags(
    data: Path,
    images: Path,
    model: str,
    out: Path,
    *,
    scratch: bool = False,
    held_out: int = 20,
    recipe: Recipe | None = None,
    options: Options | None = None,
    device: str = "cpu",
    progress: Callable[[State], None] | None = None,
) -> TrainedTags:
    """Train a whole network on the first five tags of uploads. If a run was interrupted, the same call continues it.

    Args:
        data: folder with the result of `clean_uploads`. The tags of its dictionary are the classes.
        images: root folder of the pictures.
        model: spec of the network to fine-tune.
        out: folder of the run. The network is written to `model.safetensors` in this folder.
        scratch: whether to start with random weights instead of the weights of the network.
        held_out: K: about every K-th user, by a hash of the name, is held out. All pictures of a user are held out
            together, because they are similar.
        recipe: preprocessing for training; the recipe of the paper, scaled to the input size, if `None`.
        options: training options; three passes if `None`.
        device: device of the network.
        progress: see `fit`.

    Raises:
        TrainingError: see `fit`; or there are no uploads, or pictures are missing.
        DataError: the folder contains no dictionary.

    Source: Zhang et al., ECCV 2016, Sec. 4.3 and Appendix B.
    """
    check_number("held_out", held_out, "a whole number from 2 on", least=2, whole=True)
    options = options or Options(passes=PASSES)
    words = tuple(read_dictionary(data))
    if not words:
        raise TrainingError(f"{data}: its dictionary is empty; clean the uploads with a lower threshold.")
    place = {word: number for number, word in enumerate(words)}
    parts: tuple[tuple[list[Path], list[list[int]]], ...] = (([], []), ([], []))
    users: set[str] = set()
    for file in sorted((data / "uploads").glob("*.jsonl")):
        with file.open("rb") as lines:
            for line in lines:
                upload = json.loads(line)
                aside = _hashed(upload["user"]) % held_out == 0
                if aside:
                    users.add(upload["user"])
                parts[aside][0].append(images / upload["image"])
                parts[aside][1].append([place[tag] for tag in upload["tags"] if tag in place])
    if not parts[0][0] or not parts[1][0]:
        raise TrainingError(f"{data}: {len(parts[0][0]) + len(parts[1][0])} uploads are too few for a held-out part.")
    loaded = load_model(model)
    recipe = recipe or Recipe.of(loaded.preprocessing)
    train, held = (PictureExamples(paths, labels, words, loaded.preprocessing, recipe) for paths, labels in parts)
    if scratch:
        _forget(loaded, options.seed)
    loaded = with_classes(loaded, words, train.counts() / len(parts[0][0]), options.seed)
    choose_layers(loaded.model, ["all"])
    said = {"task": "tags", "model": model, "scratch": scratch}
    fitted = fit(Scores(loaded), train, held, out, options, configuration=said, device=device, progress=progress)
    loaded.model.cpu()
    scores, labels = predict(Scores(loaded), held)
    measured = measure(scores, labels, None, words)
    for item in loaded.model.parameters():
        item.requires_grad_(False)
    file = out / "model.safetensors"
    write_trained(file, loaded, model, {"task": "tags", "recipe": dataclasses.asdict(recipe)})
    report = {
        "steps": fitted.steps, "best step": fitted.best_step, "seconds": round(fitted.seconds, 1),
        "uploads": len(parts[0][0]), "held out uploads": len(parts[1][0]), "held out users": len(users),
        "held out": measured.as_json(),
    }  # fmt: skip
    write_whole(out / "report.json", json.dumps(report, indent=1) + "\n")
    return TrainedTags(file, fitted, measured, len(parts[0][0]), len(users))


def _forget(loaded: LoadedModel, seed: int) -> None:
    """Initialise the layers of a network with random weights, in place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in loaded.model.modules():
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
                torch.nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    torch.nn.init.zeros_(module.bias)
            elif hasattr(module, "reset_parameters") and not list(module.children()):
                module.reset_parameters()  # type: ignore[operator]


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
