"""The command line: `excitation explain`, `excitation layers`."""

from ._app import main

__all__ = ["main"]
