"""JSON files that others wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ._annotations import DataError


def read_json(file: Path) -> Any:
    """What a file holds.

    Raises:
        DataError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is not JSON that can be read: {error}.") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}.") from error
