"""Caffe's layers one number at a time, from its documentation: slow, and shares nothing with the reader."""

from __future__ import annotations

import math

import numpy as np


def pooled(size, kernel, stride, pad):
    count = math.ceil((size + 2 * pad - kernel) / stride) + 1
    if pad and (count - 1) * stride >= size + pad:
        count -= 1
    return count


def pool(x, kernel, stride, pad, method):
    images, channels, height, width = x.shape
    rows = pooled(height, kernel[0], stride[0], pad[0])
    columns = pooled(width, kernel[1], stride[1], pad[1])
    out = np.zeros((images, channels, rows, columns))
    for r in range(rows):
        for c in range(columns):
            top, left = r * stride[0] - pad[0], c * stride[1] - pad[1]
            bottom, right = min(top + kernel[0], height + pad[0]), min(left + kernel[1], width + pad[1])
            area = (bottom - top) * (right - left)
            window = x[:, :, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            out[:, :, r, c] = window.max((2, 3)) if method == "MAX" else window.sum((2, 3)) / area
    return out


def convolve(x, weight, bias, stride, pad, dilation, group):
    images, channels, height, width = x.shape
    outputs, per_group, kh, kw = weight.shape
    padded = np.zeros((images, channels, height + 2 * pad[0], width + 2 * pad[1]))
    padded[:, :, pad[0] : pad[0] + height, pad[1] : pad[1] + width] = x
    rows = (height + 2 * pad[0] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    columns = (width + 2 * pad[1] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((images, outputs, rows, columns))
    for o in range(outputs):
        first = o // (outputs // group) * per_group
        for r in range(rows):
            for c in range(columns):
                for i in range(kh):
                    for j in range(kw):
                        y, z = r * stride[0] + i * dilation[0], c * stride[1] + j * dilation[1]
                        out[:, o, r, c] += padded[:, first : first + per_group, y, z] @ weight[o, :, i, j]
    return out + bias[:, None, None]


def deconvolve(x, weight, bias, stride, pad, group):
    images, channels, height, width = x.shape
    _, per_group, kh, kw = weight.shape
    full = np.zeros((images, per_group * group, stride[0] * (height - 1) + kh, stride[1] * (width - 1) + kw))
    for c in range(channels):
        first = c // (channels // group) * per_group
        for r in range(height):
            for s in range(width):
                y, z = r * stride[0], s * stride[1]
                full[:, first : first + per_group, y : y + kh, z : z + kw] += (
                    x[:, c, r, s][:, None, None, None] * weight[c]
                )
    full = full[:, :, pad[0] : full.shape[2] - pad[0], pad[1] : full.shape[3] - pad[1]]
    return full + bias[:, None, None]


def lrn_across(x, size, alpha, beta, k):
    out = np.zeros_like(x)
    for c in range(x.shape[1]):
        window = x[:, max(c - size // 2, 0) : c + size // 2 + 1]
        out[:, c] = x[:, c] * (k + alpha / size * (window**2).sum(1)) ** -beta
    return out


def lrn_within(x, size, alpha, beta):
    mean = pool(x**2, (size, size), (1, 1), (size // 2, size // 2), "AVE")
    return x * (1 + alpha * mean) ** -beta
