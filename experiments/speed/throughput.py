"""Images and maps a second of whole networks, and how long COCO's maps would take: what a GPU is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

import excitation as eb
from experiments.speed.networks import Choice, chain, plain_forward, plain_gradient
from experiments.speed.timing import Ratio, Times, spread, take_turns

BATCHES = (1, 32, 256)
IMAGES, MAPS = 40_137, 116_000
"""Of COCO's validation set, a map for each category that is in an image (Sec. 4.1 of the paper)."""

TARGETS = 3
"""Asked for at once when the time of a further map is measured; COCO's images have 2.9 categories each."""

PRECISIONS: dict[str, tuple[torch.dtype, bool]] = {
    "float32": (torch.float32, False),
    "TF32": (torch.float32, True),
    "bfloat16": (torch.bfloat16, False),
    "bfloat16, sweep in TF32": (torch.bfloat16, True),
}
"""By name: what weights and images are kept in, and whether products in float32 may be rounded to TF32.

The sweep is in float32 whatever the network computes in, so that TF32 makes a difference to a bfloat16 network too.
"""


def throughput(
    choice: Choice, *, turns: int, size: int, device: torch.device, batches: tuple[int, ...] = BATCHES
) -> tuple[dict[str, Ratio], dict[str, str]]:
    """Rates of a network in each precision and batch, ratios to its forward pass and gradient, minutes for COCO.

    The gradient is taken at the images, from where error backpropagation is usually read off; the map at the choice's
    layer. Both are timed with the forward pass they need.

    Returns:
        Rows, and why some combinations refused.
    """
    rows: dict[str, Ratio] = {}
    refused: dict[str, str] = {}
    for precision, (kept, tf32) in PRECISIONS.items():
        if tf32 and device.type != "cuda":
            refused[precision] = "TF32 is a format of CUDA devices"
            continue
        model = chain(choice.name).to(device, kept)
        for batch in batches:
            title = f"{precision}, batch {batch}"
            torch.manual_seed(0)
            images = torch.randn(batch, 3, size, size).to(device, kept)
            try:
                with _tf32(allowed=tf32):
                    times = take_turns(_work(model, images, choice), turns, device)
            except torch.OutOfMemoryError as error:
                refused[title] = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
            else:
                rows |= {f"{title}: {name}": ratio for name, ratio in _rates(times, batch).items()}
            # Out here, where the exception no longer keeps what did not fit.
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return rows, refused


def _work(model: nn.Module, images: torch.Tensor, choice: Choice) -> dict[str, Callable[[], object]]:
    layer, several = choice.layer.replace(".", "_"), list(range(1, 1 + TARGETS))
    return {
        "F": lambda: plain_forward(model, images),
        "gradient": lambda: plain_gradient(model, images),
        "MWP": lambda: eb.explain(model, images, [1], layer=layer),
        "c-MWP": lambda: eb.explain(model, images, [1], layer=layer, contrast="dual"),
        "several": lambda: eb.explain(model, images, several, layer=layer),
        "several c-MWP": lambda: eb.explain(model, images, several, layer=layer, contrast="dual"),
    }


def _rates(times: Times, batch: int) -> dict[str, Ratio]:
    seconds = times.seconds
    return {
        "images a second, forward": spread([batch / s for s in seconds["F"]]),
        "MWP maps a second, one an image": spread([batch / s for s in seconds["MWP"]]),
        f"MWP maps a second, {TARGETS} an image": spread([TARGETS * batch / s for s in seconds["several"]]),
        "c-MWP maps a second, one an image": spread([batch / s for s in seconds["c-MWP"]]),
        "MWP / F": times.ratio("MWP", "F"),
        "gradient / F": times.ratio("gradient", "F"),
        "MWP / gradient": times.ratio("MWP", "gradient"),
        "COCO's MWP maps, minutes": _coco(seconds["MWP"], seconds["several"], batch),
        "COCO's c-MWP maps, minutes": _coco(seconds["c-MWP"], seconds["several c-MWP"], batch),
    }


def _coco(one: list[float], several: list[float], batch: int) -> Ratio:
    """Minutes for all maps: a first one for each image, and what a further one costs for all others."""
    calls = IMAGES / batch
    further = (MAPS / IMAGES - 1) / (TARGETS - 1)
    return spread([calls * (a + further * (b - a)) / 60 for a, b in zip(one, several, strict=True)])


@contextmanager
def _tf32(*, allowed: bool) -> Iterator[None]:
    """Let products and convolutions in float32 be rounded to TF32, or not; PyTorch allows it for convolutions."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
