"""torchvision's classifiers as chains, with random weights and calibrated batch norm."""

from __future__ import annotations

import functools
import importlib.util
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from experiments.support.operators import declare_missing_operators

ROOT = "root"
"""The name of the upper part's first module, at whose output maps are taken."""


@dataclass(frozen=True)
class Choice:
    """A network and the layer its maps are taken at.

    Attributes:
        name: in torchvision.
        title: in tables.
        layer: stride 16 (SqueezeNet: 8), all evidence passes it.
        signed: whether the layer's neurons have both signs.
    """

    name: str
    title: str
    layer: str
    signed: bool = False


CHOICES = (
    Choice("vgg16", "VGG16", "features.23"),
    Choice("googlenet", "GoogLeNet", "maxpool3"),
    Choice("squeezenet1_0", "SqueezeNet 1.0", "features.6"),
    Choice("resnet50", "ResNet-50", "layer3"),
    Choice("mobilenet_v2", "MobileNetV2", "features.13", signed=True),
)


class Pooled(nn.Module):
    """The last pooling and the flattening behind it, which torchvision's networks do by a function, not a module.

    Captum's LRP knows no rule for a module that flattens, and would refuse all of them on that account.
    """

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(image, channel, height, width)` to `(image, features)`."""
        return torch.flatten(self.pool(x), 1)


def chain(name: str) -> nn.Sequential:
    """A network as one chain of modules under their torchvision names, flattening included; batch norm calibrated."""
    if importlib.util.find_spec("torchvision") is None:
        raise SystemExit("torchvision is not installed; `make venv` does it.")
    declare_missing_operators()
    import torchvision

    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **options).eval()
    steps: OrderedDict[str, nn.Module] = OrderedDict()
    for child, module in model.named_children():
        if isinstance(module, nn.Sequential) and child in {"features", "classifier"}:
            if child == "classifier" and name == "mobilenet_v2":
                steps["avgpool"] = Pooled(nn.AdaptiveAvgPool2d(1))
            steps.update((f"{child}.{index}", part) for index, part in module.named_children())
        elif child == "avgpool":
            steps[child] = Pooled(module)
        elif module is not None and not child.startswith("aux"):
            steps[child] = module
    if name == "squeezenet1_0":
        last = next(reversed(steps))
        steps[last] = Pooled(steps[last])
    whole = _sequence(steps)
    _calibrate(whole)
    return whole


def _sequence(steps: OrderedDict[str, nn.Module]) -> nn.Sequential:
    # A module's name holds no dots; names are put back for readers by `split`.
    return nn.Sequential(OrderedDict((name.replace(".", "_"), step) for name, step in steps.items())).eval()


def _calibrate(model: nn.Module) -> None:
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        model(torch.randn(4, 3, 224, 224))
    model.eval()


def split(whole: nn.Sequential, layer: str, *, signed: bool = False) -> tuple[nn.Sequential, nn.Sequential]:
    """The part up to a layer, and the part above it behind a root that changes nothing.

    The root is a ReLU where the layer's neurons are non-negative, so that the engine knows it as in the whole network.
    """
    names = [name for name, _ in whole.named_children()]
    at = names.index(layer.replace(".", "_")) + 1
    steps = list(whole.named_children())
    root: nn.Module = nn.Identity() if signed else nn.ReLU()
    upper = nn.Sequential(OrderedDict([(ROOT, root), *steps[at:]]))
    return nn.Sequential(OrderedDict(steps[:at])).eval(), upper.eval()


@functools.lru_cache(maxsize=1)
def parts_of(choice: Choice, device: torch.device) -> tuple[nn.Sequential, nn.Sequential]:
    """`split` of a network on a device; one is kept, as several measurements follow one another on each."""
    lower, upper = split(chain(choice.name), choice.layer, signed=choice.signed)
    return lower.to(device), upper.to(device)


def features_of(lower: nn.Module, *, batch: int, size: int, device: torch.device) -> torch.Tensor:
    """What the part above the layer takes, for images of noise."""
    torch.manual_seed(0)
    with torch.no_grad():
        return lower(torch.randn(batch, 3, size, size, device=device))  # type: ignore[no-any-return]


def plain_forward(model: nn.Module, images: torch.Tensor) -> None:
    """A forward pass as one makes it to classify."""
    with torch.no_grad():
        model(images)


def plain_gradient(model: nn.Module, images: torch.Tensor, targets: tuple[int, ...] = (1,)) -> None:
    """The derivatives of some class scores by the images, by autograd: one forward pass, one pass down for each."""
    x = images.clone().requires_grad_(True)
    scores = model(x)
    for place, target in enumerate(targets, 1):
        torch.autograd.grad(scores[:, target].sum(), x, retain_graph=place < len(targets))
