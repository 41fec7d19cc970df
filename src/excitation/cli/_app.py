"""The program: its commands, and the handling of errors.

Modules of this package import matplotlib, and packages that few commands need, inside their functions.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from .._errors import ExcitationError
from ._bench_games import bench
from ._compare_command import compare_command
from ._data_commands import symbols_command, tags
from ._demo_command import demo_command
from ._explain_command import explain_command
from ._ground_command import ground_command
from ._list_commands import layers_command, methods_command
from ._phrases_command import phrases
from ._report_command import merge_command, report_command
from ._sanity_command import sanity
from ._train_command import train

app = typer.Typer(
    name="excitation",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text keeps long words whole, and reads the same in a pipe
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("explain")(explain_command)
app.command("compare")(compare_command)
app.command("ground")(ground_command)
app.command("layers")(layers_command)
app.command("methods")(methods_command)
app.command("demo")(demo_command)
app.add_typer(bench, name="bench")
app.add_typer(phrases, name="phrases")
app.command("report")(report_command)
app.command("merge")(merge_command)
app.add_typer(sanity, name="sanity")
app.command("symbols")(symbols_command)
app.add_typer(tags, name="tags")
app.add_typer(train, name="train")


def _show_version(wanted: bool) -> bool:
    if wanted:
        from .. import __version__

        print(f"excitation {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _program(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. Any position.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Top-down attention maps of image classifiers by Excitation Backprop."""
    del debug, version  # `main` reads the first at any position; the callback has handled the second


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit.

    Args:
        arguments: command-line arguments without the program name; those of this process by default.

    Raises:
        SystemExit: always. The code is 0 on success, 2 after an error, and 130 after an interruption. An error is
            written to standard error in one line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if "" not in sys.path:
        # As in `python -m`: the factory of a model is often in the current folder.
        sys.path.insert(0, "")
    try:
        code = app(args=words, prog_name="excitation", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        if debug:
            raise
        if text := _one_line(error):
            print(f"excitation: {text}", file=sys.stderr)
        code = 2
    if code == 130:
        print("excitation: interrupted; the same command continues.", file=sys.stderr)
    sys.exit(code or 0)


def _one_line(error: Exception) -> str:
    if hasattr(error, "format_message"):  # typer's own, of a class that differs between its releases
        # Empty where typer has already shown the help.
        context = getattr(error, "ctx", None)
        command = "excitation" if context is None else context.command_path
        text = f"{said.rstrip('.')}; see `{command} --help`." if (said := error.format_message()) else ""
    elif isinstance(error, (ExcitationError, OSError, ValueError)):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error} (--debug shows the traceback)"
    return " ".join(text.split())
