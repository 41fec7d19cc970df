"""Layers with learned parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import nn

from ._builders import Shape, axis_of, builds, count_of, space_of, spatial
from ._plan import Layer

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}

Blob = Float[torch.Tensor, "image *blob"]
Made = Float[torch.Tensor, "image *made"]
Other = Float[torch.Tensor, "image *_"]


def _empty(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, device="meta"))


@builds("Convolution")
def convolution(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Convolution`: grouped, dilated, with one to three spatial dimensions; sizes round down as in PyTorch."""
    return _filter(layer, shapes[0], layer.message.convolution_param.group)


@builds("Deconvolution")
def deconvolution(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Deconvolution`: transposed convolution; the weights have PyTorch's layout."""
    return _filter(layer, shapes[0], layer.message.convolution_param.group, transposed=True)


@builds("DepthwiseConvolution")
@builds("ConvolutionDepthwise")
def depthwise(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`DepthwiseConvolution` and `ConvolutionDepthwise` of Caffe forks: each channel has its own filter."""
    options, channels = layer.message.convolution_param, shapes[0][1]
    if options.HasField("num_output") and options.num_output != channels:
        layer.fail(f"num_output is {options.num_output}; as many as its input has channels are expected, {channels}.")
    if options.HasField("group") and options.group != channels:
        layer.fail(f"group is {options.group}; one for each channel of its input is expected, {channels}.")
    return _filter(layer, shapes[0], channels, outputs=channels)


def _filter(
    layer: Layer, shape: Shape, group: int, *, outputs: int | None = None, transposed: bool = False
) -> nn.Module:
    options, dims, channels = layer.message.convolution_param, space_of(layer, shape), shape[1]
    if axis_of(layer, options.axis, len(shape)) != 1:
        layer.fail(f"axis is {options.axis}; channels are expected at axis 1.")
    outputs = outputs or count_of(layer, options)
    if group < 1 or channels % group or outputs % group:
        layer.fail(f"{channels} inputs and {outputs} outputs cannot be split into {group} groups.")
    arguments = {
        "kernel_size": spatial(layer, options, "kernel_size", dims),
        "stride": spatial(layer, options, "stride", dims, 1),
        "padding": spatial(layer, options, "pad", dims, 0),
        "dilation": spatial(layer, options, "dilation", dims, 1),
        "groups": group,
        "bias": options.bias_term,
        "device": "meta",
    }
    return (TRANSPOSED if transposed else CONVOLUTIONS)[dims](channels, outputs, **arguments)


class InnerProduct(nn.Linear):
    """A fully connected layer over all axes from a given one."""

    def __init__(self, inputs: int, outputs: int, bias: bool, axis: int) -> None:
        super().__init__(inputs, outputs, bias, device="meta")
        self.axis = axis

    def forward(self, input: Blob) -> Made:
        """Map `(image, ..., channels, height, width)` to `(image, ..., outputs)`."""
        return F.linear(_flat(input, self.axis), self.weight, self.bias)


class TransposedInnerProduct(nn.Module):
    """Like `InnerProduct` with transposed weights, for decoders that share the weights of their encoder."""

    def __init__(self, inputs: int, outputs: int, bias: bool, axis: int) -> None:
        super().__init__()
        self.weight = _empty(inputs, outputs)
        self.bias = _empty(outputs) if bias else None
        self.axis = axis

    def forward(self, input: Blob) -> Made:
        """Map `(image, ..., channels, height, width)` to `(image, ..., outputs)`."""
        return F.linear(_flat(input, self.axis), self.weight.t(), self.bias)


def _flat(input: torch.Tensor, axis: int) -> torch.Tensor:
    return input if input.dim() == axis + 1 else input.flatten(axis)


@builds("InnerProduct")
def inner_product(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`InnerProduct`."""
    (shape,), options = shapes, layer.message.inner_product_param
    axis = axis_of(layer, options.axis, len(shape))
    inputs = 1
    for size in shape[axis:]:
        inputs *= size
    kind = TransposedInnerProduct if options.transpose else InnerProduct
    return kind(inputs, count_of(layer, options), options.bias_term, axis)


class BatchNorm(nn.Module):
    """Batch normalisation with stored statistics, which Caffe scales by a stored factor.

    The statistics are kept as in the file and divided in the forward pass, so that double precision is exact.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    factor: torch.Tensor

    def __init__(self, channels: int, eps: float) -> None:
        super().__init__()
        for name, size in (("mean", channels), ("variance", channels), ("factor", 1)):
            self.register_buffer(name, torch.empty(size, device="meta"))
        self.eps = eps

    def forward(self, input: Blob) -> Blob:
        """Normalise the input; the shape does not change."""
        # A factor of zero means that no image was seen in training: Caffe then uses statistics of zero.
        inverse = torch.where(self.factor == 0, 0, 1 / self.factor)
        return F.batch_norm(input, self.mean * inverse, self.variance * inverse, eps=self.eps)


@builds("BatchNorm")
def batch_norm(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`BatchNorm` with stored statistics, as in the TEST phase."""
    options = layer.message.batch_norm_param
    if options.HasField("use_global_stats") and not options.use_global_stats:
        layer.fail("use_global_stats is false: it would normalise by the statistics of each batch; remove that.")
    if options.eps < 0:
        layer.fail(f"eps is {options.eps}; it must not be negative.")
    return BatchNorm(shapes[0][1], options.eps)


class Scale(nn.Module):
    """Multiplication by learned values along some axes, with an optional bias."""

    def __init__(self, shape: Shape, axis: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = _empty(*shape)
        self.bias = _empty(*shape) if bias else None
        self.axis = axis

    def forward(self, input: Blob) -> Blob:
        """Scale the input; the shape does not change."""
        scaled = input * _aligned(self.weight, input, self.axis)
        return scaled if self.bias is None else scaled + _aligned(self.bias, input, self.axis)


class Bias(nn.Module):
    """Addition of learned values along some axes."""

    def __init__(self, shape: Shape, axis: int) -> None:
        super().__init__()
        self.weight = _empty(*shape)
        self.axis = axis

    def forward(self, input: Blob) -> Blob:
        """Add the bias; the shape does not change."""
        return input + _aligned(self.weight, input, self.axis)


class Paired(nn.Module):
    """`Scale` or `Bias` with a second blob: a product or a sum of activations."""

    def __init__(self, *, product: bool) -> None:
        super().__init__()
        self.product = product

    def forward(self, input: Blob, other: Other) -> Blob:
        """Combine the blobs; the result has the shape of the first. The second has its leading axes, or all."""
        aligned = _aligned(other, input, 0)
        return input * aligned if self.product else input + aligned


def _aligned(item: torch.Tensor, input: torch.Tensor, axis: int) -> torch.Tensor:
    """Reshape `item` to broadcast along the axes of `input` from `axis` on."""
    after = input.dim() - axis - item.dim()
    return item.reshape(*item.shape, *(1,) * after) if item.dim() and after else item


@builds("Scale", bottoms=(1, 2))
def scale(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Scale`."""
    options = layer.message.scale_param
    if len(shapes) == 2:
        if options.bias_term:
            layer.fail("bias_term beside a second bottom would be a number for each image; remove it.")
        return _paired(layer, options.axis, shapes, product=True)
    axis, shape = _covered(layer, options.axis, options.num_axes, shapes[0])
    return Scale(shape, axis, bias=options.bias_term)


@builds("Bias", bottoms=(1, 2))
def bias(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Bias`."""
    options = layer.message.bias_param
    if len(shapes) == 2:
        return _paired(layer, options.axis, shapes, product=False)
    axis, shape = _covered(layer, options.axis, options.num_axes, shapes[0])
    return Bias(shape, axis)


def _paired(layer: Layer, axis: int, shapes: Sequence[Shape], *, product: bool) -> Paired:
    first, second = shapes
    if axis_of(layer, axis, len(first), images=True):
        layer.fail(f"axis is {axis}; a second bottom has images in front, so axis 0 is expected.")
    if not second or first[: len(second)] != second:
        layer.fail(f"its second input of shape {second} does not fit the first, {first}.")
    return Paired(product=product)


def _covered(layer: Layer, axis: int, count: int, shape: Shape) -> tuple[int, Shape]:
    start = axis_of(layer, axis, len(shape), images=count == 0)
    if count < -1 or start + max(count, 0) > len(shape):
        layer.fail(f"num_axes is {count}; from axis {start} its input of shape {shape} has {len(shape) - start}.")
    return start, shape[start:] if count == -1 else shape[start : start + count]


@builds("PReLU")
def prelu(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`PReLU`, with one slope per channel or one for all."""
    shared = layer.message.prelu_param.channel_shared
    return nn.PReLU(1 if shared else shapes[0][1], device="meta")


class Axpy(nn.Module):
    """`a x + b`, with one factor `a` per channel of each image: squeeze-and-excitation with its residual sum."""

    def forward(self, factor: Other, input: Blob, added: Blob) -> Blob:
        """Combine the blobs; the result has the shape of the second and third."""
        return input * factor.reshape(*factor.shape[:2], *(1,) * (input.dim() - 2)) + added


@builds("Axpy", bottoms=(3, 3))
def axpy(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Axpy` of SENet's Caffe."""
    factor, first, second = shapes
    if first != second or len(first) < 2 or factor[:2] != first[:2] or any(size != 1 for size in factor[2:]):
        layer.fail(
            f"its inputs have shapes {factor}, {first} and {second}; a number for each channel and two blobs of one"
            " shape are expected."
        )
    return Axpy()


class Normalize(nn.Module):
    """Division by the square root of the sum of squares plus `eps`, per image or over the channels of each position.

    The result is multiplied by a learned scale, one per channel or one for all.
    """

    def __init__(self, channels: int, eps: float, *, across: bool, shared: bool) -> None:
        super().__init__()
        self.weight = _empty() if shared else _empty(channels)
        self.eps, self.across = eps, across

    def forward(self, input: Blob) -> Blob:
        """Normalise the input; the shape does not change."""
        dims = tuple(range(1, input.dim())) if self.across else (1,)
        norm = torch.sqrt(input.square().sum(dims, keepdim=True) + self.eps)
        return input / norm * _aligned(self.weight, input, 1)


@builds("Normalize")
def normalize(layer: Layer, shapes: Sequence[Shape]) -> nn.Module:
    """`Normalize` of SSD's Caffe."""
    (shape,), options = shapes, layer.message.norm_param
    if options.eps < 0:
        layer.fail(f"eps is {options.eps}; it must not be negative.")
    return Normalize(shape[1], options.eps, across=options.across_spatial, shared=options.channel_shared)
