"""The networks of the support table: which, at what size, and how they are made ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .other_networks import Draw, build_other, other_kinds

CLASSES = 20
SIZE = 64

TIMM = {
    "byobnet": ("gernet_s", "mobileone_s0", "mobileone_s1", "repvgg_a0", "regnetz_b16", "eca_resnext26ts",
                "gcresnet33ts", "bat_resnext26ts"),
    "convmixer": ("convmixer_768_32",),
    "convnext": ("convnext_atto", "convnext_atto_rms", "convnextv2_atto"),
    "cspnet": ("cs3darknet_focus_s", "cspresnet50"),
    "cspnext": ("cspnext_tiny",),
    "densenet": ("densenet121",),
    "dla": ("dla34",),
    "dpn": ("dpn48b",),
    "efficientnet": ("efficientnet_b0", "efficientnet_b0_gn", "tf_efficientnet_b0", "efficientnetv2_rw_t", "mixnet_s",
                     "mnasnet_050", "semnasnet_075", "fbnetc_100", "tinynet_e", "mobilenetv2_050", "mobilenetv1_100h"),
    "fasternet": ("fasternet_t0",),
    "fastvit": ("fastvit_t8",),
    "focalnet": ("focalnet_tiny_srf",),
    "ghostnet": ("ghostnet_050", "ghostnetv2_100", "ghostnetv3_050"),
    "hardcorenas": ("hardcorenas_a",),
    "hgnet": ("hgnet_tiny", "hgnetv2_b0"),
    "hrnet": ("hrnet_w18_small",),
    "inception_next": ("inception_next_atto",),
    "inception_resnet_v2": ("inception_resnet_v2",),
    "inception_v3": ("inception_v3",),
    "inception_v4": ("inception_v4",),
    "levit": ("levit_128s",),
    "lcnetv2": ("lcnetv2_small",),
    "mambaout": ("mambaout_femto",),
    "metaformer": ("poolformer_s12", "poolformerv2_s12", "convformer_s18"),
    "mobilenetv3": ("mobilenetv3_small_050", "lcnet_035", "fbnetv3_b", "mobilenetv4_conv_small"),
    "nasnet": ("nasnetalarge",),
    "nfnet": ("eca_nfnet_l0", "nf_resnet26", "nf_regnet_b0"),
    "pnasnet": ("pnasnet5large",),
    "rdnet": ("rdnet_tiny",),
    "regnet": ("regnetx_002", "regnety_002"),
    "repghost": ("repghostnet_050",),
    "repvit": ("repvit_m0_9",),
    "res2net": ("res2net50_26w_4s",),
    "resnest": ("resnest14d",),
    "resnet": ("resnet10t", "ecaresnet26t", "seresnet18"),
    "resnetv2": ("resnetv2_50", "resnetv2_50x1_bit"),
    "rexnet": ("rexnet_100",),
    "selecsls": ("selecsls42",),
    "senet": ("legacy_seresnet18",),
    "sknet": ("skresnet18",),
    "starnet": ("starnet_s1",),
    "tresnet": ("tresnet_m",),
    "vgg": ("vgg11", "vgg11_bn"),
    "vovnet": ("ese_vovnet19b_slim",),
    "xception": ("legacy_xception",),
    "xception_aligned": ("xception41",),
    "beit": ("beit_base_patch16_224",),
    "cait": ("cait_xxs24_224",),
    "deit": ("deit_tiny_distilled_patch16_224",),
    "eva": ("eva02_tiny_patch14_224", "vit_small_patch16_dinov3"),
    "swin_transformer": ("swin_tiny_patch4_window7_224",),
    "swin_transformer_v2": ("swinv2_tiny_window8_256",),
    "vision_transformer": ("vit_tiny_patch16_224",),
    "xcit": ("xcit_nano_12_p16_224",),
}  # fmt: skip
"""By timm's module: one network of every convolutional family, more where a family changes its operations, and of some
families built around attention. Those built around state spaces are left out."""

SIZES = {"inception_v3": 96, "inception_v4": 96, "inception_resnet_v2": 96, "nasnetalarge": 96, "pnasnet5large": 96,
         "beit_base_patch16_224": 224, "cait_xxs24_224": 224, "deit_tiny_distilled_patch16_224": 224,
         "eva02_tiny_patch14_224": 224, "swin_tiny_patch4_window7_224": 224, "swinv2_tiny_window8_256": 256,
         "vit_tiny_patch16_224": 224, "vit_small_patch16_dinov3": 256, "xcit_nano_12_p16_224": 224,
         "bat_resnext26ts": 256, "legacy_xception": 96, "maxvit_t": 224, "levit_128s": 224, "vit_h_14": 56}  # fmt: skip
"""Height and width in pixels where `SIZE` is too small for a network or not a multiple of its patches."""

OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}
"""For torchvision's builders: without auxiliary heads, and without their slow initialisation."""

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Candidate:
    """A network of the table.

    Attributes:
        source: `"torchvision"`, `"timm"`, or `"excitation"`, which builds it for this table.
        family: timm's module; empty for others.
        name: as the source calls it.
        kind: `"classifier"` of pictures, `"segmentation"`, `"video"`, `"audio"`, `"detection"`, `"several inputs"`.
    """

    source: str
    family: str
    name: str
    kind: str = "classifier"

    @property
    def size(self) -> int:
        """Height and width of its pictures, in pixels."""
        return SIZES.get(self.name, SIZE)


def candidates() -> list[Candidate]:
    """All networks of the table: torchvision's classifiers, timm's convolutional families, then other kinds."""
    from torchvision import models

    everyone = [Candidate("torchvision", "", name) for name in models.list_models(module=models)]
    everyone += [Candidate("timm", family, name) for family, names in TIMM.items() for name in names]
    return everyone + [Candidate(source, "", name, kind) for source, kind, name in other_kinds()]


def build(candidate: Candidate, seed: int = 0) -> tuple[nn.Module, Any, Any]:
    """A network with random weights and calibrated batch norms, and pictures for it.

    Args:
        candidate: which.
        seed: of the weights and of all pictures.

    Returns:
        The network in evaluation mode, a random image as it takes them, and which of its outputs is asked for.
    """
    torch.manual_seed(seed)
    if candidate.kind != "classifier":
        model, draw, output = build_other(candidate.kind, candidate.name, CLASSES)
        calibrate(model, draw, batch=2 if candidate.kind == "video" else 8)
        return model.eval(), draw(1), output
    if candidate.source == "torchvision":
        from torchvision import models

        options = dict(OPTIONS.get(candidate.name, {}))
        if candidate.name.startswith("vit_"):
            options["image_size"] = candidate.size
        model = models.get_model(candidate.name, weights=None, num_classes=CLASSES, **options)
        if candidate.name.startswith("vit_"):
            nn.init.normal_(model.heads.head.weight, std=0.02)  # torchvision's are zero: no class has a winner
    else:
        import timm

        model = timm.create_model(candidate.name, pretrained=False, num_classes=CLASSES)
    size = candidate.size
    calibrate(model, lambda count: torch.randn(count, 3, size, size))
    return model.eval(), torch.randn(1, 3, size, size), None


def calibrate(model: nn.Module, draw: Draw, batches: int = 2, batch: int = 8) -> None:
    """Give batch norms scales of both signs, and the statistics of random pictures.

    Freshly built ones are the identity, and some networks start their residual branches at zero: nothing would pass
    through half of the rules.
    """
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
    for norm in norms:
        with torch.no_grad():
            if norm.affine:
                norm.weight.uniform_(0.5, 1.5)
                norm.weight[::7].neg_()
                norm.bias.uniform_(-0.2, 0.2)
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    if norms:
        with torch.no_grad():
            for _ in range(batches):
                images = draw(batch)
                model(*images) if isinstance(images, tuple) else model(images)
    model.eval()
