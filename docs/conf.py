"""How the documentation is built: `make docs`. What can be written from the code is written into `generated/` first."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import excitation
from excitation._errors import ExcitationError

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

project = "excitation"
author = "The excitation authors"
copyright = f"2026, {author}"
release = version = excitation.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "generated"]
html_theme = "furo"
html_title = f"excitation {release}"

myst_heading_anchors = 3
nb_execution_mode = "auto"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

suppress_warnings = [
    "toc.not_included",  # pages of single results are reached by links
    "myst.header",  # they may begin with a second-level heading
    "misc.highlighting_failure",  # reports in text
]


def errors_table() -> str:
    """Every error and warning that a caller can meet, with its docstring."""
    lines = ["| name | kind | meaning |", "| --- | --- | --- |"]
    for name in excitation.__all__:
        item = getattr(excitation, name)
        if inspect.isclass(item) and issubclass(item, (ExcitationError, Warning)):
            kind = "warning" if issubclass(item, Warning) else "error"
            lines.append(f"| `{name}` | {kind} | {' '.join((item.__doc__ or '').split())} |")
    return "\n".join(lines) + "\n"


def command_line() -> str:
    """The help of every command, as the program prints it."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from excitation.cli._app import app

    runner = CliRunner()
    parts = []

    def add(path: list[str], command: object) -> None:
        parts.append(f"## {' '.join(['excitation', *path])}\n" if path else "")
        done = runner.invoke(app, [*path, "--help"], prog_name="excitation", env={"COLUMNS": "100", "NO_COLOR": "1"})
        if done.exit_code:
            raise RuntimeError(f"excitation {' '.join(path)} --help failed: {done.output}")
        parts.append(f"```text\n{done.output.strip()}\n```\n")
        for name, child in getattr(command, "commands", {}).items():
            add([*path, name], child)

    add([], get_command(app))
    return "\n".join(parts)


def interfaces() -> str:
    """One section for each public package, with everything in its `__all__`."""
    import importlib
    import pkgutil

    parts = []
    found = [item.name for item in pkgutil.iter_modules(excitation.__path__, "excitation.")]
    public = [name for name in found if not name.rpartition(".")[2].startswith("_") and name != "excitation.cli"]
    seen: set[int] = set()
    for name in ["excitation", *public]:
        module = importlib.import_module(name)
        exported = getattr(module, "__all__", [])
        again = [item for item in exported if id(getattr(module, item)) in seen]  # documented above, under another name
        seen |= {id(getattr(module, item)) for item in exported if callable(getattr(module, item))}
        options = ["members:", *(["imported-members:"] if exported else [])]
        if again:
            options.append(f"exclude-members: {', '.join(again)}")
        lines = [f".. automodule:: {name}", *(f"   :{option}" for option in options)]
        parts.append("\n".join([f"## {name}\n", "```{eval-rst}", *lines, "```\n"]))
    return "\n".join(parts)


def plain(_app: object, what: str, _name: str, _item: object, _options: object, lines: list[str]) -> None:
    """Read docstrings as they are written: `code` in single backticks, stars as stars."""
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", "\n".join(lines))
    spans = re.split(r"(``[^`]+``)", text)
    lines[:] = "".join(part if part.startswith("``") else part.replace("*", r"\*") for part in spans).split("\n")
    if what in {"property", "attribute", "data"}:
        lines.insert(0, "")  # else napoleon takes a first line with a colon for a type


def write_generated(*_: object) -> None:
    """Write the pages that come from the code."""
    folder = HERE / "generated"
    folder.mkdir(exist_ok=True)
    makers = {"errors": errors_table, "cli": command_line, "api": interfaces}
    for name, make in makers.items():
        (folder / f"{name}.md").write_text(make(), encoding="utf-8")


def setup(app: object) -> None:
    """Sphinx's hook."""
    app.connect("builder-inited", write_generated)  # type: ignore[attr-defined]
    app.connect("autodoc-process-docstring", plain, priority=100)  # type: ignore[attr-defined] # before napoleon
