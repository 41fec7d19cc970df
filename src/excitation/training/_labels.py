"""Fine-tuning of any classifier on image-level labels (Sec. 4.1): a new output layer, and optionally more layers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from .._checks import check_number
from .._files import whole_file, write_whole
from ..data import AnnotatedImages, open_data
from ..data._annotations import box_area
from ..data._pictures import PictureError, find_pictures
from ..models import LoadedModel, load_model
from ..models._trained import write_trained
from ._evaluation import Precision, measure
from ._examples import Examples, TensorExamples
from ._fit import Fitted, State, fit, predict
from ._options import Options, TrainingError
from ._output_layer import Scores, choose_layers, features, is_last, output_layer, with_classes
from ._pictures import PictureExamples, Recipe

VIEWS = 8
"""Random flips and crops of each picture whose features are kept."""


@dataclass(frozen=True)
class Labelled:
    """Pictures with image-level labels.

    Attributes:
        paths: paths of the pictures.
        shares: area of the largest object of a class as a fraction of the picture area, `(picture, class)`, 0 to 1.
            1 if the location is unknown, 0 if the class is absent.
        classes: names of the classes.
        problems: descriptions of omitted data.
    """

    paths: tuple[Path, ...]
    shares: Float[np.ndarray, "picture class"]
    classes: tuple[str, ...]
    problems: tuple[str, ...] = ()

    def part(self, chosen: Sequence[int]) -> Labelled:
        """Return the pictures with the given indices."""
        return Labelled(tuple(self.paths[i] for i in chosen), self.shares[list(chosen)], self.classes)

    def examples(self, loaded: LoadedModel, recipe: Recipe) -> PictureExamples:
        """Return the pictures as training examples."""
        labels = [np.flatnonzero(row).tolist() for row in self.shares]
        return PictureExamples(self.paths, labels, self.classes, loaded.preprocessing, recipe)


def read_labelled(spec: str, classes: Sequence[str] | None = None) -> Labelled:
    """Read pictures and their labels.

    Args:
        spec: data spec for `open_data`, or `folder:ROOT` with a subfolder of pictures for each class.
        classes: names of the classes to use, in this order; all classes of the data if `None`.

    Raises:
        DataError: the data do not exist.
        TrainingError: there is a class without pictures, or no picture.
    """
    kind, _, root = spec.partition(":")
    found = _read_folder(Path(root)) if kind == "folder" else _read_annotated(open_data(spec))
    if classes is not None:
        columns = [found.classes.index(name) if name in found.classes else -1 for name in classes]
        shares = np.stack([found.shares[:, c] if c >= 0 else np.zeros(len(found.paths)) for c in columns], 1)
        found = dataclasses.replace(found, shares=shares, classes=tuple(classes))
    if not found.paths:
        raise TrainingError(f"{spec}: there is no picture that can be used.")
    return found


@dataclass(frozen=True)
class TrainedLabels:
    """The result of fine-tuning on labels.

    Attributes:
        file: file of the network, for `--model trained:FILE`.
        fitted: the finished run.
        held_out: precision on the held-out pictures. These pictures also determine the learning rate and the weights.
        test: precision on the test pictures; `None` without test data.
        cached: whether the features below the output layer were computed only once.
        empty: classes without a training picture, which are omitted.
        problems: descriptions of omitted data.
    """

    file: Path
    fitted: Fitted
    held_out: Precision
    test: Precision | None
    cached: bool
    empty: tuple[str, ...]
    problems: tuple[str, ...]


def train_labels(
    data: str,
    model: str,
    out: Path,
    *,
    layers: Sequence[str] = (),
    test: str | None = None,
    held_out: int = 5,
    views: int = VIEWS,
    recipe: Recipe | None = None,
    options: Options | None = None,
    device: str = "cpu",
    progress: Callable[[State], None] | None = None,
) -> TrainedLabels:
    """Fine-tune a classifier on image-level labels. If a run was interrupted, the same call continues it.

    If only the output layer is trained and its results are the scores, the features below it are computed once, for
    some random views of each picture. This is exact, because a frozen network in evaluation mode returns the same
    features for the same view.

    Args:
        data: spec of the training data, see `read_labelled`.
        model: spec of any classifier.
        out: folder of the run. The network is written to `model.safetensors` in this folder.
        layers: names of layers to train in addition to the output layer; `"all"` for the whole network.
        test: spec of the test data.
        held_out: K: about every K-th picture, by a hash of its path, is held out for the learning rate and the
            selection of weights.
        views: number of random views (flips and crops) of each picture; 0 draws a new view at each step, as in the
            paper.
        recipe: preprocessing for training; the recipe of the paper, scaled to the input size, if `None`.
        options: training options.
        device: device of the network.
        progress: see `fit`.

    Raises:
        TrainingError: see `fit`; or the data have no class, or the output layer of the network cannot be replaced.

    Source: Zhang et al., ECCV 2016, Sec. 4.1.
    """
    check_number("held_out", held_out, "a whole number from 2 on", least=2, whole=True)
    check_number("views", views, "a whole number of views from 0 on", least=0, whole=True)
    options = options or Options()
    whole = read_labelled(data)
    kept_out = [i for i, path in enumerate(whole.paths) if _hashed(path) % held_out == 0]
    learned = sorted(set(range(len(whole.paths))) - set(kept_out))
    if not kept_out or not learned:
        raise TrainingError(f"{data}: {len(whole.paths)} pictures are too few to hold out one in {held_out}.")
    there = (whole.shares[learned] > 0).any(0)
    empty = tuple(name for name, any_there in zip(whole.classes, np.atleast_1d(there), strict=True) if not any_there)
    classes = tuple(name for name in whole.classes if name not in empty)
    if not classes:
        raise TrainingError(f"{data}: no picture for training has a label.")
    problems = whole.problems
    whole = dataclasses.replace(whole, shares=whole.shares[:, there], classes=classes)
    loaded = load_model(model)
    recipe = recipe or Recipe.of(loaded.preprocessing)
    shares = (whole.shares[learned] > 0).mean(0)
    loaded = with_classes(loaded, classes, shares, options.seed)
    choose_layers(loaded.model, [output_layer(loaded), *layers])
    train, held = (whole.part(part).examples(loaded, recipe) for part in (learned, kept_out))
    said = {"task": "labels", "data": data, "model": model, "layers": list(layers), "views": views}
    network: torch.nn.Module = Scores(loaded)
    sources: tuple[Examples, Examples] = (train, held)
    sample, _ = held.batch([0], None)
    cached = bool(views) and not layers and is_last(loaded, sample)
    if cached:
        network = loaded.model.get_submodule(output_layer(loaded))
        loaded.model.to(device)
        sources = (
            _cache(loaded, train, views, out / "features.pt", options, device),
            _cache(loaded, held, 0, out / "held_out_features.pt", options, device),
        )
    fitted = fit(network, *sources, out, options, configuration=said, device=device, progress=progress)
    loaded.model.cpu().eval()
    file = out / "model.safetensors"
    measured = measure(*predict(Scores(loaded), held), whole.part(kept_out).shares, classes)
    tested = None
    if test is not None:
        other = read_labelled(test, classes)
        scores, labels = predict(Scores(loaded), other.examples(loaded, recipe))
        tested = measure(scores, labels, other.shares, classes)
        problems += other.problems
    for item in loaded.model.parameters():
        item.requires_grad_(False)
    write_trained(file, loaded, model, {"task": "labels", "data": data, "recipe": dataclasses.asdict(recipe)})
    found = TrainedLabels(file, fitted, measured, tested, cached, empty, problems)
    report = {
        "steps": fitted.steps, "best step": fitted.best_step, "seconds": round(fitted.seconds, 1), "cached": cached,
        "pictures": len(learned), "held out pictures": [str(whole.paths[i]) for i in kept_out],
        "empty classes": list(empty), "held out": measured.as_json(), "test": tested.as_json() if tested else None,
    }  # fmt: skip
    write_whole(out / "report.json", json.dumps(report, indent=1) + "\n")
    return found


def _cache(
    loaded: LoadedModel, examples: PictureExamples, views: int, place: Path, options: Options, device: str
) -> TensorExamples:
    """Return the inputs of the output layer for some views of each picture. They are computed once and saved."""
    source = hashlib.sha256(f"{examples.fingerprint()} {views} {options.seed} {loaded.spec}".encode()).hexdigest()
    if place.exists():
        stored = torch.load(place, weights_only=True)
        if stored["source"] == source:
            return TensorExamples(stored["inputs"], stored["labels"], examples.classes, stored["names"], source)
    loaded.model.eval()
    count = len(examples.groups)
    rows, there = [], []
    for index in range(count):
        made = []
        for view in range(max(views, 1)):
            inputs, labels = examples.batch([index], [options.seed, index, view] if views else None)
            made.append(features(loaded, inputs.to(device)).cpu()[0])
        rows.append(torch.stack(made))
        there.append(labels[0])
    inputs, labels = torch.stack(rows), torch.stack(there)
    names = [examples.name(index) for index in range(count)]
    with whole_file(place) as file:
        torch.save({"source": source, "inputs": inputs, "labels": labels, "names": names}, file)
    return TensorExamples(inputs, labels, examples.classes, names, source)


def _hashed(path: Path) -> int:
    """Return a hash of a picture's file name and folder name. It does not depend on the location of the data."""
    name = "/".join(path.parts[-2:])
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")


def _read_folder(root: Path) -> Labelled:
    if not root.is_dir():
        raise TrainingError(f"{root}: no such folder; folder:ROOT has a subfolder of pictures for each class.")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    paths: list[Path] = []
    numbers: list[int] = []
    problems = []
    for number, folder in enumerate(folders):
        try:
            own = list(find_pictures([folder]).pictures)
        except PictureError as error:
            problems.append(str(error))
            own = []
        paths += own
        numbers += [number] * len(own)
    shares = np.zeros((len(paths), len(folders)))
    shares[np.arange(len(paths)), numbers] = 1
    return Labelled(tuple(paths), shares, tuple(folder.name for folder in folders), tuple(problems))


def _read_annotated(data: AnnotatedImages) -> Labelled:
    places = {name: column for column, name in enumerate(data.categories)}
    paths, rows = [], []
    for image in data:
        if not image.path.is_file():
            data.problems.report(image.path, "no such file; left out.")
            continue
        row = np.zeros(len(places))
        for label in image.labels:
            row[places[label]] = 1
        for item in image.instances:
            share = min(box_area(item.box) / (image.size[0] * image.size[1]), 1.0)
            row[places[item.category]] = max(row[places[item.category]], share)
        paths.append(image.path)
        rows.append(row)
    shares = np.stack(rows) if rows else np.zeros((0, len(places)))
    return Labelled(tuple(paths), shares, data.categories, tuple(map(str, data.problems)))
