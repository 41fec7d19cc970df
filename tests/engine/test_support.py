"""The committed support table against the engine as it is."""

from __future__ import annotations

import dataclasses
import json
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import nn

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed", exc_type=ImportError)

from experiments.support import measure as measuring  # noqa: E402
from experiments.support.networks import Candidate, build, calibrate, candidates  # noqa: E402
from experiments.support.table import MASSES, as_markdown  # noqa: E402

import excitation as eb  # noqa: E402

RESULTS = Path(__file__).resolve().parents[2] / "docs/results/support.json"
if not RESULTS.parent.exists():
    pytest.skip("the results are not in the source distribution", allow_module_level=True)
TABLE = json.loads(RESULTS.read_text())
ROWS = {(row["source"], row["name"]): row for row in TABLE["networks"]}
LIVE = [
    ("torchvision", "squeezenet1_1", "exact"),
    ("torchvision", "shufflenet_v2_x0_5", "extended"),
    ("torchvision", "mobilenet_v3_small", "extended"),
    ("torchvision", "swin_t", "extended"),
    ("timm", "convnextv2_atto", "extended"),
    ("timm", "poolformerv2_s12", "extended"),
    ("timm", "starnet_s1", "extended"),
]


def test_every_network_is_in_the_table():
    if version("torchvision") == TABLE["configuration"]["torchvision"]:
        assert {(each.source, each.name) for each in candidates()} == set(ROWS)


def test_no_account_is_open_and_no_classifier_of_torchvision_is_refused():
    for (source, name), row in ROWS.items():
        assert row["status"] in {"exact", "extended", "refused"}, name
        if row["status"] == "refused":
            assert source == "timm" or row["kind"] == "detection", name
            continue
        assert row["replay"] == ("" if row["kind"] == "several inputs" else "agrees"), name
        assert (row["status"] == "extended") == bool(row["notes"]), name
        assert row["top"] == pytest.approx(1, abs=1e-6), name
        assert row["bottom"] + row["lost"] == pytest.approx(1, abs=1e-4), name
        if row["middle_layer"]:
            assert row["bottom"] - 1e-4 <= row["middle"] <= 1 + 1e-4, name
        # Windows that hold nothing but padding take no mass under any policy; a class token is a parameter and ends it.
        some = (
            4e-3
            if name in {"nasnetalarge", "pnasnet5large"}
            else 0.1
            if "constants" not in row and name.startswith("vit_")
            else 1e-4
        )
        # Rows that were measured before this number was kept do not have it.
        assert row["spread"] + row.get("constants", 0) == pytest.approx(1, abs=some), name


def test_the_page_is_that_of_the_numbers():
    assert RESULTS.with_suffix(".md").read_text() == as_markdown(TABLE)


@pytest.mark.parametrize(("source", "name", "status"), LIVE)
def test_networks_are_as_the_table_says(source, name, status):
    pytest.importorskip(source, reason=f"{source} is not installed", exc_type=ImportError)
    stored = ROWS[source, name]
    found = dataclasses.asdict(measuring.measure(*build(Candidate(source, stored["family"], name))))
    assert found["status"] == stored["status"] == status
    assert found["notes"] == stored["notes"]
    if status == "refused":
        return
    # Other releases may draw other random weights.
    if all(version(package) == TABLE["configuration"][package] for package in ("torch", source)):
        assert found["middle_layer"] == stored["middle_layer"]
        for mass in MASSES:
            assert found[mass] == pytest.approx(stored[mass], abs=2e-3), mass


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 16, 3, 4), nn.BatchNorm2d(16), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3)))


def noise(count):
    return torch.randn(count, 3, 32, 32)


def test_calibration_makes_unit_channels():
    model = Small()
    calibrate(model, noise, batches=4)
    with torch.no_grad():
        values = model.norm(model.conv(torch.randn(64, 3, 32, 32)))
    shift, scale = (
        values.mean((0, 2, 3)) - model.norm.bias.detach(),
        values.std((0, 2, 3)) / model.norm.weight.detach().abs(),
    )
    assert float(shift.abs().max()) < 0.2
    assert float((scale - 1).abs().max()) < 0.2
    assert bool((model.norm.weight < 0).any())
    assert not model.training
    assert not model.norm.training


def test_an_account_that_does_not_close_is_called_wrong(monkeypatch):
    model = Small()
    calibrate(model, noise)
    images = torch.randn(1, 3, 32, 32)
    assert measuring.measure(model, images).status == "exact"
    balance = eb.balance

    def leaking(*arguments, **options):
        account = balance(*arguments, **options)
        return dataclasses.replace(account, arrived=account.arrived * 0.99)

    monkeypatch.setattr(eb, "balance", leaking)
    assert measuring.measure(model, images).status == "wrong"
