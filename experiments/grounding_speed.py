"""Time of scoring 500 proposals for 100 phrases, as a ratio to one pass over their maps.

Run `python -m experiments.grounding_speed`.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from excitation.grounding import Proposals, Segments, rescore

from .speed.timing import take_turns, use_clock

PHRASES, PROPOSALS = 100, 500
SIZE = (300, 400)


def main() -> None:
    """Print ratios and milliseconds for segments and for boxes, on one core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    use_clock("processor")
    rng = np.random.default_rng(0)
    rows, columns = np.arange(SIZE[0])[:, None] // 19, np.arange(SIZE[1])[None] // 25
    labels = torch.from_numpy(rows * 16 + columns)
    members = torch.from_numpy(rng.random((PROPOSALS, int(labels.max()) + 1)) < 0.02)
    members[:, 0] |= ~members.any(1)
    proposals = Proposals.from_segments(Segments(labels, members))
    maps = torch.rand(PHRASES, *SIZE)
    times = take_turns(
        {
            "one pass": lambda: [own.to(torch.float64).sum() for own in maps],
            "segments": lambda: rescore(maps, proposals, 0.5, region="segments"),
            "boxes": lambda: rescore(maps, proposals, 0.5, region="boxes"),
        },
        turns,
    )
    for name in ("segments", "boxes"):
        print(f"{name}: {times.ratio(name, 'one pass')} times one pass, {times.milliseconds(name)} ms")


if __name__ == "__main__":
    main()
