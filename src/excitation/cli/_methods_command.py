"""`excitation methods`: what `--methods` takes."""

from __future__ import annotations

import json

from ._console import print_columns
from ._options import AsJson


def methods_command(as_json: AsJson = False) -> None:
    """List the methods: name, passes it costs (F forward, B down, T targets), what it does."""
    from ..methods import list_methods

    if as_json:
        keys = ("name", "aliases", "family", "sentence", "source", "cost", "needs", "steps")
        for item in list_methods():
            options = {key: repr(value) for key, value in item.options.items()}
            print(json.dumps({**{key: getattr(item, key) for key in keys}, "options": options}))
        return
    rows = [("method", "cost", "what it does"), *((item.name, item.cost, item.sentence) for item in list_methods())]
    print_columns(rows)
