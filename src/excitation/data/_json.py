"""Reading untrusted JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ._annotations import DataError


def read_json(file: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file cannot be read, or is not valid JSON.
    """
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: is not JSON that can be read: {error}.") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}.") from error
