"""Readers for attention: values weighted by a softmax. Queries and keys determine the weights and receive no signal.

`P(j, d | i, d) = A_ij v+_jd / sum_k A_ik v+_kd`: Eq. 4 with the recorded weights `A`, which are nonnegative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ..._errors import TrainingModeError
from .._axes import Axes, Kept, Made
from .._bounds import UNIT
from ._attention_weights import along_queries
from ._families import GatedAverage
from ._readers import CallContext, Parts, Read, common_shape, reads


@reads("scaled_dot_product_attention")
def attention(
    context: CallContext, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attn_mask: torch.Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Read:  # fmt: skip
    """`softmax(q k^T scale + mask) v`."""
    if dropout_p > 0:
        raise TrainingModeError(f"{context.where} drops weights at random; call model.eval() first.")
    if not context.carries(value):
        context.refuse(
            "its values are constants, so a signal would have to pass its weights.", "Choose a layer above it."
        )
    tokens = -3 if enable_gqa else -2
    if value.shape[:tokens] != common_shape(*(tensor.shape[:tokens] for tensor in (query, key, value))):
        context.refuse("its values are repeated for several batches of queries.", "Expand them before the call.")

    def weighted(x: torch.Tensor) -> torch.Tensor:
        mask = attn_mask
        if mask is not None and mask.dtype != torch.bool:
            mask = mask.to(x.dtype)
        # Older releases of PyTorch do not have the argument.
        grouped = {"enable_gqa": True} if enable_gqa else {}
        return F.scaled_dot_product_attention(
            query.to(x.dtype), key.to(x.dtype), x, mask, 0.0, is_causal, scale=scale, **grouped
        )  # fmt: skip

    linear = _Weighted(weighted, value.shape, _output_shape(query, value))
    last = value.dim() - 1
    heads: Axes = (Made(),) if enable_gqa and query.shape[-3] != value.shape[-3] else (Kept(last - 2),)
    axes = (*map(Kept, range(last - 2)), *heads[: last - 1], Made(), Kept(last))
    asked = context.value(query).layout if context.carries(query) else None
    laid = None if asked is None else along_queries(axes, {last - 1: asked[-2]})
    return GatedAverage(
        None, value, linear.forward, linear.adjoint, None, False, factor=UNIT, count=value.shape[-2], axes=axes,
        laid=laid, apart=False,
    ), (value,)  # fmt: skip


def _output_shape(query: torch.Tensor, value: torch.Tensor) -> torch.Size:
    """Return the shape of the weighted values. There can be more query heads than value heads."""
    heads = query.shape[-3:-2] if value.dim() > 3 else value.shape[-3:-2]
    return torch.Size((*value.shape[:-3], *heads, query.shape[-2], value.shape[-1]))


class _Weighted:
    """A linear map of attention values and its transpose, without a matrix of weights.

    The transpose is the vector-Jacobian product of the map. Fused kernels compute it without storing the weights of all
    queries and keys. Both functions take several values or results, concatenated along the first axis.

    Args:
        weighted: the map, for one tensor of values.
        values: shape of the values.
        results: shape of the results.
    """

    def __init__(
        self, weighted: Callable[[torch.Tensor], torch.Tensor], values: torch.Size, results: torch.Size
    ) -> None:  # fmt: skip
        self._weighted = weighted
        self._values = values
        self._results = results

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the weighted sums of values."""
        return _apply(self._up, self._down, x)

    def adjoint(self, q: torch.Tensor) -> torch.Tensor:
        """Return the transposed product of signals on the results."""
        return _apply(self._down, self._up, q)

    def _up(self, x: torch.Tensor) -> torch.Tensor:
        found = [self._weighted(part) for part in x.reshape(-1, *self._values)]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _down(self, q: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            values = torch.zeros(self._values, dtype=q.dtype, device=q.device, requires_grad=True)
            results = self._weighted(values)
        parts = q.reshape(-1, *self._results)
        found = [torch.autograd.grad(results, values, part, retain_graph=True)[0] for part in parts]
        return found[0] if len(found) == 1 else torch.cat(found)


class _Linear(torch.autograd.Function):
    """A linear function with a known transpose. Fused kernels have no second derivatives."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, run: Callable[[torch.Tensor], torch.Tensor],
        transposed: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:  # fmt: skip
        ctx.run, ctx.transposed = run, transposed
        return run(x)

    @staticmethod
    def backward(ctx: Any, q: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return _apply(ctx.transposed, ctx.run, q.contiguous()), None, None


def _apply(
    run: Callable[[torch.Tensor], torch.Tensor], transposed: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
) -> torch.Tensor:
    found: torch.Tensor = _Linear.apply(x, run, transposed)  # type: ignore[no-untyped-call]
    return found


@reads("multi_head_attention_forward")
def multi_head_attention(
    context: CallContext, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, embed_dim_to_check: int,
    num_heads: int, in_proj_weight: torch.Tensor | None, in_proj_bias: torch.Tensor | None,
    bias_k: torch.Tensor | None, bias_v: torch.Tensor | None, add_zero_attn: bool, dropout_p: float,
    out_proj_weight: torch.Tensor, out_proj_bias: torch.Tensor | None, training: bool = True,
    key_padding_mask: torch.Tensor | None = None, need_weights: bool = True, attn_mask: torch.Tensor | None = None,
    use_separate_proj_weight: bool = False, q_proj_weight: torch.Tensor | None = None,
    k_proj_weight: torch.Tensor | None = None, v_proj_weight: torch.Tensor | None = None,
    static_k: torch.Tensor | None = None, static_v: torch.Tensor | None = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> Parts:  # fmt: skip
    """Multi-head attention as its parts: input projections, attention weights, weighted values, output projection."""
    del embed_dim_to_check, is_causal  # the mask contains the same information
    if training and dropout_p > 0:
        raise TrainingModeError(f"{context.where} drops weights at random; call model.eval() first.")
    if static_k is not None or static_v is not None:
        context.refuse("its keys or values are given already projected.", "Leave out static_k and static_v.")

    def run() -> Any:
        projections = [q_proj_weight, k_proj_weight, v_proj_weight]
        if not use_separate_proj_weight:
            assert in_proj_weight is not None
            projections = list(in_proj_weight.chunk(3))
        biases = [None] * 3 if in_proj_bias is None else list(in_proj_bias.chunk(3))
        alone = query.dim() == 2
        tokens = [x.unsqueeze(1) if alone else x for x in (query, key, value)]
        heads: list[torch.Tensor] = []
        for x, w, b, more in zip(tokens, projections, biases, (None, bias_k, bias_v), strict=True):
            assert w is not None
            made = F.linear(x, w, b)
            if more is not None:
                made = torch.cat([made, more.expand(1, made.shape[1], -1)])
            split = torch.unflatten(made, -1, (num_heads, -1)).permute(1, 2, 0, 3)
            if add_zero_attn and heads:
                split = F.pad(split, (0, 0, 0, 1))
            heads.append(split)
        q, k, v = heads
        mask = _mask(attn_mask, key_padding_mask, torch.Size((*q.shape[:-1], k.shape[-2])), q)
        if need_weights:
            logits = (q * q.shape[-1] ** -0.5) @ k.mT
            weights = (logits if mask is None else logits + mask).softmax(-1)
            summed = weights @ v
        else:
            summed = F.scaled_dot_product_attention(q, k, v, mask)
        found = F.linear(summed.permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
        found = found.squeeze(1) if alone else found
        if not need_weights:
            return found
        weights = weights.mean(1) if average_attn_weights else weights
        return found, weights.squeeze(0) if alone else weights

    return Parts(run)


def _mask(
    attention: torch.Tensor | None, padding: torch.Tensor | None, shape: torch.Size, like: torch.Tensor
) -> torch.Tensor | None:
    """Return what the masks add to logits `(image, head, query, key)`; `None` without masks.

    The keys that `bias_k` and `add_zero_attn` append are never masked.
    """
    images, heads, queries, keys = shape
    found: torch.Tensor | None = None
    for mask, before in ((attention, None), (padding, (images, 1, 1))):
        if mask is None:
            continue
        if before is None:
            before = (1, 1, queries) if mask.dim() == 2 else (images, heads, queries)
        added = mask.to(like.dtype)
        if mask.dtype == torch.bool:
            added = torch.zeros_like(added).masked_fill(mask, -torch.inf)
        added = F.pad(added.reshape(*before, -1), (0, keys - mask.shape[-1]))
        found = added if found is None else found + added
    return found
