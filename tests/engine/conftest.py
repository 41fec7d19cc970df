from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared():
    root = Path(__file__).parents[2] / ".." / "shared"

    def find(path):
        if not (root / path).exists():
            pytest.skip(f"reference data not found: {root / path}")
        return root / path

    return find
