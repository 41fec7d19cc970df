"""Products of activations with constants and gates: every spelling against a dense matrix, images and targets apart."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import excitation as eb


def seeded(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Function(nn.Module):
    """A function of `(image, row, column)` with constants, as a network on one channel."""

    def __init__(self, function, *constants):
        super().__init__()
        self.function = function
        for place, constant in enumerate(constants):
            self.register_buffer(f"c{place}", constant)
        self.count = len(constants)

    def forward(self, x):
        return self.function(x[:, 0], *(getattr(self, f"c{place}") for place in range(self.count))).flatten(1)


def polar(jacobian, x, p):
    """Eq. 4 between rectified neurons by a dense matrix `(output, input)`."""
    up, down = x.clamp(min=0), (-x).clamp(min=0)
    more, less = jacobian.clamp(min=0), (-jacobian).clamp(min=0)
    z = more @ up + less @ down
    q = torch.where(z > 0, p / torch.where(z > 0, z, 1), 0)
    return up * (more.T @ q) + down * (less.T @ q)


def check(function, *constants, shape=(4, 5), images=3, signed=True, seed=3):
    """The engine against the dense matrix of each image's own linear part, for two targets."""
    model = Function(function, *constants).eval()
    x = seeded(images, 1, *shape, seed=seed)
    x = x if signed else x.abs()
    outputs = model(x).shape[1]
    signals = seeded(2, outputs, seed=5).abs()
    found = eb.explain(model, x, list(signals), layer="input").maps
    for i in range(images):
        jacobian = torch.autograd.functional.jacobian(
            lambda y, i=i: model(torch.cat([x[:i], y[None], x[i + 1 :]]))[i], x[i]
        )
        jacobian = jacobian.reshape(outputs, -1)
        for t, p in enumerate(signals):
            truth = polar(jacobian, x[i].flatten(), p).reshape(shape)
            assert torch.allclose(found[i, t], truth, atol=1e-11), (i, t)
    assert float(found.abs().sum()) > 0
    return found


W, V = seeded(6, 5), seeded(6, 4, seed=1)
CONSTANT = {
    "einsum": (lambda x, w: torch.einsum("brc,kc->brk", x, w), W),
    "einsum over rows": (lambda x, v: torch.einsum("brc,kr->bkc", x, v), V),
    "einsum over both": (lambda x, v, w: torch.einsum("brc,krc->bk", x, v[:, :, None] * w[:, None]), V, W),
    "einsum of three": (lambda x, v, w: torch.einsum("kr,brc,kc->bk", v, x, w), V, W),
    "einsum implicit": (lambda x, w: torch.einsum("brc,kc", x, w), W),
    "einsum with dots": (lambda x, w: torch.einsum("...c,kc->...k", x, w), W),
    "einsum, axes lost": (lambda x, w: torch.einsum("brc,kc->bk", x, w), W),
    "einsum, weights' axis lost": (lambda x, w: torch.einsum("brc,kc->br", x, w), W),
    "einsum, images last": (lambda x, w: torch.einsum("brc,kc->krb", x, w).permute(2, 0, 1), W),
    "einsum of one": (lambda x: torch.einsum("brc->bc", x),),
    "linear": (F.linear, W),
    "matmul": (lambda x, w: x @ w.T, W),
    "matmul left": (lambda x, v: v @ x, V),
    "matmul batched": (lambda x, w: x @ w, seeded(3, 5, 6)),
    "matmul of more dimensions": (lambda x, w: x[:, None] @ w, seeded(2, 5, 6)),
    "matmul, one for all": (lambda x, w: x @ w, seeded(1, 5, 6)),
    "matmul by a vector": (lambda x, w: x @ w, seeded(5)),
    "vector from the left": (lambda x, v: v @ x, seeded(4)),
    "bmm": (torch.bmm, seeded(3, 5, 6)),
    "bmm left": (lambda x, w: torch.bmm(w, x), seeded(3, 6, 4)),
    "baddbmm": (lambda x, w: torch.baddbmm(torch.ones(3, 4, 6).double(), x, w, alpha=-2), seeded(3, 5, 6)),
    "mm": (lambda x, w: torch.mm(x.flatten(1), w), seeded(20, 6)),
    "mm left": (lambda x, w: torch.mm(w, x.flatten(1).T).T, seeded(6, 20)),
    "addmm": (lambda x, w: torch.addmm(torch.ones(6).double(), x.flatten(1), w, beta=3, alpha=-1), seeded(20, 6)),
    "mv": (lambda x, w: torch.mv(x.flatten(1), w)[:, None], seeded(20)),
    "inner": (torch.inner, W),
    "tensordot": (lambda x, w: torch.tensordot(x, w, ([1, 2], [1, 0])), seeded(5, 4, 3)),
    "tensordot by number": (lambda x, w: torch.tensordot(x, w, 1), seeded(5, 3)),
    "vecdot": (lambda x, w: torch.linalg.vecdot(x, w, dim=1), seeded(4, 1)),
    "bilinear": (lambda x, o, w: F.bilinear(x, o.expand(3, 4, -1), w), seeded(3), seeded(6, 5, 3)),
    "bilinear, sides exchanged": (lambda x, o, w: F.bilinear(o, x, w), seeded(3, 4, 3), seeded(6, 3, 5)),
}  # fmt: skip


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("case", CONSTANT)
def test_products_with_constants(case, signed):
    check(*CONSTANT[case], signed=signed)


def assert_same(first, second, *constants, shape=(4, 5), **options):
    """Two spellings of one function give one map."""
    x = seeded(3, 1, *shape, seed=3)
    a, b = (Function(f, *constants).eval() for f in (first, second))
    assert torch.allclose(a(x), b(x), atol=1e-12)
    signals = list(seeded(2, a(x).shape[1], seed=5).abs())
    left, right = (eb.explain(model, x, signals, layer="input", **options).maps for model in (a, b))
    assert torch.allclose(left, right, atol=1e-10)
    assert float(left.abs().sum()) > 0.1
    return left


def test_a_chain_of_matrices_is_its_products():
    assert_same(lambda x, w, v: torch.linalg.multi_dot([x.flatten(1), w, v]), lambda x, w, v: x.flatten(1) @ w @ v,
         seeded(20, 6), seeded(6, 4))  # fmt: skip
    assert_same(lambda x, w: torch.addmm(x.flatten(1), x.flatten(1), w), lambda x, w: x.flatten(1) + x.flatten(1) @ w,
         seeded(20, 20))  # fmt: skip


@pytest.mark.parametrize(
    "write",
    [lambda x, w: (x[:, None] * w).sum(3).flatten(1), lambda x, w: torch.einsum("brc,orc->bor", x, w),
     lambda x, w: torch.linalg.vecdot(x[:, None], w)],
)  # fmt: skip
def test_a_product_that_is_summed_is_the_linear_form(write):
    """Scaling swaps polarities where a weight is negative; the sum then shares what Eq. 4 shares."""

    def linear(x, w):
        return torch.stack([torch.stack([x[:, r] @ w[o, r] for r in range(4)], 1) for o in range(2)], 1)

    model, other = (Function(f, seeded(2, 4, 5)).eval() for f in (write, linear))
    x, signals = seeded(3, 1, 4, 5, seed=3), list(seeded(2, 8, seed=5).abs())
    found = [eb.explain(m, x, signals, layer="input").maps for m in (model, other)]
    assert torch.allclose(*found, atol=1e-10)


ELEMENTWISE = {
    "scaling": (lambda x, w: torch.einsum("brc,rc->brc", x, w), lambda x, w: x * w),
    "turned": (lambda x, w: torch.einsum("brc,rc->bcr", x, w), lambda x, w: (x * w).mT),
    "repeated": (lambda x, w: torch.einsum("brc,kc->bkrc", x, w), lambda x, w: x[:, None] * w[:, None]),
}


@pytest.mark.parametrize("case", ELEMENTWISE)
def test_an_einsum_without_a_sum_is_a_scaling(case):
    found = assert_same(*ELEMENTWISE[case], seeded(4, 5))
    count = ELEMENTWISE[case][1](seeded(3, 4, 5), seeded(4, 5))[0].numel()
    assert torch.allclose(found.sum((2, 3)), seeded(2, count, seed=5).abs().sum(1).expand(3, -1))


# Gates ---------------------------------------------------------------------------------------------------------------


def pooled(how):
    def function(x, w):
        gate = (x @ w).softmax(1)  # (image, row, query)
        return how(gate, x)

    return function


GATED = {
    "bmm": lambda g, x: torch.bmm(g.mT, x),
    "matmul": lambda g, x: g.mT @ x,
    "einsum": lambda g, x: torch.einsum("brk,brc->bkc", g, x),
    "matmul, gate to the right": lambda g, x: (x.mT @ g).mT,
    "heads": lambda g, x: torch.stack([(g[:, None, :, k, None] * x[:, None]).sum(2)[:, 0] for k in range(2)], 1),
}


@pytest.mark.parametrize("case", GATED)
def test_sums_weighted_by_gates(case):
    assert_same(pooled(GATED[case]), pooled(lambda g, x: (g[..., None] * x[:, :, None]).sum(1)), seeded(5, 2))


def test_gates_keep_all_mass_if_it_is_spread():
    model = Function(pooled(GATED["bmm"]), seeded(5, 2)).eval()
    signal = seeded(10, seed=5).abs()
    found = eb.explain(
        model, -seeded(3, 1, 4, 5).abs(), [signal], layer="input", policies=eb.Policies(normaliser="spread")
    ).maps
    assert torch.allclose(found.sum((1, 2, 3)), signal.sum().expand(3))


def plain_attention(q, k, v):
    return ((q @ k.mT) * q.shape[-1] ** -0.5).softmax(-1) @ v


def truth_of_attention(x, w, p):
    """`P(j, d | i, d) = A_ij v_jd / sum A_ik v_kd` between rectified values, then Eq. 4 through their projection."""
    q, k, v = (x @ part for part in w)
    a = ((q @ k.mT) * q.shape[-1] ** -0.5).softmax(-1)
    parts = []
    for sign, share in ((1, p), (-1, None)):
        rect = (sign * v).clamp(min=0)
        if share is None:
            parts.append(torch.zeros_like(rect))
            continue
        z = a @ rect
        parts.append(rect * (a.mT @ torch.where(z > 0, share / torch.where(z > 0, z, 1), 0)))
    raised, wv = parts[0], w[2]
    up, down = x.clamp(min=0), (-x).clamp(min=0)
    z = up @ wv.clamp(min=0) + down @ (-wv).clamp(min=0)
    q = torch.where(z > 0, raised / torch.where(z > 0, z, 1), 0)
    return up * (q @ wv.clamp(min=0).T) + down * (q @ (-wv).clamp(min=0).T)


@pytest.mark.parametrize("form", [plain_attention, F.scaled_dot_product_attention])
def test_attention_passes_its_signal_to_the_values(form):
    """Raised outputs ask for raised values; queries and keys carry nothing."""
    weights = seeded(3, 5, 6)
    head = seeded(2, 24, seed=5).abs()
    model = Function(lambda x, w, u: form(x @ w[0], x @ w[1], x @ w[2]).flatten(1) @ u.T, weights, head).eval()
    x = seeded(3, 1, 4, 5, seed=3)
    found = eb.explain(model, x, [0, 1], layer="input").maps
    for i in range(3):
        for t in range(2):
            q, k, v = (x[i, 0] @ part for part in weights)
            share = plain_attention(q, k, v).clamp(min=0) * head[t].reshape(4, 6)  # Eq. 4 at the head
            truth = truth_of_attention(x[i, 0], weights, share / share.sum())
            assert torch.allclose(found[i, t], truth, atol=1e-11)


def heads(x, w, count=2):
    """Queries, keys and values `(image, head, token, channel)`."""
    return [(x @ part).unflatten(2, (count, -1)).transpose(1, 2) for part in w]


def mask():
    return torch.tensor([[0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)


SDPA = {
    "plain": ({}, lambda z: z),
    "scaled": ({"scale": 0.3}, lambda z: z * 0.3 * 3**0.5),
    "causal": ({"is_causal": True}, lambda z: z.masked_fill(torch.ones(4, 4).triu(1).bool(), -torch.inf)),
    "mask": (lambda: {"attn_mask": ~mask()}, lambda z: z.masked_fill(mask(), -torch.inf)),
    "bias": ("attn_mask", lambda z, w: z + w[0, :4, :4]),
}


@pytest.mark.parametrize("case", SDPA)
def test_fused_attention_is_the_written_out_one(case):
    options, change = SDPA[case]

    def fused(x, w):
        given = {options: w[0, :4, :4]} if isinstance(options, str) else options() if callable(options) else options
        return F.scaled_dot_product_attention(*heads(x, w), **given)

    def written(x, w):
        q, k, v = heads(x, w)
        z = (q @ k.mT) * q.shape[-1] ** -0.5
        return (change(z, w) if isinstance(options, str) else change(z)).softmax(-1) @ v

    assert_same(fused, written, seeded(3, 5, 6))


def test_fused_attention_with_grouped_heads():
    def fused(x, w, u):
        q, k, v = heads(x, w, 4)[0], *heads(x, u, 2)
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    def written(x, w, u):
        q, k, v = heads(x, w, 4)[0], *(part.repeat_interleave(2, 1) for part in heads(x, u, 2))
        return plain_attention(q, k, v)

    assert_same(fused, written, seeded(1, 5, 8), seeded(2, 5, 4))


@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention_is_its_parts(masked):
    """`nn.MultiheadAttention` against projections, products and softmax written out."""
    torch.manual_seed(0)

    class Attention(nn.Module):
        def __init__(self, fused):
            super().__init__()
            torch.manual_seed(0)
            self.a = nn.MultiheadAttention(6, 2, batch_first=True)
            self.fused = fused

        def forward(self, x):
            x = x[:, 0]
            if self.fused:
                return self.a(x, x, x, attn_mask=mask() if masked else None, need_weights=False)[0].flatten(1)
            q, k, v = F.linear(x, self.a.in_proj_weight, self.a.in_proj_bias).chunk(3, 2)
            q, k, v = (part.unflatten(2, (2, 3)).transpose(1, 2) for part in (q, k, v))
            z = (q @ k.mT) / 3**0.5
            z = z.masked_fill(mask(), -torch.inf) if masked else z
            return self.a.out_proj((z.softmax(-1) @ v).transpose(1, 2).flatten(2)).flatten(1)

    x = seeded(3, 1, 4, 6)
    a, b = Attention(True).double().eval(), Attention(False).double().eval()
    assert torch.allclose(a(x), b(x), atol=1e-12)
    signals = list(seeded(2, 24, seed=5).abs())
    left, right = (eb.explain(model, x, signals, layer="input").maps for model in (a, b))
    assert torch.allclose(left, right, atol=1e-10)
    assert torch.allclose(left.sum((2, 3)), torch.stack(signals).sum(1).expand(3, -1), atol=1e-9)


REFUSED = {
    "two activations": (lambda x: x @ x.mT, "'matmul' .* two activations, neither of them a gate"),
    "two activations by einsum": (lambda x: torch.einsum("brc,bsc->brs", x, x), "'einsum' .* neither of them a gate"),
    "two gates": (lambda x: x.softmax(2) @ x.softmax(1).mT, "neither of them a gate"),
    "bilinear": (lambda x: F.bilinear(x, x, torch.ones(2, 5, 5).double()), "neither of them a gate"),
    "constant values": (
        lambda x: F.scaled_dot_product_attention(x, x, torch.ones(3, 4, 5).double()), "its values are constants"
    ),
    "dropped at random": (lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5), "model.eval"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_products(case):
    function, message = REFUSED[case]
    with pytest.raises(eb.ExcitationError, match=message):
        eb.explain(Function(function).eval(), seeded(3, 1, 4, 5), [0], layer="input")


# Other methods -------------------------------------------------------------------------------------------------------


class Mixed(nn.Module):
    """Convolution, a contraction without images in front, attention pooling, a classifier."""

    def __init__(self, plain):
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.mix, self.query = nn.Conv2d(2, 4, 3, padding=1), nn.Linear(4, 4), nn.Linear(4, 1)
        self.head, self.plain = nn.Linear(4, 3), plain

    def forward(self, x):
        y = F.relu(self.conv(x)).flatten(2).mT  # (image, place, channel)
        gate = self.query(y).softmax(1)
        if self.plain:
            y = F.relu(y @ self.mix.weight.T)
            pooled = (gate * y).sum(1)
            return pooled @ self.head.weight.T
        y = F.relu(torch.einsum("oc,bpc->opb", self.mix.weight, y)).permute(2, 1, 0)
        pooled = (gate.mT @ y)[:, 0]
        return (self.head.weight @ pooled.T).T


@pytest.mark.parametrize("options", [{"method": "c-mwp"}, {"policies": eb.Policies(residual="branch")}])
def test_a_sum_of_products_with_constants_has_learned_weights(options):
    """A contrast begins at it, and branches count it, as they do the linear layer of the same function."""

    class Head(nn.Module):
        def __init__(self, way):
            super().__init__()
            torch.manual_seed(2)
            self.conv, self.inner, self.head = nn.Conv2d(2, 4, 3), nn.Linear(4, 4), nn.Linear(4, 3)
            self.way = way

        def forward(self, x):
            y = F.relu(self.conv(x)).mean((2, 3))
            return self.way(F.relu(y + self.way(y, self.inner.weight)), self.head.weight)

    x = seeded(2, 2, 5, 6, seed=8)
    ways = F.linear, lambda y, w: (y[:, None] * w).sum(2), lambda y, w: torch.einsum("bi,oi->bo", y, w)
    found = [eb.explain(Head(way).double().eval(), x, [0, 2], layer="conv", **options).maps for way in ways]
    assert torch.allclose(found[0], found[1], atol=1e-10)
    assert torch.allclose(found[0], found[2], atol=1e-10)
    assert float(found[0].sum()) > 0


METHODS = ["mwp", "c-mwp", "r-mwp", "eb-without-norm", "eb-post-norm", "lrp", "lrp-z-plus", "c-lrp", "gradient"]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_the_same_for_both_spellings(name):
    x = seeded(2, 2, 4, 5, seed=8).abs()
    found = [
        eb.explain(Mixed(plain).double().eval(), x, [0, 2], layer="conv", method=name).maps for plain in (True, False)
    ]
    assert torch.allclose(*found, atol=1e-9)
    assert float(found[0].abs().sum()) > 0


def test_all_classes_the_other_way():
    x = seeded(2, 2, 4, 5, seed=8).abs()
    model = Mixed(False).double().eval()
    down = eb.explain(model, x, [0, 1, 2], layer="conv").maps
    up = eb.all_classes(model, x, layer="conv")
    assert torch.allclose(up.maps([0, 1, 2]), down, atol=1e-9)


@pytest.mark.parametrize("name", ["sampled-winners", "selective-tuning"])
def test_single_winners_are_refused_where_weights_differ_from_image_to_image(name):
    with pytest.raises(eb.UnsupportedOperationError, match="no single winners"):
        eb.explain(Mixed(False).double().eval(), seeded(2, 2, 4, 5), [0], layer="conv", method=name)
