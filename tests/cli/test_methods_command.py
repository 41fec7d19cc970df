from __future__ import annotations

import json

from excitation.methods import list_methods


def test_every_method_is_listed(run):
    code, lines, errors = run("methods")
    assert (code, errors) == (0, "")
    names = [item.name for item in list_methods()]
    assert [line.split()[0] for line in lines.splitlines()] == ["method", *names]
    _, lines, _ = run("methods", "--json")
    found = [json.loads(line) for line in lines.splitlines()]
    assert [item["name"] for item in found] == names
    assert next(item for item in found if item["name"] == "rise")["options"]["samples"] == "2000"
