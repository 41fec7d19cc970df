"""Keep the list of slow tests: `python -m tests.slow REPORT.xml` adds what a run has measured (`make slow`).

The list, `slow.txt`, names test functions, one a line. A function is slow if all its cases together take longer than
`LIMIT`. `pytest -m "not slow"` leaves them out; `make test` runs everything.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
LIST = HERE / "slow.txt"
LIMIT = 1.0  # seconds on a quiet machine


def listed() -> frozenset[str]:
    """The slow functions, as `tests/folder/test_file.py::test_name`."""
    return frozenset(LIST.read_text(encoding="utf-8").split())


def measured(report: Path) -> Counter[str]:
    """Seconds of every test function in one of pytest's XML reports, fixtures included."""
    seconds: Counter[str] = Counter()
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        file = case.get("classname", "").replace(".", "/") + ".py"
        seconds[f"{file}::{case.get('name', '').split('[')[0]}"] += float(case.get("time", 0))
    return seconds


def exists(name: str) -> bool:
    """Whether the file still has the function."""
    file, function = name.split("::")
    path = HERE.parent / file
    return path.exists() and f"def {function}(" in path.read_text(encoding="utf-8")


if __name__ == "__main__":
    limit = float(sys.argv[2]) if len(sys.argv) > 2 else LIMIT
    slow = {name for name, seconds in measured(Path(sys.argv[1])).items() if seconds >= limit}
    known = listed()
    kept = {name for name in known | slow if exists(name)}
    LIST.write_text("".join(f"{name}\n" for name in sorted(kept)), encoding="utf-8")
    print(f"{LIST}: {len(kept)} functions, {len(kept - known)} of them new, {len(known - kept)} gone")
