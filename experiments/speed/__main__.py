"""`python -m experiments.speed`: the table of `docs/performance.md`, and the same as JSON."""

from __future__ import annotations

import torch

from experiments.speed.networks import CHOICES
from experiments.speed.rows import fixed_cost, network_rows

if __name__ == "__main__":
    import sys

    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    print(fixed_cost(20))
    for c in CHOICES:
        if len(sys.argv) > 1 and sys.argv[1] not in ("all", c.name):
            continue
        r = network_rows(c, batch=8, turns=5, size=224, device=torch.device("cpu"))
        print(c.title, {k: str(v) for k, v in r.items()}, flush=True)
