"""`excitation ground`: the phrases of a sentence in a picture, as maps, boxes and a caption figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._errors import ExcitationError
from ..data._pictures import read_picture
from ._console import answer, report_line
from ._options import (
    AsJson,
    ClassNames,
    Device,
    FigureFormat,
    Folder,
    Format,
    ModelSpec,
    Policy,
    load_network,
    read_class_names,
    read_method,
    read_policies,
)

if TYPE_CHECKING:
    from ..grounding import Caption, Grounder, Grounding

MOST_BOXES = 10
"""Boxes of each phrase in the JSON file."""

MAX_BYTES = 2**26


class FusionName(str, Enum):
    """How the maps of a phrase's words become one map."""

    mean = "mean"
    product = "product"
    minimum = "minimum"
    noun = "noun-weighted"


def ground_command(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture.", show_default=False)],
    text: Annotated[
        str, typer.Option("--text", metavar="SENTENCE", help="What the picture shows.", show_default=False)
    ],
    model: ModelSpec,
    out: Folder = Path("out"),
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", help="Where to take the maps. Default: the model's own choice, or the"
                     " last layer at stride 16.", show_default=False),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", metavar="NAME", help="One of `excitation methods`. Default: c-mwp, as in the paper.",
                     show_default=False),
    ] = None,
    fusion: Annotated[
        FusionName, typer.Option("--fusion", help="How the maps of a phrase's words become one map.")
    ] = FusionName.mean,
    gamma: Annotated[
        float,
        typer.Option("--gamma", metavar="G", min=0, max=1, help="Exponent of a region's area in its score."),
    ] = 0.5,
    shortest: Annotated[
        int | None,
        typer.Option("--shortest", metavar="PIXELS", min=8, help="Shortest side of the network's input, with the full"
                     " picture; the model's own preprocessing if left out.", show_default=False),
    ] = None,
    class_names: ClassNames = None,
    policy: Policy = None,
    device: Device = "cpu",
    figure_format: FigureFormat = Format.png,
    boxes: Annotated[
        bool, typer.Option("--boxes/--no-boxes", help="Whether to search boxes (extra grounding).")
    ] = True,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show where in a picture the phrases of a sentence are.

    Finds the noun phrases and single words of an English sentence that are classes of the model, by rules and without
    a model of the language. Writes NAME.ground.png (the caption figure), NAME.ground.npz (the maps, at the layer and at
    the picture's size) and NAME.ground.json (everything else) to the --out folder; prints a line per phrase with its
    best box.
    Words that are no class are reported and skipped. Files of another configuration are never overwritten.
    """
    from .. import __version__
    from ..grounding import Grounder
    from ..grounding._ground import METHOD
    from ..models._catalogue import model_files
    from ._results import digest

    choice = read_method(METHOD if method is None else method)
    if choice.layers:
        raise ExcitationError(f"--method {method} contains a layer; give it as --layer {choice.layers[0]}.")
    policies = read_policies(policy)
    if policies is not None:
        choice.method.check_options({"policies": policies})
    read_picture(image)  # before anything else, so that the message is about the picture
    if class_names is not None:
        read_class_names(class_names)
    configuration = {
        "version": __version__,
        "picture": digest(image),
        "text": text,
        "model": model,
        "weights": [digest(path) for path in model_files(model) if path.is_file()],
        "class_names": None if class_names is None else digest(class_names),
        "layer": layer,
        "method": choice.name,
        "policies": sorted(policy or []),
        "fusion": fusion.value,
        "gamma": gamma,
        "shortest": shortest,
        "boxes": boxes,
    }
    drawn, maps, details = (out / f"{image.stem}.ground.{ending}" for ending in (figure_format.value, "npz", "json"))
    figure = None if figure_format is Format.none else drawn
    if figure is not None and figure.resolve() == image.resolve():
        raise ExcitationError(f"the figure would be written over the picture, {figure}; use another --out.")
    before = _earlier(details, configuration)
    if before is None or not maps.exists() or (figure is not None and not figure.exists()):
        loaded = load_network(model, device=device, class_names=class_names)
        settings = {**choice.options, **({} if policies is None else {"policies": policies})}
        grounder = Grounder(
            loaded, layer=layer, method=choice.method.name, fusion=fusion.value, gamma=gamma, shortest=shortest,
            **settings,
        )  # fmt: skip
        before = _made(image, configuration, grounder, figure, maps, details)
    if before["skipped"]:
        report_line(f"no classes of {model}, so skipped: {', '.join(before['skipped'])}.")
    answer([json.dumps({"image": str(image), **phrase}) if as_json else _line(image, phrase)
            for phrase in before["phrases"]])  # fmt: skip
    report_line(f"{'' if figure is None else f'figure {figure}; '}maps {maps}; all else {details}.")


def _earlier(details: Path, configuration: Mapping[str, object]) -> dict[str, Any] | None:
    """What an earlier run with the same configuration wrote; `None` if there is none.

    Raises:
        ExcitationError: the file is of another configuration, or something else.
    """
    from .._files import read_at_most

    if not details.exists():
        return None
    other = f"{details} is no result of `excitation ground`; choose another --out."
    try:
        found = json.loads(read_at_most(details, MAX_BYTES, ExcitationError, other))
        was = found["configuration"]
        changed = [name for name, value in configuration.items() if was.get(name) != value]
        if not isinstance(found["phrases"], list) or not isinstance(found["skipped"], list):
            raise ExcitationError(other)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ExcitationError(other) from error
    if changed:
        name = changed[0]
        raise ExcitationError(
            f"{details} was made with {name} {json.dumps(was.get(name)):.40}, this run has"
            f" {json.dumps(configuration[name]):.40}; choose another --out, or delete it."
        )
    return dict(found)


def _made(
    image: Path, configuration: dict[str, Any], grounder: Grounder, figure: Path | None, maps: Path, details: Path
) -> dict[str, Any]:  # fmt: skip
    """Ground the sentence and write all files; the JSON file is last."""
    import warnings

    import numpy as np

    from .._files import whole_file, write_whole
    from ..grounding import draw_caption, find_phrases
    from ..views import save_figure

    caption = find_phrases(configuration["text"], grounder.dictionary)
    if not caption.phrases:
        raise ExcitationError(
            f"no word of {configuration['text']!r:.80} is a class of {configuration['model']}; use words of its class"
            " names."
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = grounder(image, caption.phrases)
    for warning in caught:
        report_line(str(warning.message))
    result = _details(caption, found, configuration, grounder.dictionary.match(caption.words))
    if figure is not None:
        save_figure(draw_caption(caption, found, boxes=bool(configuration["boxes"])), figure)
    with whole_file(maps) as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            maps=found.maps.detach().cpu().numpy(),
            pixels=found.at_picture().cpu().numpy(),
            phrases=np.array(caption.phrases, dtype=np.str_),
            word_maps=found.words.maps[0].detach().cpu().numpy(),
            words=np.array(found.words.targets[0], dtype=np.str_),
        )
    write_whole(details, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result


def _details(caption: Caption, found: Grounding, configuration: dict[str, Any], known: list[Any]) -> dict[str, Any]:
    """Everything but the maps, compatible with JSON."""
    from ..grounding._chunks import BREAKS, OPENERS
    from ..grounding._words import PUNCTUATION, unknown_words
    from ..views import is_empty

    phrases = []
    peaks = found.explanation.peaks()[0].tolist()
    for i, phrase in enumerate(found.phrases):
        row: dict[str, Any] = {
            "phrase": phrase.text,
            "span": list(caption.spans[i]),
            "words": [
                {"word": " ".join(phrase.words[slice(*item.span)]), "class": name, "score": score}
                for item, name, score in zip(
                    phrase.known, phrase.names, found.words.scores[0, list(phrase.rows)].tolist(), strict=True
                )
            ],
            "score": float(found.scores[i]),
            "mass": float(found.maps[i].double().sum()),
            "peak": None if peaks[i][0] < 0 else peaks[i],
            "empty": is_empty(found.maps[i].detach().cpu()),
        }
        if configuration["boxes"]:
            own = found.detections[i]
            row["boxes"] = own.boxes[:MOST_BOXES].tolist()
            row["box_scores"] = own.scores[:MOST_BOXES].tolist()
        phrases.append(row)
    skipped = [word.strip(PUNCTUATION) for word in unknown_words(caption.words, known)]
    content = [word for word in dict.fromkeys(skipped) if word.casefold() not in OPENERS | BREAKS]
    return {
        "configuration": configuration,
        "layer": found.explanation.layer,
        "picture_size": [found.picture.height, found.picture.width],
        "words": list(caption.words),
        "skipped": content,
        "phrases": phrases,
    }


def _line(image: Path, phrase: dict[str, Any]) -> str:
    """One line of text about a phrase."""
    words = ", ".join(item["class"] for item in phrase["words"])
    place = f"peak {tuple(phrase['peak'])}" if phrase["peak"] else "no peak"
    if phrase.get("boxes"):
        place += f", box {tuple(round(side) for side in phrase['boxes'][0])}"
    return f"{image}: {phrase['phrase']} ({words}): score {phrase['score']:.4g}, {place}"
