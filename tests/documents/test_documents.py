"""The documentation: its Python runs or at least names what exists, its links lead somewhere, its figures are small."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.conftest import ROOT
from torch import nn

import excitation as eb

DOCS = ROOT / "docs"
if not DOCS.is_dir():
    pytest.skip("the documentation is not in the source distribution", allow_module_level=True)

PAGES = sorted(path for path in DOCS.rglob("*.md") if not {"_build", "generated"} & set(path.parts))
TEXTS = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "llms.txt"))]
BLOCK = re.compile(r"^```(?:python|\{code-cell\} python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITH_PYTHON = [path for path in PAGES if BLOCK.search(path.read_text(encoding="utf-8"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


class Two(nn.Module):
    """Two inputs, by place or by name."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, left, right):
        return self.head(torch.relu(self.conv(left) + self.conv(right)).mean((2, 3)))


def lite():
    loaded = eb.load_model("lite")
    photo = Image.open(ROOT / "src/excitation/cli/coffee.jpg")
    return {"model": loaded.model, "names": loaded.class_names, "images": loaded.preprocessing(photo)[None]}


def two():
    picture, flow = torch.rand(2, 1, 3, 8, 8)
    return {"eb": eb, "model": Two().eval(), "picture": picture, "flow": flow, "a": picture, "b": flow}


RUN = {
    "docs/tutorials/first-map.md": {None: dict},
    "docs/tutorials/comparing-methods.md": {None: dict},
    "docs/tutorials/own-network.md": {None: dict},
    "docs/tutorials/reading-a-balance.md": {None: dict},
    **{
        f"docs/how-to/{name}.md": {None: dict}
        for name in ("a-data-set", "choose-a-layer", "draw-maps", "many-classes", "other-networks", "transformers")
    },
    **{f"docs/how-to/from-{name}.md": {None: dict} for name in ("captum", "pytorch-grad-cam", "zennit")},
    "docs/how-to/from-torch-cam.md": {"cells": dict},
    "docs/how-to/grounding.md": {0: dict},
    "docs/reference/methods.md": {0: lite},
    "docs/explanation/recording.md": {0: lambda: {"eb": eb, **lite()}, 1: two},
}
"""Pages whose Python runs: all blocks in one go, the cells that `make docs` runs, or some blocks, each with what it
takes for granted. The other blocks read files that cannot be shipped, or call packages that are not installed; of those
the names are checked."""

OTHERS = {
    "docs/how-to/from-captum.md": "captum",
    "docs/how-to/from-pytorch-grad-cam.md": "pytorch_grad_cam",
    "docs/how-to/from-zennit.md": "zennit",
    "docs/how-to/other-networks.md": "torchvision",
}
"""Packages that blocks outside of cells need. `make docs` does not run these blocks, nor does the test without them."""


@pytest.mark.filterwarnings("ignore::excitation.MassLossWarning", "ignore::excitation.EmptyMapWarning")
@pytest.mark.filterwarnings("ignore::excitation.BypassWarning")
@pytest.mark.parametrize("page", RUN)
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some pages save files
    try:
        eb.load_model("lite")
    except eb.ExcitationError as error:
        pytest.skip(str(error))
    text = (ROOT / page).read_text(encoding="utf-8")
    missing = page in OTHERS and importlib.util.find_spec(OTHERS[page]) is None
    for which, given in RUN[page].items():
        blocks = (CELL if which == "cells" or missing else BLOCK).findall(text)
        code = blocks[which] if isinstance(which, int) else "\n".join(blocks)
        exec(compile(code, page, "exec"), given())


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_names_what_exists(page):
    """Imports, attributes of `excitation`'s modules, and keyword arguments of its functions."""
    known: dict[str, object] = {"eb": eb}

    def value_of(node):
        if isinstance(node, ast.Name):
            return known.get(node.id)
        if isinstance(node, ast.Attribute):
            owner = value_of(node.value)
            if inspect.ismodule(owner):
                assert hasattr(owner, node.attr), f"{name_of(page)}: {owner.__name__} has no {node.attr}"
                return getattr(owner, node.attr)
        return None

    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("excitation"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    if not hasattr(module, alias.name) and importlib.util.find_spec(full):
                        importlib.import_module(full)
                    assert hasattr(module, alias.name), f"{name_of(page)}: {node.module} has no {alias.name}"
                    known[alias.asname or alias.name] = getattr(module, alias.name)
            elif isinstance(node, ast.Call) and callable(function := value_of(node.func)):
                parameters = inspect.signature(function).parameters
                if not any(item.kind is item.VAR_KEYWORD for item in parameters.values()):
                    unknown = {item.arg for item in node.keywords if item.arg} - set(parameters)
                    assert not unknown, f"{name_of(page)}: {function.__name__} has no {unknown}"
            elif isinstance(node, ast.Attribute):
                value_of(node)


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (page.parent / link).exists(), f"{name_of(page)}: {link}"


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "llms.txt", "README.md"])
def test_files_that_are_named_exist(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for path in re.findall(r"`((?:src|tests|docs|experiments|packaging|\.github)/[\w./-]+)`", text):
        assert path.startswith("docs/_build") or (ROOT / path).exists(), f"{name}: {path}"


@pytest.mark.parametrize("path", sorted((DOCS / "figures").glob("*.png")), ids=name_of)
def test_figures_are_small(path):
    assert path.stat().st_size <= 300_000, "python -m experiments.figures.compress"
    with Image.open(path) as picture:
        assert picture.mode == "P", "python -m experiments.figures.compress"


def test_the_citation_is_of_the_newest_version():
    (version,) = re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    released = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert version == released[0]


def test_there_is_one_build_of_opencv():
    """Several install one folder, and the last one overwrites the others (CONTRIBUTING.md)."""
    assert len(set(importlib.metadata.packages_distributions().get("cv2", []))) <= 1
