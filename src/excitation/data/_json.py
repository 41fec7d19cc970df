"""JSON files that others wrote."""

from __future__ import annotations

import json
import math
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


def is_finite_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number that a float can hold: JSON allows whole numbers of any length."""
    return type(value) in (int, float) and abs(value) <= 1e300 and math.isfinite(value)
