"""Random transformers, and those of torchvision and timm: mass, places, and what the record holds."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import excitation as eb

NORMS = {"layer": nn.LayerNorm, "rms": nn.RMSNorm}
GATES = {"gelu": F.gelu, "silu": F.silu, "quick": lambda x: x * torch.sigmoid(1.702 * x), "relu": F.relu}


class Layer(nn.Module):
    def __init__(self, width, heads, norm, gate, fused, layer_scale):
        super().__init__()
        self.norm1, self.norm2 = NORMS[norm](width), NORMS[norm](width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.scale = nn.Parameter(torch.randn(width)) if layer_scale else None
        self.heads, self.gate, self.fused = heads, GATES[gate], fused

    def scaled(self, x):
        return x if self.scale is None else x * self.scale

    def forward(self, x):
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
        x = x + self.scaled(self.out(y.transpose(1, 2).flatten(2)))
        return x + self.scaled(self.down(self.gate(self.up(self.norm2(x)))))


class Transformer(nn.Module):
    def __init__(self, rows, columns, before, behind, depth, norm, gate, fused, layer_scale, pooled):
        super().__init__()
        width = 8
        self.patches = nn.Conv2d(3, width, 2, 2)
        self.before, self.behind = (nn.Parameter(torch.randn(1, count, width)) for count in (before, behind))
        self.positions = nn.Parameter(torch.randn(1, before + rows * columns + behind, width))
        self.layers = nn.Sequential(*(Layer(width, 2, norm, gate, fused, layer_scale) for _ in range(depth)))
        self.norm, self.head, self.pooled = NORMS[norm](width), nn.Linear(width, 3), pooled

    def forward(self, x):
        y = self.patches(x).flatten(2).mT
        sides = [side.expand(len(x), -1, -1) for side in (self.before, self.behind)]
        y = self.layers(torch.cat([sides[0], y, sides[1]], 1) + self.positions)
        return self.head(self.norm(y.mean(1) if self.pooled else y[:, 0]))


@settings(deadline=None, max_examples=12, derandomize=True)
@given(
    seed=st.integers(0, 999), rows=st.integers(2, 3), columns=st.integers(2, 4), before=st.integers(0, 2),
    behind=st.integers(0, 2), depth=st.integers(1, 2), norm=st.sampled_from(sorted(NORMS)),
    gate=st.sampled_from(sorted(GATES)), layer_scale=st.booleans(), pooled=st.booleans(),
)  # fmt: skip
def test_random_transformers(seed, rows, columns, before, behind, depth, norm, gate, layer_scale, pooled):
    """Mass adds up at every cut, nothing is negative, maps are linear, and both spellings of attention agree."""
    x = torch.randn(2, 3, 2 * rows, 2 * columns, generator=torch.Generator().manual_seed(seed)).double()
    unit, found = torch.eye(3).double(), []
    for fused in (True, False):
        torch.manual_seed(seed)
        model = Transformer(rows, columns, before, behind, depth, norm, gate, fused, layer_scale, pooled)
        model.double().eval()
        for layer in ("layers.0", "patches"):
            account = eb.balance(model, x, [0, 2], layer=layer)
            whole = account.arrived + account.tokens + account.lost
            assert torch.allclose(whole, torch.ones(2, 2).double(), atol=1e-11)
            assert float(account.arrived.min()) >= 0
            assert float(account.tokens.min()) >= -1e-12
            if before + behind == 0:
                assert float(account.tokens.abs().max()) < 1e-12
        signals = [unit[0], unit[2], 0.3 * unit[0] + 0.7 * unit[2]]
        maps = eb.explain(model, x, signals, layer="layers.0").maps
        assert maps.shape == (2, 3, rows, columns)
        assert float(maps.min()) >= 0
        assert torch.allclose(maps[:, 2], 0.3 * maps[:, 0] + 0.7 * maps[:, 1], atol=1e-12)
        found.append(maps)
    assert torch.allclose(*found, atol=1e-10)


TIMM = {
    "vit_tiny_patch16_224": {"img_size": (32, 48)},
    "deit_tiny_distilled_patch16_224": {"img_size": (32, 48)},
    "cait_xxs24_224": {"img_size": (32, 48), "depth": 2},
    "vit_small_patch16_dinov3": {"img_size": (32, 48), "depth": 2},
    "eva02_tiny_patch14_224": {"img_size": (28, 42), "depth": 2},
    "beit_base_patch16_224": {"img_size": (32, 48), "depth": 2},
}


@pytest.mark.parametrize("name", TIMM)
def test_transformers_of_timm(name):
    timm = pytest.importorskip("timm", reason="timm is not installed", exc_type=ImportError)
    options = {"depth": 3, **TIMM[name]}
    model = timm.create_model(name, pretrained=False, num_classes=5, **options).eval()
    x = torch.randn(2, 3, *options["img_size"])
    policies = eb.Policies(product="halves" if name.startswith("eva") else "refuse")
    account = eb.balance(model, x, [1], layer="blocks.1", policies=policies)
    assert torch.allclose(account.arrived + account.tokens + account.lost, torch.ones(2, 1).double(), atol=1e-5)
    assert eb.explain(model, x, [1], layer="blocks.1", policies=policies).maps.shape == (2, 1, 2, 3)
    pixels = eb.balance(model, x, [1], layer="input", policies=policies)
    assert torch.allclose(pixels.arrived + pixels.lost, torch.ones(2, 1).double(), atol=1e-5)
    assert torch.allclose(pixels.lost, sum(pixels.constants.values()), atol=1e-5)


@pytest.mark.parametrize("name", ["vit_b_32", "swin_t", "swin_v2_t"])
def test_transformers_of_torchvision(name):
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed", exc_type=ImportError)
    torch.manual_seed(0)
    model = models.get_model(name, num_classes=5, **({"image_size": 64} if name.startswith("vit") else {})).eval()
    if name.startswith("vit"):
        nn.init.normal_(model.heads.head.weight, std=0.02)  # torchvision's are zero
    x = torch.randn(1, 3, 64, 64)
    result = eb.explain(model, x, [1])
    assert result.maps.dim() == 4
    assert float(result.share[result.layer].min()) > 0.9
    account = eb.balance(model, x, [1], layer="encoder.layers.encoder_layer_5" if name.startswith("vit") else None)
    assert torch.allclose(account.arrived + account.tokens + account.lost, torch.ones(1, 1).double(), atol=1e-5)
    if name.startswith("vit"):
        assert 0 < float(account.arrived) < 1
