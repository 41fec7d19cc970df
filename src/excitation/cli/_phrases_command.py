"""`excitation phrases`: phrases and regions, evaluated as in Tables 4 and 5 of the paper."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._errors import ExcitationError
from ._bench_options import Limit, Out, read_methods
from ._console import ProgressDisplay, answer, report_line
from ._ground_command import FusionName
from ._options import Device, ModelSpec, NetworkName, load_network
from ._report_command import Form

if TYPE_CHECKING:
    from ..evaluation import Results, Table

METHODS = "mwp,c-mwp,r-mwp,gradient,deconv,lrp-epsilon-plus,cam,grad-cam,layer-cam"


class ProtocolName(str, Enum):
    """When a box is correct."""

    inclusive = "merged-inclusive"
    merged = "merged"
    any = "any"


class LookupName(str, Enum):
    """Allowed difference between a word and a class name."""

    lemma = "lemma"
    case = "case"
    exact = "exact"


phrases = typer.Typer(help="Phrases of captions and their regions (Tables 4 and 5).", no_args_is_help=True)


@phrases.command("run")
def run_command(
    data: Annotated[
        str,
        typer.Option("--data", metavar="SPEC", help="The test split: flickr30k:FOLDER, json:FILE or"
                     " refcoco:REFS.json,INSTANCES.json, with @SPLIT after it for one split.", show_default=False),
    ],
    model: ModelSpec,
    out: Out,
    validation: Annotated[
        str | None,
        typer.Option("--validation", metavar="SPEC", help="The split on which each method chooses gamma.",
                     show_default=False),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option("--gamma", metavar="G", min=0, max=1, help="One gamma for all, instead of --validation.",
                     show_default=False),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", metavar="DIR", help="The pictures of --data.", show_default=False),
    ] = None,
    validation_images: Annotated[
        Path | None,
        typer.Option("--validation-images", metavar="DIR", help="Those of --validation, if they are elsewhere.",
                     show_default=False),
    ] = None,
    offset: Annotated[
        int, typer.Option("--offset", help="Added to Flickr30k's coordinates: 0, or -1 if they count from 1.")
    ] = 0,
    proposals: Annotated[
        str,
        typer.Option("--proposals", metavar="SPEC", help="superpixels, selective-search, edge-boxes:MODEL, mcg:DIR,"
                     " edge-boxes-files:DIR or npz:DIR."),
    ] = "superpixels",
    methods: Annotated[
        str, typer.Option("--methods", metavar="NAMES", help="As for `excitation bench`; NAME@LAYER for other layers.")
    ] = METHODS,
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAMES", help="Where Excitation Backprop's maps are taken.",
                     show_default=False),
    ] = None,
    spatial: Annotated[
        str, typer.Option("--spatial", metavar="NAMES", help="How a class is spread over a score map.")
    ] = "response",
    fusions: Annotated[
        list[FusionName] | None,
        typer.Option("--fusion", help="How words' maps become one; given again, a row for each. Default: mean.",
                     show_default=False),
    ] = None,
    detections: Annotated[
        list[str] | None,
        typer.Option("--detections", metavar="NAME=FILE", help="Ranked boxes of another model (JSON lines), scored"
                     " alike; may be repeated.", show_default=False),
    ] = None,
    shortest: Annotated[
        int, typer.Option("--shortest", metavar="PIXELS", min=8, help="Shortest side of the network's input.")
    ] = 300,
    lookup: Annotated[
        LookupName, typer.Option("--lookup", help="Allowed difference between word and class name; lemma needs the"
                                 " extra grounding.")
    ] = LookupName.lemma,
    protocol: Annotated[
        ProtocolName, typer.Option("--protocol", help="By which gamma is chosen.")
    ] = ProtocolName.inclusive,
    limit: Limit = None,
    network: NetworkName = None,
    device: Device = "cpu",
) -> None:  # fmt: skip
    """Rank 500 proposals for every phrase with a box, by the maps of its words.

    Each method chooses gamma by recall at 1 on the validation split. Stopped at any moment, the same command goes on
    and repeats nothing. Bad files are listed and left out. `excitation phrases report` prints the tables.
    """
    from ..grounding import PhraseDataset, open_phrases, open_proposals, read_detections, run_phrases

    chosen, layers = read_methods(methods, layer, spatial)
    source = open_proposals(proposals)
    found = {}
    for text in detections or []:
        name, equals, file = text.partition("=")
        if not equals or not name or not file:
            raise ExcitationError(f"--detections {text!r} is not of the form NAME=FILE.")
        found[name], problems = read_detections(file)
        for problem in problems:
            report_line(f"{problem.path}: {problem.sentence}")

    def opened(spec: str, folder: Path | None) -> PhraseDataset:
        whole = open_phrases(spec, folder, offset=offset)
        return whole if limit is None else whole.first(limit)

    test = opened(data, images)
    held_out = None if validation is None else opened(validation, validation_images or images)
    options: dict[str, Any] = {
        "proposals": source, "proposals_name": proposals, "validation": held_out, "gamma": gamma, "layers": layers,
        "fusions": [item.value for item in fusions or [FusionName.mean]], "protocol": protocol.value,
        "shortest": shortest, "lookup": lookup.value, "detections": found, "network": network,
    }  # fmt: skip
    loaded = load_network(model, device=device)
    with ProgressDisplay("phrases") as display:
        results = run_phrases(loaded, test, chosen, out, **options, progress=display.show_game)
    for place, sentence in results.problems[:20]:
        report_line(f"{place}: {sentence}")
    report_line(f"{len(results.rows)} rows in {results.path}; {len(results.problems)} problems.")
    for table in _tables(results, protocol):
        answer([*table.as_text().splitlines(), ""])


@phrases.command("report")
def report_command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A file of results.", show_default=False)],
    protocol: Annotated[
        ProtocolName, typer.Option("--protocol", help="When a box is correct.")
    ] = ProtocolName.inclusive,
    paper: Annotated[bool, typer.Option("--paper", help="Set the paper's Tables 4 and 5 beside.")] = False,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="ROW", help="Also every row against this one; may be given again.",
                     show_default=False),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option("--rows", metavar="NAMES", help="Only these, with semicolons between.", show_default=False),
    ] = None,
    form: Annotated[Form, typer.Option("--form", help="How the tables are written.")] = Form.text,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", metavar="FILE", help="Draw recall against gamma there (.png, .pdf or .svg).",
                     show_default=False),
    ] = None,
) -> None:  # fmt: skip
    """Print Tables 4 and 5, pointing, and paired differences of a run of `excitation phrases run`."""
    from ..evaluation import as_csv, read_results
    from ..grounding import choose_phrase_rows, gamma_figure
    from ..views import save_figure

    results = read_results(run)
    if rows is not None:
        results = choose_phrase_rows(results, [name.strip() for name in rows.split(";") if name.strip()])
    tables = _tables(results, protocol, paper=paper, against=against or [])
    if form == Form.csv:
        answer(as_csv(tables).splitlines())
    for number, table in enumerate(tables if form != Form.csv else []):
        made = {Form.text: table.as_text, Form.markdown: table.as_markdown, Form.latex: table.as_latex}
        answer([*([""] if number else []), *made[form]().splitlines()])
    if figure is not None:
        save_figure(gamma_figure(results), figure)
        report_line(f"figure {figure}.")


def _tables(results: Results, protocol: ProtocolName, **options: Any) -> list[Table]:
    from ..grounding import phrase_tables

    which: Any = protocol.value
    return phrase_tables(results, which, **options)
