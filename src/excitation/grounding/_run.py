"""The evaluation of phrases as a resumable run: gamma on a validation split, then ranked boxes on the test split."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from .._checks import check_choice, check_instance, check_path
from .._errors import ExcitationError
from .._maps import enlarge_map
from ..core import Target
from ..data._pictures import PictureError, read_picture
from ..evaluation import Progress, Results, Row, open_store, read_results
from ..evaluation._configuration import environment, hash_content, hash_model
from ..evaluation._method_runner import AnyMethod, MethodRunner
from ..evaluation._methods import DEFAULT_LAYER, Centre, describe_method
from ..evaluation._running import Layers, LeftOut, device_of, layers_of
from ..evaluation._setup import BLUR, gaussian_blur, shortest_side
from ..models import ClassNames, LoadedModel
from ._detections import hash_detections
from ._judging import PROTOCOLS, Protocol, judge_phrase
from ._phrases import CaptionedImage, Phrase, PhraseDataset, is_small
from ._pointing import POINTING, point_phrases
from ._proposals import ProposalError, Proposals
from ._rescoring import GAMMAS, Detections, check_gamma, own_ranking, rank_regions, region_sums
from ._sources import FileProposals, ProposalSource
from ._stored import OWN, SEPARATORS, TEST, VALIDATION, chosen_gammas, split_row
from ._words import FUSIONS, Dictionary, Fusion, KnownWord, Lookup, fuse_maps

SHORTEST = 300
"""Shortest side of the network's input in pixels (Sec. 4.3)."""

NEVER = -1
"""Stored instead of the rank of the first correct box if there is none, and instead of a point that is not judged."""

DIGITS = 7
"""Significant digits of stored scores."""

Found = dict[tuple[KnownWord, ...], Float[torch.Tensor, "height width"]]
"""Maps at the size of the picture, by the known words of a phrase."""


@dataclasses.dataclass(frozen=True)
class PhraseRun:
    """The settings of a run, validated.

    Attributes:
        model: the classifier, with class names.
        data: the test split.
        validation: the split on which gamma is chosen; `None` if `gamma` is given.
        methods: methods by their names in tables.
        layers: layers of each method.
        proposals: function that gives the proposals of an image.
        fusions: fusions of word maps; each method has one row per fusion.
        gamma: the exponent of the area, the same for all methods; `None` to choose it on the validation split.
        protocol: protocol by which gamma is chosen: the highest recall at 1. All protocols are stored.
        shortest: shortest side of the network's input; `None` for the model's own preprocessing.
        lookup: allowed difference between word and class name.
        detections: ranked boxes of other models, by the name of the row, by image and `Phrase.key`.
    """

    model: LoadedModel
    data: PhraseDataset
    validation: PhraseDataset | None
    methods: Mapping[str, AnyMethod]
    layers: Mapping[str, tuple[str | None, ...]]
    proposals: ProposalSource
    fusions: Sequence[Fusion]
    gamma: float | None
    protocol: Protocol
    shortest: int | None
    lookup: Lookup
    detections: Mapping[str, Mapping[tuple[str, str], Detections]]

    @functools.cached_property
    def dictionary(self) -> Dictionary:
        """The class names of the model."""
        assert self.model.class_names is not None
        return Dictionary(self.model.class_names, self.lookup)

    @functools.cached_property
    def blurred(self) -> frozenset[str]:
        """Names of the methods whose maps are smoothed, as in the pointing game (Sec. 4.1)."""
        return frozenset(name for name, method in self.methods.items() if "blur" in getattr(method, "steps", ()))

    def row_name(self, method: str, fusion: Fusion) -> str:
        """The name of a method's row. The paper's fusion is not named."""
        return method if fusion == "mean" else f"{method}{SEPARATORS[0]}{fusion}"


def run_phrases(
    model: LoadedModel,
    data: PhraseDataset,
    methods: Mapping[str, AnyMethod],
    out: str | os.PathLike[str],
    *,
    proposals: ProposalSource,
    proposals_name: str,
    validation: PhraseDataset | None = None,
    gamma: float | int | None = None,
    layers: Layers | Mapping[str, Layers] = (None,),
    fusions: Sequence[Fusion] = ("mean",),
    protocol: Protocol = "merged-inclusive",
    shortest: int | None = SHORTEST,
    lookup: Lookup = "lemma",
    detections: Mapping[str, Mapping[tuple[str, str], Detections]] | None = None,
    network: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Results:
    """Rank proposals for all phrases with boxes, image by image, into a file of results; go on where it stopped.

    On the validation split, each method chooses gamma by recall at 1. Phrases without a known word count as missed.

    Args:
        model: a classifier whose class names are words.
        data: the test split.
        methods: methods by their names in tables.
        out: file of results.
        proposals: function that gives the proposals of an image, such as `open_proposals("superpixels")`.
        proposals_name: describes the proposals in the configuration, which also has the hash of their files if they are
            from `open_proposals`.
        validation: the split on which gamma is chosen.
        gamma: one gamma for all methods instead.
        layers: layers for all methods, or by method name.
        fusions: fusions of word maps; each gives a row per method.
        protocol: protocol by which gamma is chosen. Tables can use any protocol.
        shortest: shortest side of the network's input in pixels; `None` for the model's own preprocessing.
        lookup: allowed difference between word and class name.
        detections: ranked boxes of other models (`read_detections`), by the name of the row.
        network: name of the model in tables; by default, its spec.
        progress: function that is called after each image.

    Returns:
        All results of the file, for `phrase_tables`.

    Raises:
        StoreError: the file cannot be continued.
        ExcitationError: an invalid argument, neither or both of `validation` and `gamma`, a model without class names,
            or an error that the next image would meet too.
    """
    check_path("the file of results", out)
    check_instance("model", model, LoadedModel)
    check_instance("data", data, PhraseDataset)
    check_choice("protocol", protocol, tuple(PROTOCOLS))
    for fusion in fusions:
        check_choice("fusion", fusion, tuple(FUSIONS))
    if (validation is None) == (gamma is None):
        raise ExcitationError("gamma is chosen on a validation split or given: give one of the two.")
    if gamma is not None:
        check_gamma(gamma)
    if model.class_names is None:
        raise ExcitationError(f"model {model.spec!r} has no class names, so no word names a class.")
    asked = {name: method for name, method in methods.items() if not isinstance(method, Centre)}
    if len(asked) < len(methods) or not fusions:
        raise ExcitationError("phrases need methods with maps, which centre has not, and at least one fusion.")
    found = dict(detections or {})
    taken = {OWN, *asked} & set(found)
    if taken:
        raise ExcitationError(f"detections are named {min(taken)!r}, as another row is; choose another name.")
    for own in (data, validation):
        if own is not None and not _has_pictures(own):
            raise ExcitationError(
                f"no phrase of {own.name} could be judged, since no image has a picture file; export the symbol world"
                " with `excitation symbols` and open it with open_phrases, or give the folder of the pictures."
            )
    for name in (*asked, *found):
        if any(separator in name for separator in SEPARATORS):
            raise ExcitationError(
                f"a row is named {name!r}; choose a name without ', ' and ' @ ', which precede a fusion and a layer."
            )
    run = PhraseRun(
        model, data, validation, asked, layers_of(asked, layers), proposals, tuple(dict.fromkeys(fusions)),
        None if gamma is None else float(gamma), protocol, shortest, lookup, found,
    )  # fmt: skip
    return _run(run, Path(out), _configuration(run, proposals_name, network), progress)


def _has_pictures(data: PhraseDataset) -> bool:
    """Whether an image has a picture file, or no image is readable, which `problems` then lists."""
    missing = False
    for image in data:
        if image.path is not None:
            return True
        missing = True
    return not missing


def _configuration(run: PhraseRun, proposals: str, network: str | None) -> dict[str, object]:
    output, names = run.model.output, run.model.class_names
    ids = dict.fromkeys(item for data in (run.validation, run.data) if data is not None for item in data.ids)
    return {
        "game": "phrases",
        "data": {"name": run.data.name, "hash": _fingerprint(run.data)},
        "validation": run.validation and {"name": run.validation.name, "hash": _fingerprint(run.validation)},
        "model": {
            "hash": hash_model(run.model.model),
            "output": output if output is None or isinstance(output, (str, int)) else describe_method(output),
        },
        "dictionary": hash_content(
            {
                "names": list(names or ()),
                "groups": {name: list(own) for name, own in names.groups.items()}
                if isinstance(names, ClassNames)
                else {},
            }
        ),
        "preprocessing": dataclasses.asdict(shortest_side(run.model, run.shortest)),
        "network": network or run.model.spec,
        "methods": {name: describe_method(method) for name, method in run.methods.items()},
        "layers": {name: list(places) for name, places in run.layers.items()},
        "proposals": proposals,
        "proposals_hash": run.proposals.fingerprint(ids) if isinstance(run.proposals, FileProposals) else None,
        "fusions": list(run.fusions),
        "gamma": run.gamma,
        "protocol": run.protocol,
        "shortest": run.shortest,
        "lookup": run.lookup,
        "blur": sorted(run.blurred),
        "detections": {name: hash_detections(own) for name, own in sorted(run.detections.items())},
    }


def _fingerprint(data: PhraseDataset) -> str:
    """SHA-256 of all images and phrases."""
    whole = hashlib.sha256()
    for image in data:
        whole.update(repr((image.id, image.size, image.captions, image.phrases)).encode())
    return whole.hexdigest()


def _run(
    run: PhraseRun, out: Path, configuration: Mapping[str, object], progress: Callable[[Progress], None] | None
) -> Results:
    device = device_of(run.model)
    parts = [(VALIDATION, run.validation)] if run.validation is not None else []
    parts.append((TEST, run.data))
    planned = sum(len(data.ids) for _, data in parts)
    start = time.perf_counter()
    with open_store(out, configuration, planned=planned, environment=environment(device)) as store:
        earlier = len(store.finished)
        # A method that failed has rows too, but without mass.
        mapped = {split_row(row.method)[0] for row in read_results(out).rows if row.mass is not None}
        for part, data in parts:
            runner = MethodRunner(run.model, run.methods, run.layers, data.problems)
            runner.mark_successful(mapped)
            gammas: Mapping[str, float] | None = None
            if part == TEST:
                gammas = chosen_gammas(read_results(out)) if run.gamma is None else {}
                if not gammas and run.gamma is None:
                    raise ExcitationError(
                        f"no phrase of {run.validation.name if run.validation else ''} could be judged, so no gamma can"
                        " be chosen; give another validation split, or gamma."
                    )
            for image_id in data.ids:
                unit = f"{part}/{image_id}"
                if unit in store.finished:
                    continue
                known = len(data.problems)
                rows, left_out = _image_rows(run, data, image_id, unit, runner, device, gammas)
                problems = [(problem.path, problem.sentence) for problem in list(data.problems)[known:]]
                store.add(unit, rows, left_out=left_out, problems=problems, own_layers=runner.own_layers())
                if progress is not None:
                    done = len(store.finished)
                    progress(Progress(done, planned, earlier, time.perf_counter() - start))
    return read_results(out)


def _image_rows(
    run: PhraseRun,
    data: PhraseDataset,
    image_id: str,
    unit: str,
    runner: MethodRunner,
    device: torch.device,
    gammas: Mapping[str, float] | None,
) -> tuple[list[Row], LeftOut]:
    """The rows of one image. Without `gammas`, it belongs to the validation split, and each row has all gammas."""
    image = data.image(image_id)
    if image is None:
        return [], []
    phrases = [phrase for phrase in image.phrases if phrase.boxes]
    left_out = [(unit, query_of(phrase), "the phrase has no box") for phrase in image.phrases if not phrase.boxes]
    if not phrases:
        return [], left_out
    try:
        picture = _picture_of(image)
        regions = run.proposals(image, np.array(picture))
        one = shortest_side(run.model, run.shortest)(picture)[None].to(device)
    except (PictureError, ProposalError, ValueError) as error:
        data.problems.report(image.path or image_id, f"{error} Image left out.")
        return [], left_out
    known = {phrase.words: tuple(run.dictionary.match(phrase.words)) for phrase in phrases}
    rows: list[Row] = []
    for (name, layer), (maps, seconds) in _phrase_maps(run, runner, image, one, list(known.values())).items():
        rows += _method_rows(run, unit, phrases, known, image.size, regions, maps, name, layer, seconds, gammas)
    if gammas is not None:
        if regions.scores is not None:
            own = own_ranking(regions)
            rows += [_row(unit, phrase, OWN, "", image.size, own) for phrase in phrases]
        for name, detections in run.detections.items():
            rows += [
                _row(unit, phrase, name, "", image.size, detections.get((image.id, phrase.key), Detections.none()))
                for phrase in phrases
            ]
    return rows, left_out


def _picture_of(image: CaptionedImage) -> Image.Image:
    if image.path is None:
        raise PictureError("its picture is missing.")
    picture = read_picture(image.path)
    if (picture.height, picture.width) != tuple(image.size):
        raise PictureError(f"has {(picture.height, picture.width)} pixels, its annotation {tuple(image.size)}.")
    return picture


def _phrase_maps(
    run: PhraseRun,
    runner: MethodRunner,
    image: CaptionedImage,
    one: torch.Tensor,
    known: Sequence[tuple[KnownWord, ...]],
) -> dict[tuple[str, str], tuple[Found, float]]:
    """The map of each distinct phrase and the seconds, by the name of the row and the layer."""
    entries = dict.fromkeys(item.entry for words in known for item in words)
    pairs: dict[str, Target] = {str(entry): run.dictionary.target(entry) for entry in entries}
    # A method that fails, or has no known word, has rows too: its phrases count as missed.
    by_row: dict[tuple[str, str], dict[str, torch.Tensor]] = {
        (name, place or DEFAULT_LAYER): {} for name, places in run.layers.items() for place in places
    }
    seconds: dict[tuple[str, str], float] = {}
    if pairs:
        assert image.path is not None
        for answer in runner.run(image.path, one, pairs):
            key = (answer.method, answer.layer)
            by_row[key][answer.query] = answer.attention
            seconds[key] = seconds.get(key, 0.0) + answer.seconds
    found: dict[tuple[str, str], tuple[Found, float]] = {}
    for (method, layer), words in by_row.items():
        for fusion in run.fusions:
            maps: Found = {}
            for own in dict.fromkeys(known):
                if own and all(str(item.entry) in words for item in own):
                    fused = fuse_maps(torch.stack([words[str(item.entry)] for item in own]), fusion)
                    large = torch.from_numpy(enlarge_map(fused, image.size))
                    maps[own] = gaussian_blur(large, BLUR * max(image.size)) if method in run.blurred else large
            found[run.row_name(method, fusion), layer] = maps, seconds.get((method, layer), 0.0)
    return found


def _method_rows(
    run: PhraseRun,
    unit: str,
    phrases: Sequence[Phrase],
    known: Mapping[tuple[str, ...], tuple[KnownWord, ...]],
    size: tuple[int, int],
    regions: Proposals,
    maps: Found,
    name: str,
    layer: str,
    seconds: float,
    gammas: Mapping[str, float] | None,
) -> list[Row]:
    """The rows of one method for all phrases: ranked boxes with the chosen gamma, or the first correct for each."""
    asked: Sequence[float] = GAMMAS
    if gammas is not None:
        asked = (gammas[f"{name} @ {layer}"] if run.gamma is None else run.gamma,)
    ranked: dict[tuple[KnownWord, ...], list[Detections]] = {}
    if maps:
        sums = region_sums(torch.stack(list(maps.values())), regions)
        scores = torch.stack([sums.scores(gamma) for gamma in asked], 1)
        flat = rank_regions(regions, scores.flatten(0, 1))
        for i, matched in enumerate(maps):
            ranked[matched] = flat[i * len(asked) : (i + 1) * len(asked)]
    rows = []
    each = seconds / len(phrases)
    points = _points(phrases, [maps.get(known[phrase.words]) for phrase in phrases], size) if gammas is not None else {}
    for phrase in phrases:
        own = ranked.get(known[phrase.words], [Detections.none()] * len(asked))
        mass = float(maps[known[phrase.words]].double().sum()) if known[phrase.words] in maps else None
        if gammas is not None:
            rows.append(_row(unit, phrase, name, layer, size, own[0], points[phrase.key], mass, each))
            continue
        firsts = [first for detections in own for first in _firsts(phrase, size, detections)]
        small = is_small(phrase, size)
        series = tuple(map(float, firsts))
        rows.append(Row(unit, query_of(phrase), name, layer, None, None, False, small, mass, each, None, series))
    return rows


def _row(
    unit: str,
    phrase: Phrase,
    method: str,
    layer: str,
    size: tuple[int, int],
    detections: Detections,
    pointed: Sequence[int] = (NEVER,) * len(POINTING),
    mass: float | None = None,
    seconds: float | None = None,
) -> Row:
    """A row of the test split.

    Its series has for each protocol the rank of the first correct box from 0, for each protocol of pointing 1 for a hit
    and 0 for a miss, then the scores of all boxes. `NEVER` stands for no correct box, and for no question.
    """
    firsts = _firsts(phrase, size, detections)
    scores = [float(f"{score:.{DIGITS}g}") for score in detections.scores.tolist()]
    return Row(unit, query_of(phrase), method, layer, None, None, firsts[0] == 0, is_small(phrase, size), mass, seconds,
               None, (*map(float, firsts), *map(float, pointed), *scores))  # fmt: skip


def _points(
    phrases: Sequence[Phrase], maps: Sequence[Float[torch.Tensor, "height width"] | None], size: tuple[int, int]
) -> dict[str, list[int]]:
    """By the key of the phrase, for each protocol of pointing, 1 for a hit, 0 for a miss, `NEVER` for no question.

    An entity is judged at its first mention. A phrase or entity without a map is a miss.
    """
    found = {phrase.key: [NEVER] * len(POINTING) for phrase in phrases}
    whole = torch.stack([torch.zeros(size) if attention is None else attention for attention in maps])
    silent = {phrase.key for phrase, attention in zip(phrases, maps, strict=True) if attention is None}
    for place, protocol in enumerate(POINTING):
        for item in point_phrases(phrases, whole, protocol):  # type: ignore[arg-type]
            mentions = [phrase.key for phrase in phrases if item.key in (phrase.key, phrase.entity)]
            found[mentions[0]][place] = int(item.hit and not silent.issuperset(mentions))
    return found


def _firsts(phrase: Phrase, size: tuple[int, int], detections: Detections) -> list[int]:
    """The rank of the first correct box from 0 by each protocol, in the order of `PROTOCOLS`."""
    firsts = [judge_phrase(phrase, size, detections, protocol).first for protocol in PROTOCOLS]  # type: ignore[arg-type]
    return [NEVER if first is None else first for first in firsts]


def query_of(phrase: Phrase) -> str:
    """What rows call a phrase: key, types and words, such as `0:0-3/people/clothing a man in red`."""
    return f"{'/'.join((phrase.key, *phrase.types))} {phrase.text}"
