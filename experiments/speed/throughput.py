"""Images and maps a second of whole networks, and how long COCO's maps would take: what a GPU is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

import excitation as eb
from experiments.speed.networks import Choice, chain, plain_forward, plain_gradient
from experiments.speed.others import told
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
                with rounded(allowed=tf32):
                    times = take_turns(_work(model, images, choice), turns, device)
            except torch.OutOfMemoryError as error:
                refused[title] = told(error)
            else:
                rows |= {f"{title}: {name}": ratio for name, ratio in _rates(times, batch).items()}
            # Out here, where the exception no longer keeps what did not fit.
            if device.type == "cuda":
                torch.cuda.empty_cache()
    return rows, refused


C_MWP = {"method": "c-mwp"}


def _work(model: nn.Module, images: torch.Tensor, choice: Choice) -> dict[str, Callable[[], object]]:
    several = list(range(1, 1 + TARGETS))
    options = {"layer": choice.layer.replace(".", "_")}
    asked = {"MWP": ([1], {}), "c-MWP": ([1], C_MWP), "several": (several, {}), "several c-MWP": (several, C_MWP)}
    work: dict[str, Callable[[], object]] = {
        "F": lambda: plain_forward(model, images),
        "gradient": lambda: plain_gradient(model, images),
    }
    for name, (targets, contrast) in asked.items():
        work[name] = lambda t=targets, c=contrast: eb.explain(model, images, t, **c, **options)
    if images.device.type == "cuda":
        work["F, captured"] = _replayed(lambda: plain_forward(model, images))
        for name, (targets, contrast) in asked.items():
            call = eb.cuda_graph(model, images, targets, **contrast, **options)
            work[f"{name}, captured"] = lambda call=call: call(images)
    return work


def _replayed(call: Callable[[], object]) -> Callable[[], object]:
    """A call as a CUDA graph."""
    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def _rates(times: Times, batch: int) -> dict[str, Ratio]:
    seconds = times.seconds
    rows: dict[str, Ratio] = {}
    for how in ("", ", captured"):
        if f"MWP{how}" not in seconds:
            continue
        one, several, contrasted = (seconds[f"{name}{how}"] for name in ("MWP", "several", "c-MWP"))
        rows |= {
            f"images a second, forward{how}": spread([batch / s for s in seconds[f"F{how}"]]),
            f"MWP maps a second, one an image{how}": spread([batch / s for s in one]),
            f"MWP maps a second, {TARGETS} an image{how}": spread([TARGETS * batch / s for s in several]),
            f"c-MWP maps a second, one an image{how}": spread([batch / s for s in contrasted]),
            f"MWP / F{how}": times.ratio(f"MWP{how}", f"F{how}"),
            f"c-MWP / MWP{how}": times.ratio(f"c-MWP{how}", f"MWP{how}"),
            f"COCO's MWP maps, minutes{how}": _coco(one, several, batch),
            f"COCO's c-MWP maps, minutes{how}": _coco(contrasted, seconds[f"several c-MWP{how}"], batch),
        }
    rows |= {
        "gradient / F": times.ratio("gradient", "F"),
        "MWP / gradient": times.ratio("MWP", "gradient"),
    }
    if "MWP, captured" in seconds:
        rows["MWP, captured / gradient"] = times.ratio("MWP, captured", "gradient")
    return rows


def _coco(one: list[float], several: list[float], batch: int) -> Ratio:
    """Minutes for all maps: a first one for each image, and what a further one costs for all others."""
    calls = IMAGES / batch
    further = (MAPS / IMAGES - 1) / (TARGETS - 1)
    # Where noise makes a call with more maps the quicker one, further maps cost nothing, and not less than that.
    return spread([calls * (a + further * max(b - a, 0.0)) / 60 for a, b in zip(one, several, strict=True)])


@contextmanager
def rounded(*, allowed: bool) -> Iterator[None]:
    """Let products and convolutions in float32 be rounded to TF32, or not; PyTorch allows it for convolutions."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
