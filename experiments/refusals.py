"""The page of what the engine refuses, and why: written from the messages in the code itself.

python -m experiments.refusals          # writes docs/reference/refused.md
python -m experiments.refusals --check  # fails where the page is out of date
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "src" / "excitation" / "engine"
PAGE = ROOT / "docs" / "reference" / "refused.md"
ERRORS = {
    "UnsupportedOperationError", "EscapedTensorError", "TrainingModeError", "LayerError", "ExcitationError",
    "TargetError", "NotApplicableError",
}  # fmt: skip

HEAD = """# What is refused, and why

Excitation Backprop maps are exact or they are wrong, so an operation through which it is not known how a winner is
chosen is refused: the error names the operation, the layer, the reason and what to do. An operation is only refused
where a signal would have to pass it. Below the chosen layer, and inside gates, everything may run.

Methods that need gradients alone (`gradient`, `grad-cam`, `layer-cam` and others, see [methods](methods.md)) work on
networks with any of these operations.

This page is written from the messages in the code by `python -m experiments.refusals`. `{...}` stands for what is
given.

"""


def text_of(node: ast.expr) -> str:
    """A message as it stands in the code; `{name}` for what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        inside = ast.unparse(node.value)
        return "{operation}" if "where" in inside else "{" + inside + "}"
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return "{" + ast.unparse(node) + "}"


def names_read(function: ast.FunctionDef) -> list[str]:
    """The torch functions a reader is registered for."""
    decorators = [node for node in function.decorator_list if isinstance(node, ast.Call)]
    arguments = [argument for node in decorators if ast.unparse(node.func) == "reads" for argument in node.args]
    return [str(argument.value) if isinstance(argument, ast.Constant) else "..." for argument in arguments]


def refusals(function: ast.FunctionDef) -> Iterator[str]:
    """The reasons a reader or one of its helpers gives."""
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if (called.endswith(".refuse") and node.args) or (called in ERRORS and node.args):
            yield text_of(node.args[0])


def sections() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Titles of modules, and pairs of operations and reasons."""
    for path in sorted(ENGINE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        title = (ast.get_docstring(tree) or path.stem).splitlines()[0].rstrip(".")
        rows = []
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                names = names_read(function)
                shown = ", ".join(f"`{name}`" for name in names) or f"({function.name.strip('_').replace('_', ' ')})"
                rows += [(shown, reason) for reason in refusals(function)]
        if rows:
            yield title, list(dict.fromkeys(rows))


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, rows in sections():
        parts.append(f"## {title}\n\n| operation | reason |\n| --- | --- |\n")
        parts += [f"| {shown} | {' '.join(reason.split()).replace('|', '&#124;')} |\n" for shown, reason in rows]
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


def main() -> None:
    """Write the page, or compare it with what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    text = page()
    if parser.parse_args().check:
        sys.exit(0 if PAGE.read_text() == text else f"{PAGE} is out of date; run python -m experiments.refusals.")
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
