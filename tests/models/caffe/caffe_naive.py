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


def each(x, function):
    """A function of one number, number by number."""
    out = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        out[place] = function(float(x[place]))
    return out


def reduce(x, axis, operation, factor):
    out = np.zeros(x.shape[:axis])
    for place in np.ndindex(out.shape):
        numbers = [float(number) for number in x[place].ravel()]
        kinds = {
            "SUM": sum(numbers),
            "ASUM": sum(map(abs, numbers)),
            "SUMSQ": sum(number * number for number in numbers),
            "MEAN": sum(numbers) / len(numbers),
        }
        out[place] = factor * kinds[operation]
    return out


def tile(x, axis, count):
    shape = list(x.shape)
    shape[axis] *= count
    out = np.zeros(shape)
    for place in np.ndindex(*shape):
        source = list(place)
        source[axis] %= x.shape[axis]
        out[place] = x[tuple(source)]
    return out


def permute(x, order):
    out = np.zeros([x.shape[axis] for axis in order])
    for place in np.ndindex(out.shape):
        source = [0] * x.ndim
        for axis, index in zip(order, place, strict=True):
            source[axis] = index
        out[place] = x[tuple(source)]
    return out


def best(numbers, count):
    """Places and values of the largest; of equal ones the last comes first."""
    pairs = sorted(((float(number), place) for place, number in enumerate(numbers)), reverse=True)[:count]
    return [place for _, place in pairs], [number for number, _ in pairs]


def interp(x, height, width):
    """Bilinear with the corners kept."""
    images, channels, rows, columns = x.shape
    out = np.zeros((images, channels, height, width))
    for r in range(height):
        for c in range(width):
            y = r * (rows - 1) / (height - 1) if height > 1 else 0
            z = c * (columns - 1) / (width - 1) if width > 1 else 0
            top, left = int(y), int(z)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            down, along = y - top, z - left
            out[:, :, r, c] = (1 - down) * ((1 - along) * x[:, :, top, left] + along * x[:, :, top, right]) + down * (
                (1 - along) * x[:, :, bottom, left] + along * x[:, :, bottom, right]
            )
    return out


def normalize(x, scale, across, eps):
    out = np.zeros_like(x)
    for i, c, r, s in np.ndindex(x.shape):
        group = x[i] if across else x[i, :, r, s]
        squares = eps + sum(float(number) ** 2 for number in group.ravel())
        out[i, c, r, s] = x[i, c, r, s] / math.sqrt(squares) * (scale[c] if np.ndim(scale) else scale)
    return out


def axpy(a, x, y):
    out = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        out[place] = a[place[:2]] * x[place] + y[place]
    return out
