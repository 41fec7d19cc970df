"""`excitation sanity`: checks whether maps depend on what a network has learned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ._console import ProgressDisplay, answer, report_line
from ._options import Device, ModelSpec, load_network, pictures_of, split

if TYPE_CHECKING:
    from ..evaluation.sanity import Subject
    from ..models._loaded import LoadedModel

sanity = typer.Typer(
    no_args_is_help=True, help="Check whether maps depend on what the network has learned.", rich_markup_mode=None
)

Data = Annotated[
    str | None,
    typer.Option("--data", metavar="SPEC", help="Annotated images: coco:ROOT, voc:ROOT or imagenet:ROOT. The target in"
                 " each image is its annotated category with the highest score.", show_default=False),
]  # fmt: skip
Images = Annotated[
    list[Path] | None,
    typer.Option("--images", metavar="PATH", help="Pictures or folders instead of --data; may be repeated. The target"
        " in each"
                 " picture is the class with the highest score.", show_default=False),
]  # fmt: skip
Count = Annotated[
    int, typer.Option("--count", metavar="N", min=1, help="Number of images. A larger number continues a run.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="S", min=0, help="Seed of all random numbers.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for results and figures.")]


@sanity.callback()
def _sanity() -> None:
    """Check whether maps depend on what the network has learned."""


@sanity.command("randomisation")
def randomisation_command(
    model: ModelSpec,
    data: Data = None,
    images: Images = None,
    methods: Annotated[
        str, typer.Option("--methods", metavar="NAMES", help="Comma-separated names from `excitation methods`;"
            " NAME@LAYER"
                          " sets the layer of a method. all: each method that differs from all others.")
    ] = "all",
    layer: Annotated[
        str | None,
        typer.Option("--layer", metavar="NAME", help="Layer for methods of Excitation Backprop.", show_default=False)
    ] = None,
    independent: Annotated[
        bool, typer.Option("--independent", help="Randomise one layer at a time and keep the trained weights of all"
            " others.")
    ] = False,
    count: Count = 10,
    expensive: Annotated[
        int, typer.Option("--expensive", metavar="N", min=0, help="Number of images for expensive methods; 0 skips"
                          " these methods.")
    ] = 2,
    every: Annotated[
        int, typer.Option("--every", metavar="N", min=1, help="Compute maps after the first layer, every N-th layer,"
            " and"
                          " the last.")
    ] = 1,
    strip: Annotated[
        str, typer.Option("--strip", metavar="NAMES", help="Comma-separated methods in the figure of maps.")
    ] = "mwp,c-mwp,gradient,deconv,lrp-epsilon-plus,grad-cam",
    seed: Seed = 0,
    device: Device = "cpu",
    out: Out = Path("sanity"),
) -> None:  # fmt: skip
    """Randomise the layers of the network. A map that does not change does not depend on what the network has learned.

    Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018. Writes randomisation.json (independent.json with
    --independent) with all numbers and the configuration, tables (.md), charts, and strip.png: the maps of the first
    image while layers are randomised from the top down. The same command continues an interrupted run. The value all
    skips methods that do not apply to the network, and the table lists them.
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
    with _subjects(model, device, data, images, count, out) as (loaded, subjects, about):
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
        str, typer.Option("--methods", metavar="NAMES", help="Comma-separated names; all: all methods that propagate"
                          " a signal from layer to layer.")
    ] = "all",
    count: Count = 20,
    pairs: Annotated[int, typer.Option("--pairs", metavar="N", min=1, help="Pairs of classes per image.")] = 5,
    seed: Seed = 0,
    device: Device = "cpu",
    out: Out = Path("sanity"),
) -> None:  # fmt: skip
    """Compare the signals of different classes layer by layer. Where they converge, maps do not depend on the class.

    Sixt et al., "When Explanations Lie", ICML 2020. Writes convergence.json (all numbers and the configuration),
    convergence.md and convergence.png. The same command continues an interrupted run.
    """
    from .._files import write_whole
    from ..evaluation import sanity as checks
    from ..methods import find_method
    from ..methods._backpropagated import BACKPROPAGATED
    from ..views import save_figure

    words = split(methods)
    names = list(BACKPROPAGATED) if words == ["all"] else [find_method(word).name for word in words]
    with (
        _subjects(model, device, data, images, count, out) as (loaded, subjects, about),
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
    spec: str, device: str, data: str | None, images: list[Path] | None, count: int, out: Path
) -> Iterator[tuple[LoadedModel, Callable[[], Iterator[Subject]], dict[str, Any]]]:
    """Yield the model, a function that iterates over its images, and their part of the configuration."""
    from .._errors import ExcitationError
    from ..data import open_data
    from ..evaluation.sanity import subjects_of_data, subjects_of_pictures
    from ._results import digest

    if (data is None) == (not images):
        raise ExcitationError("the images are not clear; give either --data SPEC or --images PATH.")
    if data is not None:
        dataset = open_data(data)
        loaded = load_network(spec, device=device)
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
    loaded = load_network(spec, device=device)
    pictures = {path: name.with_name(path.name) for path, name in pictures.items()}
    known = {str(name): digest(path) for path, name in pictures.items()}
    chosen = dict(list(pictures.items())[:count])
    yield loaded, lambda: subjects_of_pictures(loaded, chosen), {"images": known}


@contextmanager
def _progress(what: str, count: int) -> Iterator[Callable[[str, float], None]]:
    with ProgressDisplay(what) as display:
        done: dict[str, float] = {}

        def show(image: str, part: float) -> None:
            done[image] = part
            display.update(sum(done.values()), count, phase="images")

        yield show
