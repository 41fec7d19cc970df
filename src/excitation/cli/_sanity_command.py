"""`excitation sanity randomisation`, `excitation sanity convergence`: are maps about what a network has learned?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._console import answer, progress_bar, report_line
from ._options import ModelSpec
from ._pictures import pictures_of

if TYPE_CHECKING:
    from ..evaluation.sanity import Subject
    from ..models._loaded import LoadedModel

sanity = typer.Typer(
    no_args_is_help=True, help="Check whether maps depend on what the network has learned.", rich_markup_mode=None
)

Data = Annotated[
    str | None,
    typer.Option("--data", metavar="SPEC", help="Annotated images: coco:ROOT, voc:ROOT or imagenet:ROOT. Asked for the"
                 " category in each that the network is surest of.", show_default=False),
]  # fmt: skip
Images = Annotated[
    list[Path] | None,
    typer.Option("--images", metavar="PATH", help="Pictures or a folder of them, in place of --data; may be repeated."
                 " Asked for the class the network holds most likely.", show_default=False),
]  # fmt: skip
Count = Annotated[
    int, typer.Option("--count", metavar="N", min=1, help="Number of images; a larger one continues a run.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Of all that is drawn at random.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results and figures go.")]


@sanity.callback()
def _sanity() -> None:
    """Check whether maps depend on what the network has learned."""


@sanity.command("randomisation")
def randomisation_command(
    model: ModelSpec,
    data: Data = None,
    images: Images = None,
    methods: Annotated[
        str, typer.Option("--methods", metavar="NAMES", help="With commas between: those of `excitation methods`;"
                          " NAME@LAYER for a layer of its own; all for all whose maps are their own.")
    ] = "all",
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", help="Where Excitation Backprop's maps are taken.", show_default=False)
    ] = None,
    independent: Annotated[
        bool, typer.Option("--independent", help="One layer at a time, all others as they were trained.")
    ] = False,
    count: Count = 10,
    expensive: Annotated[
        int, typer.Option("--expensive", metavar="N", min=0, help="Images that expensive methods see; 0 leaves them"
                          " out.")
    ] = 2,
    every: Annotated[
        int, typer.Option("--every", metavar="N", min=1, help="Take maps after the first layer, every so many, and the"
                          " last.")
    ] = 1,
    strip: Annotated[
        str, typer.Option("--strip", metavar="NAMES", help="Methods of the figure of maps.")
    ] = "mwp,c-mwp,gradient,deconv,lrp-epsilon-plus,grad-cam",
    seed: Seed = 0,
    out: Out = Path("sanity"),
) -> None:  # fmt: skip
    """Randomise the network's layers: a map that stays the same was not about what the network had learned.

    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018. Writes randomisation.json (independent.json for
    one layer at a time; all numbers with their configuration; an interrupted run goes on), .md, charts, and strip.png
    with the first image's maps while layers are randomised from the top down. Methods that do not apply to the network
    are left out of all, and the table says so.
    """
    from .._files import write_whole
    from ..evaluation import sanity as checks
    from ..views import save_figure

    chosen = checks.choose_methods(methods, layer)
    if not expensive:
        chosen = {name: item for name, item in chosen.items() if not item.expensive}
    shown = {name: item for name, item in checks.choose_methods(strip, layer).items() if name in chosen}
    order: checks.Order = "independent" if independent else "cascading"
    stem = "independent" if independent else "randomisation"
    with _subjects(model, data, images, count, out) as (loaded, subjects, about):
        if methods.strip() == "all":
            chosen, about["left_out"] = checks.applicable(chosen, loaded, next(subjects()).values)
            shown = {name: item for name, item in shown.items() if name in chosen}
        with _progress("randomising", count) as show:
            found = checks.run_randomisation(
                loaded, subjects(), chosen, out=out / f"{stem}.json", order=order, seed=seed, expensive=expensive,
                every=every, about=about, progress=show,
            )  # fmt: skip
        write_whole(out / f"{stem}.md", checks.randomisation_table(found).as_markdown())
        for measure in ("grid", "absolute", "ssim", "hog"):
            save_figure(checks.randomisation_chart(found, measure), out / f"{stem}-{measure}.png")
        if shown and not independent:
            save_figure(checks.strip_figure(loaded, next(subjects()), shown, seed=seed), out / "strip.png", dpi=60.0)
    answer(checks.randomisation_table(found).as_text().splitlines())
    report_line(f"{len(found.images)} images, {len(chosen)} methods; numbers, table and figures in {out}.")


@sanity.command("convergence")
def convergence_command(
    model: ModelSpec,
    data: Data = None,
    images: Images = None,
    methods: Annotated[
        str, typer.Option("--methods", metavar="NAMES", help="With commas between; all for all that carry a signal"
                          " from layer to layer.")
    ] = "all",
    count: Count = 20,
    pairs: Annotated[int, typer.Option("--pairs", metavar="N", min=1, help="Pairs of classes for each image.")] = 5,
    seed: Seed = 0,
    out: Out = Path("sanity"),
) -> None:  # fmt: skip
    """Compare the signals of different classes on their way down: where they are one, a map says nothing of the class.

    Sixt et al., "When Explanations Lie", ICML 2020. Writes convergence.json (all numbers with their configuration; an
    interrupted run goes on), .md and .png.
    """
    from .._files import write_whole
    from ..evaluation import sanity as checks
    from ..methods import find_method
    from ..methods._backpropagated import BACKPROPAGATED
    from ..views import save_figure

    words = list(filter(None, map(str.strip, methods.split(","))))
    names = list(BACKPROPAGATED) if words == ["all"] else [find_method(word).name for word in words]
    with (
        _subjects(model, data, images, count, out) as (loaded, subjects, about),
        _progress("comparing", count) as show,
    ):
        found = checks.run_convergence(
            loaded, subjects(), names, out=out / "convergence.json", seed=seed, pairs=pairs, about=about, progress=show
        )
    write_whole(out / "convergence.md", checks.convergence_table(found).as_markdown())
    save_figure(checks.convergence_chart(found), out / "convergence.png")
    answer(checks.convergence_table(found).as_text().splitlines())
    report_line(f"{len(found.images)} images, {len(names)} methods; numbers, table and figure in {out}.")


@contextmanager
def _subjects(
    spec: str, data: str | None, images: list[Path] | None, count: int, out: Path
) -> Iterator[tuple[LoadedModel, Callable[[], Iterator[Subject]], dict[str, Any]]]:
    """Yield the model, a function that iterates over its images, and their part of the configuration."""
    from .._errors import ExcitationError
    from ..data import open_data
    from ..evaluation.sanity import subjects_of_data, subjects_of_pictures
    from ..models._catalogue import load_model
    from ._results import digest

    if (data is None) == (not images):
        raise ExcitationError("the images are open; give either --data SPEC or --images PATH.")
    if data is not None:
        dataset = open_data(data)
        loaded = load_model(spec)
        yield (
            loaded,
            lambda: subjects_of_data(loaded, dataset, count),
            {"data": dataset.name, "fingerprint": dataset.fingerprint()},
        )
        for problem in list(dataset.problems)[:20]:
            report_line(str(problem))
        return
    assert images is not None
    pictures = pictures_of(images, out)
    loaded = load_model(spec)
    pictures = {path: name.with_name(path.name) for path, name in pictures.items()}
    known = {str(name): digest(path) for path, name in pictures.items()}
    chosen = dict(list(pictures.items())[:count])
    yield loaded, lambda: subjects_of_pictures(loaded, chosen), {"images": known}


@contextmanager
def _progress(what: str, count: int) -> Iterator[Callable[[str, float], None]]:
    with progress_bar() as progress:
        task = progress.add_task(what, total=count)
        done: dict[str, float] = {}

        def show(image: str, part: float) -> None:
            done[image] = part
            progress.update(task, completed=sum(done.values()))

        yield show
