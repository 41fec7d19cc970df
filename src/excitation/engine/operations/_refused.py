"""Operations that are refused, each with a reason and a remedy."""

from __future__ import annotations

from typing import Any

import torch

from ._readers import CallContext, Read, reads


@reads(
    "stft", "istft", "view_as_complex", "view_as_real", "complex", "polar",
    *(f"fft_{name}" for name in dir(torch.fft) if name.endswith(("fft", "fft2", "fftn"))),
)  # fmt: skip
def complex_numbers(context: CallContext, *args: Any, **kwargs: Any) -> Read:
    """Fourier transforms and other complex numbers."""
    del args, kwargs
    context.refuse(
        "it uses complex numbers, which have no sign, so there is no excitation or inhibition.",
        "Choose a layer above it, or compute the spectrum before the network.",
    )


@reads("masked_scatter", "masked_select", "nonzero", "unique", "unique_consecutive")
def by_mask(context: CallContext, *args: Any, **kwargs: Any) -> Read:
    """Selections by a mask: the number or the positions of the results depend on the whole batch."""
    del args, kwargs
    context.refuse(
        "it lists the positions of a mask over all images together, so images are mixed.",
        "Use torch.where or a product.",
    )


@reads("embedding", "embedding_bag")
def embedding(context: CallContext, *args: Any, **kwargs: Any) -> Read:
    """Embeddings: rows of a table, selected by index."""
    del args, kwargs
    context.refuse(
        "it looks up rows by integer indices, and signals cannot pass through these.",
        "Choose a layer above it: the looked-up rows.",
    )


@reads(*(f"fractional_max_pool{n}d{tail}" for n in (2, 3) for tail in ("", "_with_indices")))
def fractional_max_pooling(context: CallContext, *args: Any, **kwargs: Any) -> Read:
    """Max pooling over random windows."""
    del args, kwargs
    context.refuse("its windows are random in each pass.", "Replace it by adaptive max pooling.")


@reads("quantile", "nanquantile")
def quantile(context: CallContext, *args: Any, **kwargs: Any) -> Read:
    """Quantiles, which interpolate between two neurons."""
    del args, kwargs
    context.refuse("it interpolates between sorted neurons.", "Use torch.kthvalue, torch.median or torch.topk.")


@reads("rnn_tanh", "rnn_relu", "lstm", "gru", "rnn_tanh_cell", "rnn_relu_cell", "lstm_cell", "gru_cell")
def recurrent(context: CallContext, *args: Any, **kwargs: Any) -> Read:
    """Recurrent layers."""
    del args, kwargs
    context.refuse(
        "a recurrent layer multiplies activations by gates of earlier steps inside one call.",
        "Choose a layer above it; list_layers names them.",
    )
