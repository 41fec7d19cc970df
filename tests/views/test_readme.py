"""The README: as long as promised, and its Python runs."""

from __future__ import annotations

import re

import pytest
from tests.conftest import ROOT

import excitation as eb

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_has_fewer_than_120_lines():
    assert len(README.splitlines()) < 120


@pytest.mark.filterwarnings("ignore::excitation.MassLossWarning", "ignore::excitation.EmptyMapWarning")
def test_its_python_runs(monkeypatch, capsys):
    try:
        eb.load_model("lite")
    except eb.ExcitationError as error:
        pytest.skip(str(error))
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block, {})
    assert "blocks.6.0.bn1.act" in capsys.readouterr().out


def test_its_links_lead_somewhere():
    if not (ROOT / "docs").is_dir():
        pytest.skip("the documentation is not in the source distribution")
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / link).exists(), link
