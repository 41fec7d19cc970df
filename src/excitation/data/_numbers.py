"""Numbers in JSON files that others wrote."""

from __future__ import annotations

import math
from typing import Any


def is_finite_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number that a float can hold: JSON allows whole numbers of any length."""
    return type(value) in (int, float) and abs(value) <= 1e300 and math.isfinite(value)
