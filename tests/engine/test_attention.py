"""Attention: one map for all spellings, mixed heads, and the dense chain of Eq. 4."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb

IMAGES, PLACES, HEADS, WIDTH = 3, 6, 4, 8


class Block(nn.Module):
    """Patches, attention in one of several spellings, and a classifier of all tokens."""

    def __init__(self, spelling, *, mixed=False, bias=True, classes=3):
        super().__init__()
        torch.manual_seed(2)
        self.embed = nn.Conv2d(2, WIDTH, 2, 2)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.mix = nn.Linear(HEADS, HEADS) if mixed else None
        self.bias = nn.Parameter(torch.randn(HEADS, PLACES, PLACES)) if bias else None
        self.out, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, classes)
        self.spelling = spelling
        self.double().eval()

    def forward(self, x):
        y = self.embed(x).flatten(2).mT
        q, k, v = self.qkv(y).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        z = SPELLINGS[self.spelling](self, q, k, v)
        y = y + self.out(z.transpose(1, 2).flatten(2))
        return self.head(y.mean(1))


def weights_of(block, q, k):
    z = (q @ k.mT) * q.shape[-1] ** -0.5
    z = z if block.bias is None else z + block.bias
    return mixed_heads(block, z.softmax(-1))


def mixed_heads(block, a):
    return a if block.mix is None else block.mix(a.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def by_bmm(block, q, k, v):
    a = weights_of(block, q, k)
    return torch.bmm(a.flatten(0, 1), v.flatten(0, 1)).unflatten(0, (-1, HEADS))


def by_cosine(block, q, k, v):
    a = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * 3 + block.bias).softmax(-1)
    return mixed_heads(block, a) @ v


SPELLINGS = {
    "matmul": lambda block, q, k, v: weights_of(block, q, k) @ v,
    "bmm": by_bmm,
    "einsum": lambda block, q, k, v: torch.einsum("bhij,bhjd->bhid", weights_of(block, q, k), v),
    "einsum of queries": lambda block, q, k, v: torch.einsum(
        "bhij,bhjd->bhid",
        mixed_heads(block, (torch.einsum("bhid,bhjd->bhij", q / q.shape[-1] ** 0.5, k) + block.bias).softmax(-1)),
        v,
    ),
    "sum of products": lambda block, q, k, v: (weights_of(block, q, k)[..., None] * v[:, :, None]).sum(3),
    "fused": lambda block, q, k, v: F.scaled_dot_product_attention(q, k, v, block.bias),
    "cosine": by_cosine,
}


def pictures(seed=0):
    return torch.randn(IMAGES, 2, 4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def chain_of(block, x, prior):
    """The map at the patches by the dense transition probabilities of Eq. 4 between rectified neurons."""
    maps = []
    for image in x[:, None]:
        y = block.embed(image).flatten(2).mT
        q, k, v = block.qkv(y).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        a = (q @ k.mT) * q.shape[-1] ** -0.5
        a = mixed_heads(block, (a + block.bias).softmax(-1))[0]
        eye = torch.eye(WIDTH // HEADS, dtype=torch.float64)
        # (token, channel) x (token, channel), with the channels head by head
        mixing = torch.einsum("hij,de,hg->ihdjge", a, eye, torch.eye(HEADS).double()).reshape(PLACES * WIDTH, -1)
        one = torch.eye(PLACES, dtype=torch.float64)
        value = torch.kron(one, block.qkv.weight[2 * WIDTH :])
        out = torch.kron(one, block.out.weight)
        pool = torch.kron(torch.full((1, PLACES), 1 / PLACES).double(), torch.eye(WIDTH).double())
        flat = y[0].flatten()
        v_flat = v[0].transpose(0, 1).flatten()
        z_flat = mixing @ v_flat
        branch = out @ z_flat + block.out.bias.repeat(PLACES)
        p = share(block.head.weight, pool @ (flat + branch), split(prior))
        # A mean of sums is one sum of all their terms.
        both = share(torch.cat([pool, pool], 1), torch.cat([flat, branch]), p)
        own, above = zip(*(part.split(len(flat)) for part in both), strict=True)
        above = share(out, z_flat, above)
        above = share(mixing, v_flat, above)
        above = share(value, flat, above)
        maps.append(sum(own) + sum(above))
    return torch.stack(maps).reshape(len(x), PLACES, WIDTH).sum(2).reshape(len(x), 2, 3)


def split(p):
    return p, torch.zeros_like(p)


def share(w, x, p):
    """Eq. 4 between neurons that are two rectified ones each: raised and lowered."""
    more, less = w.clamp(min=0), (-w).clamp(min=0)
    up, down = x.clamp(min=0), (-x).clamp(min=0)
    dense = torch.cat([torch.cat([more, less], 1), torch.cat([less, more], 1)])
    inputs = torch.cat([up, down])
    joint = dense * inputs
    normaliser = joint.sum(1, keepdim=True)
    transitions = torch.where(normaliser > 0, joint / torch.where(normaliser > 0, normaliser, 1), 0)
    found = torch.cat(p) @ transitions
    return found[: len(x)], found[len(x) :]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("spelling", ["matmul", "bmm", "einsum", "einsum of queries", "fused"])
def test_maps_are_those_of_the_dense_chain(spelling, mixed):
    if mixed and spelling == "fused":
        pytest.skip("fused attention mixes no heads")
    block, x = Block(spelling, mixed=mixed), pictures()
    found = eb.explain(block, x, [0, 2], layer="embed", policies=eb.Policies())
    for place, target in enumerate((0, 2)):
        prior = torch.zeros(3).double()
        prior[target] = 1
        with torch.no_grad():
            truth = chain_of(block, x, prior)
        assert torch.allclose(found.maps[:, place], truth, atol=1e-10)


@pytest.mark.parametrize("method", ["mwp", "c-mwp", "r-mwp"])
@pytest.mark.parametrize("mixed", [False, True])
def test_spellings_have_one_map(method, mixed):
    x, signal = pictures(), torch.tensor([0.2, 0.3, 0.5]).double()
    names = ["matmul", "bmm", "einsum", "einsum of queries"] + ([] if mixed else ["fused", "sum of products"])
    maps = [eb.explain(Block(n, mixed=mixed), x, [1, signal], layer="embed", method=method).maps for n in names]
    for found in maps[1:]:
        assert torch.allclose(found, maps[0], atol=1e-10)
    assert float(maps[0].abs().sum()) > 0
    if method == "mwp":
        assert float(maps[0].min()) >= 0


@pytest.mark.parametrize("spelling", ["matmul", "fused", "cosine"])
def test_mass_balances_and_rules_are_linear(spelling):
    x = pictures(1)
    for mixed in (False, True):
        if mixed and spelling == "fused":
            continue
        block = Block(spelling, mixed=mixed)
        found = eb.balance(block, x, [0, 1], layer="input")
        assert float(found.residue.abs().max()) < 1e-12
        assert torch.allclose(found.arrived + found.lost, torch.ones(IMAGES, 2).double(), atol=1e-12)
        unit = torch.eye(3).double()
        maps = eb.explain(block, x, [unit[0], unit[2], 0.25 * unit[0] + 0.75 * unit[2]], layer="input").maps
        assert torch.allclose(maps[:, 2], 0.25 * maps[:, 0] + 0.75 * maps[:, 1], atol=1e-13)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("strategy", ["classes", "positions", "features"])
def test_all_classes_agree_with_single_maps(mixed, strategy):
    x = pictures(2)
    for spelling in ("matmul",) if mixed else ("matmul", "fused"):
        block = Block(spelling, mixed=mixed)
        every = eb.all_classes(block, x, layer="embed", method="c-mwp", strategy=strategy)
        single = eb.explain(block, x, [0, 1, 2], layer="embed").maps
        assert torch.allclose(every.classes, single, atol=1e-10)
        contrast = eb.explain(block, x, [0, 1, 2], layer="embed", method="c-mwp", signed=True).maps
        assert torch.allclose(every.contrasts, contrast, atol=1e-10)


def test_images_of_a_batch_are_explained_one_by_one():
    x = pictures(3)
    for spelling, mixed in (("fused", False), ("matmul", True)):
        block = Block(spelling, mixed=mixed)
        together = eb.explain(block, x, [1], layer="input").maps
        alone = torch.cat([eb.explain(block, x[i : i + 1], [1], layer="input").maps for i in range(IMAGES)])
        assert torch.allclose(together, alone, atol=1e-12)


@pytest.mark.parametrize("spelling", ["matmul", "fused"])
def test_half_precision_is_near(spelling):
    x = pictures()
    block = Block(spelling)
    exact = eb.explain(block, x, [0], layer="embed").maps
    for dtype, error in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        found = eb.explain(block.to(dtype), x.to(dtype), [0], layer="embed").maps
        assert torch.allclose(found.double(), exact, atol=error)
        assert torch.allclose(found.double().sum((2, 3)), torch.ones(3, 1).double(), atol=1e-2)


def test_no_rule_stores_a_matrix_of_all_pairs_of_tokens():
    """Fused attention: nothing that the sweep makes has the size of the attention weights."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from excitation.engine import ExcitationRules
    from excitation.engine._recorder import Recorder
    from excitation.engine.policies import Policies

    class Sizes(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            for item in result if isinstance(result, tuple) else (result,):
                if isinstance(item, torch.Tensor):
                    self.largest = max(self.largest, item.numel())
            return result

    class Values(nn.Module):
        def forward(self, x):
            q = x.flatten(2).mT.contiguous()[:, None]
            return F.scaled_dot_product_attention(q, q, q).flatten(1)

    x = torch.randn(1, 16, 16, 16).abs()
    record = Recorder(Values().eval()).run(x, lambda y: y)
    entry = next(entry for entry in record.entries if entry.name == "scaled_dot_product_attention")
    with Sizes() as sizes, torch.no_grad():
        ExcitationRules(Policies())(entry, [torch.ones(1, 2, *entry.outputs[0].shape)])
    assert 0 < sizes.largest <= 4 * 256 * 16 < 256 * 256


def test_mixing_over_the_keys_of_other_tensors_stays_refused():
    """A linear layer of softmax weights is attention only where it weights what the softmax was taken over."""

    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(PLACES, PLACES)

        def forward(self, x):
            y = x.flatten(2).mT[:, :PLACES]
            a = (y @ y.mT).softmax(-1)
            return (self.fc(a) @ y).flatten(1)

    with pytest.raises(eb.UnsupportedOperationError, match="neither of them a gate"):
        eb.explain(Other().double().eval(), pictures(), [0], layer="input")


@pytest.mark.parametrize("options", [{"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 8, "vdim": 8}, {}])
@pytest.mark.parametrize("masks", ["none", "attention", "padding", "both"])
@pytest.mark.parametrize("need_weights", [False, True])
def test_multi_head_attention_in_all_its_forms(options, masks, need_weights):
    """The parts have the network's own numbers, and all mass is accounted for."""

    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.MultiheadAttention(8, 2, batch_first=True, **options)
            for parameter in self.a.parameters():
                nn.init.normal_(parameter, std=0.5)
            self.head = nn.Linear(8, 3)
            self.register_buffer("hidden", torch.ones(4, 4).triu(1).bool())
            self.register_buffer("padded", torch.tensor([[False, False, True, False]]))

        def forward(self, x):
            y = x[:, 0]
            given = {
                "attn_mask": self.hidden if masks in {"attention", "both"} else None,
                "key_padding_mask": self.padded.expand(len(x), -1) if masks in {"padding", "both"} else None,
            }
            return self.head(self.a(y, y, y, need_weights=need_weights, **given)[0][:, -1])

    model = Heads().double().eval()
    x = torch.randn(2, 1, 4, 8).double()
    assert eb.verify(model, x).reason == ""
    found = eb.balance(model, x, [1], layer="input")
    assert torch.allclose(found.arrived + found.lost, torch.ones(2, 1).double(), atol=1e-12)
    if not options:
        assert torch.allclose(found.arrived, torch.ones(2, 1).double(), atol=1e-12)


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_fast_path_of_encoder_layers_is_recorded_as_the_slow_one(norm_first):
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
            self.layers, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.layers(x[:, 0]).mean(1))

    model, x = Encoder().double().eval(), torch.randn(2, 1, 5, 8).double()
    with torch.no_grad():
        found = eb.explain(model, x, [0], layer="input")
        assert torch.allclose(found.scores, model(x)[:, :1], atol=1e-12)
        assert eb.verify(model, x).reason == ""
    assert torch.allclose(found.maps.sum((2, 3)), torch.ones(2, 1).double(), atol=1e-9)
