"""Numbers in untrusted JSON files."""

from __future__ import annotations

import math
from typing import Any


def is_finite_number(value: Any) -> bool:
    """Whether a JSON value is a number that a float can represent: JSON allows integers of any length."""
    return type(value) in (int, float) and abs(value) <= 1e300 and math.isfinite(value)
