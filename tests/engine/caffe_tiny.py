"""The small reference nets as PyTorch modules, built from the description stored beside the original's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Golden:
    """The stored numbers of all nets."""

    def __init__(self, folder: Path):
        self.arrays = np.load(folder / "golden_f64.npz")
        self.index = json.loads(bytes(self.arrays["__index__"]).decode())

    def array(self, net, *key):
        return torch.from_numpy(self.arrays["|".join((net, *key))]).double()

    def blobs(self, net, tag):
        lead = f"{net}|{tag}|"
        return [key[len(lead) :] for key in self.arrays.files if key.startswith(lead) and "__" not in key]

    def has(self, net, tag):
        return any(key.startswith(f"{net}|{tag}|") for key in self.arrays.files)


class Caffe(nn.Module):
    """Each layer is a child module; `blob_layer` names the one that first writes a blob."""

    def __init__(self, golden: Golden, net: str):
        super().__init__()
        self.description = golden.index[net]
        self.specs = [s for s in self.description["net"]["layer"] if s["type"] not in {"EuclideanLoss", "Input"}]
        self.blob_layer = {"data": "input"}
        for spec in self.specs:
            arrays = []
            while f"{net}|param|{spec['name']}.{len(arrays)}" in golden.arrays.files:
                arrays.append(golden.array(net, "param", f"{spec['name']}.{len(arrays)}"))
            self.add_module(spec["name"], Layer(spec, arrays))
            for top in spec["top"]:
                self.blob_layer.setdefault(top, spec["name"])

    def forward(self, data):
        blobs = {"data": data}
        for spec in self.specs:
            blobs[spec["top"][0]] = getattr(self, spec["name"])(*(blobs[name] for name in spec["bottom"]))
        return blobs[self.description["top_blob"]]


class Layer(nn.Module):
    def __init__(self, spec, arrays):
        super().__init__()
        self.spec = spec
        for i, array in enumerate(arrays):
            self.register_buffer(f"p{i}", array)
        self.count = len(arrays)

    def forward(self, *inputs):
        kind, x = self.spec["type"], inputs[0]
        params = [getattr(self, f"p{i}") for i in range(self.count)]
        options = next((value for key, value in self.spec.items() if key.endswith("_param")), {})
        if kind == "Convolution":
            bias = params[1] if len(params) > 1 else None
            size = {name: _hw(options, name, default) for name, default in (("pad", 0), ("stride", 1))}
            return F.conv2d(x, params[0], bias, size["stride"], size["pad"], 1, options.get("group", 1))
        if kind == "InnerProduct":
            return F.linear(x.flatten(1), params[0], params[1] if len(params) > 1 else None)
        if kind == "Pooling":
            if options.get("global_pooling"):
                return F.adaptive_avg_pool2d(x, 1)
            pool = F.max_pool2d if options["pool"] == "MAX" else F.avg_pool2d
            return pool(x, options["kernel_size"], options["stride"], options.get("pad", 0), ceil_mode=True)
        if kind == "BatchNorm":
            mean, var, factor = params
            return F.batch_norm(x, mean / factor, var / factor, eps=1e-5)
        if kind == "Scale":
            gamma, beta = (p.reshape(1, -1, 1, 1) for p in params)
            return x * gamma + beta
        if kind == "LRN":
            return F.local_response_norm(
                x, options["local_size"], options["alpha"], options["beta"], options.get("k", 1)
            )
        simple = {
            "ReLU": F.relu,
            "Sigmoid": torch.sigmoid,
            "TanH": torch.tanh,
            "ELU": F.elu,
            "Dropout": lambda y: F.dropout(y, 0.5, training=False),
            "Softmax": lambda y: y.softmax(1),
            "Concat": lambda *ys: torch.cat(ys, 1),
            "Eltwise": lambda a, b: a + b,
        }
        return simple[kind](*inputs)


def _hw(options, name, default):
    if f"{name}_h" in options:
        return options[f"{name}_h"], options[f"{name}_w"]
    value = options.get(name, default)
    value = value[0] if isinstance(value, list) else value
    return value, value
