"""Readers for attention: values weighted by a softmax. Queries and keys determine the weights and receive no signal.

`P(j, d | i, d) = A_ij v+_jd / sum_k A_ik v+_kd`: Eq. 4 with the recorded weights `A`, which are nonnegative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from ..._errors import TrainingModeError
from .._bounds import UNIT
from ._contraction import Letters, products
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
    found: list[torch.Tensor] = []

    def weights(dtype: torch.dtype) -> torch.Tensor:
        """Return the attention weights of the recorded tensors. The result is cached."""
        if not found:
            found.append(_weights(query, key, value, attn_mask, is_causal, scale, enable_gqa))
        return found[0].to(dtype)

    batch = "abcdefgh"[: value.dim() - 2]
    axis = -3 if enable_gqa else -2
    if value.shape[:axis] != common_shape(*(tensor.shape[:axis] for tensor in (query, key, value))):
        context.refuse("its values are repeated for several batches of queries.", "Expand them before the call.")
    return _average(value, weights, batch, query.shape[-3] if enable_gqa else None)


def _average(
    value: torch.Tensor, weights: Callable[[torch.dtype], torch.Tensor], batch: str, heads: int | None
) -> Read:  # fmt: skip
    """Return the weighted average of the values. `heads` query heads share the value heads if these are fewer."""
    grouped = heads is not None and heads != value.shape[-3]
    letters = Letters(batch + "JD", batch + ("GIJ" if grouped else "IJ"), batch + ("GID" if grouped else "ID"))
    forward, adjoint, _ = products(letters, value.shape)
    at = len(batch) - 1

    def shared(w: torch.Tensor) -> torch.Tensor:
        return torch.unflatten(w, at, (value.shape[at], -1)) if grouped else w

    def up(x: torch.Tensor) -> torch.Tensor:
        y = forward(x, shared(weights(x.dtype)))
        return y.flatten(at, at + 1) if grouped else y

    def down(q: torch.Tensor) -> torch.Tensor:
        return adjoint(torch.unflatten(q, at, (value.shape[at], -1)) if grouped else q, shared(weights(q.dtype)))

    axes = Letters(batch + "JD", "", batch + "ID").axes()
    return GatedAverage(
        None, value, up, down, None, False, factor=UNIT, count=value.shape[-2], axes=axes, apart=False
    ), (value,)


def _weights(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, is_causal: bool,
    scale: float | None, enable_gqa: bool,
) -> torch.Tensor:  # fmt: skip
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril().logical_not()
        logits = logits.masked_fill(later, -torch.inf)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask
    # A query without any allowed key has weights of zero.
    found = logits.softmax(-1).nan_to_num(0.0)
    return found.expand(*value.shape[:-3], found.shape[-3], *found.shape[-2:]) if value.dim() > 2 else found


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
    if bias_k is not None or bias_v is not None or add_zero_attn or static_k is not None or static_v is not None:
        context.refuse("tokens added to keys and values have no rule.", "Leave out bias_k, bias_v and add_zero_attn.")

    def run() -> Any:
        projections = [q_proj_weight, k_proj_weight, v_proj_weight]
        if not use_separate_proj_weight:
            assert in_proj_weight is not None
            projections = list(in_proj_weight.chunk(3))
        biases = [None] * 3 if in_proj_bias is None else list(in_proj_bias.chunk(3))
        alone = query.dim() == 2
        tokens = [x.unsqueeze(1) if alone else x for x in (query, key, value)]
        heads = []
        for x, w, b in zip(tokens, projections, biases, strict=True):
            assert w is not None
            made = F.linear(x, w, b)
            heads.append(torch.unflatten(made, -1, (num_heads, -1)).permute(1, 2, 0, 3))
        q, k, v = heads
        logits = (q * q.shape[-1] ** -0.5) @ k.mT
        for mask, shape in _masks(attn_mask, key_padding_mask, logits.shape):
            spread = mask.reshape(shape)
            logits = logits.masked_fill(spread, -torch.inf) if mask.dtype == torch.bool else logits + spread
        weights = logits.softmax(-1)
        found = F.linear((weights @ v).permute(2, 0, 1, 3).flatten(2), out_proj_weight, out_proj_bias)
        found = found.squeeze(1) if alone else found
        if not need_weights:
            return found
        weights = weights.mean(1) if average_attn_weights else weights
        return found, weights.squeeze(0) if alone else weights

    return Parts(run)


def _masks(
    attention: torch.Tensor | None, padding: torch.Tensor | None, shape: torch.Size
) -> list[tuple[torch.Tensor, tuple[int, ...]]]:
    """Return the masks and the shapes in which they broadcast to the logits `(image, head, query, key)`."""
    images, heads, queries, keys = shape
    found: list[tuple[torch.Tensor, tuple[int, ...]]] = []
    if attention is not None:
        both = (1, 1) if attention.dim() == 2 else (images, heads)
        found.append((attention, (*both, queries, keys)))
    if padding is not None:
        found.append((padding, (images, 1, 1, keys)))
    return found
