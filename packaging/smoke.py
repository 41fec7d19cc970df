"""Whether an installed `excitation` works by itself: `python packaging/smoke.py`, outside the repository's folder."""

from importlib import metadata, resources
from pathlib import Path

import torch

import excitation as eb

where = Path(eb.__file__).parent
assert "site-packages" in where.parts, f"excitation comes from {where}, not from an installation"
assert eb.__version__ == metadata.version("excitation"), (eb.__version__, metadata.version("excitation"))
assert (resources.files("excitation") / "py.typed").is_file()

network = torch.nn.Sequential(
    torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(),
    torch.nn.Linear(128, 5),
).eval()  # fmt: skip
for parameter in network.parameters():
    parameter.data.abs_()  # no mass is lost where all weights are positive
maps = eb.explain(network, torch.rand(2, 3, 16, 16), [0, 3], layer="1").maps
maps = getattr(maps, "maps", maps)
assert maps.shape == (2, 2, 16, 16), maps.shape
assert torch.allclose(maps.sum((2, 3)), torch.ones(2, 2), atol=1e-5), maps.sum((2, 3))
print(f"excitation {eb.__version__} from {where}: maps of mass 1")
