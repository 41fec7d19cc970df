"""The messages of Caffe's files that a forward pass needs.

They are built in a separate descriptor pool, so that another copy of Caffe's schema in the same process does not
conflict. Names, field numbers and defaults are those of Caffe's public file format. Other fields of binary files are
skipped; for text files, `read_text` decides which unknown fields are allowed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ENUMS = {
    "Phase": {"TRAIN": 0, "TEST": 1},
    "Pool": {"MAX": 0, "AVE": 1, "STOCHASTIC": 2},
    "Round": {"CEIL": 0, "FLOOR": 1},
    "Operation": {"PROD": 0, "SUM": 1, "MAX": 2},
    "Reduction": {"SUM": 1, "ASUM": 2, "SUMSQ": 3, "MEAN": 4},
    "Region": {"ACROSS_CHANNELS": 0, "WITHIN_CHANNEL": 1},
    "OldType": {
        "NONE": 0, "ACCURACY": 1, "BNLL": 2, "CONCAT": 3, "CONVOLUTION": 4, "DATA": 5, "DROPOUT": 6,
        "EUCLIDEAN_LOSS": 7, "FLATTEN": 8, "HDF5_DATA": 9, "HDF5_OUTPUT": 10, "IM2COL": 11, "IMAGE_DATA": 12,
        "INFOGAIN_LOSS": 13, "INNER_PRODUCT": 14, "LRN": 15, "MULTINOMIAL_LOGISTIC_LOSS": 16, "POOLING": 17,
        "RELU": 18, "SIGMOID": 19, "SOFTMAX": 20, "SOFTMAX_LOSS": 21, "SPLIT": 22, "TANH": 23, "WINDOW_DATA": 24,
        "ELTWISE": 25, "POWER": 26, "SIGMOID_CROSS_ENTROPY_LOSS": 27, "HINGE_LOSS": 28, "MEMORY_DATA": 29,
        "ARGMAX": 30, "THRESHOLD": 31, "DUMMY_DATA": 32, "SLICE": 33, "MVN": 34, "ABSVAL": 35, "SILENCE": 36,
        "CONTRASTIVE_LOSS": 37, "EXP": 38, "DECONVOLUTION": 39,
    },
}  # fmt: skip

SPATIAL = "pad uint32*; pad_h uint32; pad_w uint32; kernel_size uint32*; kernel_h uint32;" \
    " kernel_w uint32; stride uint32*; stride_h uint32; stride_w uint32"  # fmt: skip

OPTIONS = {
    "argmax_param": "out_max_val bool; top_k uint32 = 1; axis int32",
    "batch_norm_param": "use_global_stats bool; moving_average_fraction float; eps float = 1e-5",
    "bias_param": "axis int32 = 1; num_axes int32 = 1",
    "clip_param": "min float; max float",
    "concat_param": "axis int32 = 1; concat_dim uint32",
    "convolution_param": f"{SPATIAL}; num_output uint32; bias_term bool = true; dilation uint32*;"
    " group uint32 = 1; axis int32 = 1; force_nd_im2col bool",
    "crop_param": "axis int32 = 2; offset uint32*",
    "dropout_param": "dropout_ratio float = 0.5",
    "eltwise_param": "operation Operation = SUM; coeff float*; stable_prod_grad bool",
    "elu_param": "alpha float = 1",
    "exp_param": "base float = -1; scale float = 1; shift float = 0",
    "flatten_param": "axis int32 = 1; end_axis int32 = -1",
    "inner_product_param": "num_output uint32; bias_term bool = true; axis int32 = 1; transpose bool",
    "interp_param": "height int32 = 0; width int32 = 0; zoom_factor int32 = 1; shrink_factor int32 = 1;"
    " pad_beg int32 = 0; pad_end int32 = 0",
    "log_param": "base float = -1; scale float = 1; shift float = 0",
    "lrn_param": "local_size uint32 = 5; alpha float = 1; beta float = 0.75; k float = 1;"
    " norm_region Region = ACROSS_CHANNELS",
    "norm_param": "across_spatial bool = true; channel_shared bool = true; eps float = 1e-10",
    "permute_param": "order uint32*",
    "pooling_param": f"{SPATIAL}; pool Pool = MAX; global_pooling bool; round_mode Round = CEIL; ceil_mode bool = true",
    "power_param": "power float = 1; scale float = 1; shift float = 0",
    "prelu_param": "channel_shared bool",
    "reduction_param": "operation Reduction = SUM; axis int32 = 0; coeff float = 1",
    "relu_param": "negative_slope float = 0",
    "reshape_param": "shape Shape; axis int32 = 0; num_axes int32 = -1",
    "scale_param": "axis int32 = 1; num_axes int32 = 1; bias_term bool",
    "sigmoid_param": "",
    "slice_param": "axis int32 = 1; slice_dim uint32; slice_point uint32*",
    "softmax_param": "axis int32 = 1",
    "swish_param": "beta float = 1",
    "tanh_param": "",
    "tile_param": "axis int32 = 1; tiles int32",
}
"""Options of layers that compute. A field that is neither here nor in `HARMLESS` is an error."""

INPUTS = {
    "dummy_data_param": "shape Shape*; num uint32*; channels uint32*; height uint32*; width uint32*",
    "image_data_param": "new_height uint32; new_width uint32; crop_size uint32; scale float = 1;"
    " is_color bool = true; mean_file string",
    "data_param": "crop_size uint32; scale float = 1; mean_file string",
    "input_param": "shape Shape*",
    "memory_data_param": "channels uint32; height uint32; width uint32",
    "transform_param": "crop_size uint32; mean_file string; mean_value float*; scale float = 1; force_gray bool",
}
"""Options of layers that read data; only size, mean and scale are used."""

HARMLESS = frozenset({"engine", "weight_filler", "bias_filler", "filler", "scale_filler"})
"""Fields of `OPTIONS` that only affect training and speed."""

_BASE = "name string; bottom string*; top string*; include Rule*; exclude Rule*"
_ALL = "".join(f"; {name} {name}" for name in (*OPTIONS, *INPUTS))

TEXT = {
    "Shape": "dim int64*",
    "Rule": "phase Phase; min_level int32; max_level int32; stage string*; not_stage string*",
    "State": "level int32; stage string*",
    "Param": "name string",
    **OPTIONS,
    **INPUTS,
    "Layer": f"{_BASE}; type string; param Param*{_ALL}",
    "OldLayer": f"{_BASE}; type OldType; param string*{_ALL}; layer Ancient",
    "Ancient": "",
    "Net": "name string; input string*; input_shape Shape*; input_dim int64*; state State; layer Layer*;"
    " layers OldLayer*",
}
"""Messages of a prototxt. Text files use field names, so field numbers are assigned in order."""

WEIGHTS = {
    "Shape": "dim int64* 1",
    # Packed numbers and bytes have the same encoding; NumPy can read bytes without a Python loop.
    "Blob": "num int64 1; channels int64 2; height int64 3; width int64 4; data bytes* 5; shape Shape 7;"
    " double_data bytes* 8",
    "Numbers": "data float* 5; double_data double* 8",
    "Layer": "name string 1; blobs Blob* 7",
    "OldLayer": "name string 4; blobs Blob* 6; layer Ancient 1",
    "Ancient": "",
}
"""Messages of a caffemodel's layers, with their field numbers. `Numbers` is a blob with unpacked numbers."""


_TYPES = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
}


@cache
def message(schema: str, name: str) -> Any:
    """The class of a message in the schema `"text"` or `"weights"`."""
    return message_factory.GetMessageClass(_pool(schema).FindMessageTypeByName(f"caffe.{name}"))


@cache
def _pool(schema: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=f"{schema}.proto", package="caffe", syntax="proto2")
    for name, values in ENUMS.items():
        # Protobuf enum values are siblings of their type, and several are named MAX, so each enum has its own message.
        enum = file.message_type.add(name=name).enum_type.add(name="Value")
        for label, number in values.items():
            enum.value.add(name=label, number=number)
    for name, fields in {"text": TEXT, "weights": WEIGHTS}[schema].items():
        described = file.message_type.add(name=name)
        for number, text in enumerate(filter(None, fields.split("; ")), 1):
            _add_field(described, text.split(), number)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(described: Any, words: list[str], number: int) -> None:
    """Add the field `name type`, with `*` for repeated, followed by a field number or `= default`."""
    name, kind = words[0], words[1].removesuffix("*")
    field = described.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if words[1].endswith("*") else field.LABEL_OPTIONAL
    if kind in _TYPES:
        field.type = _TYPES[kind]
    elif kind in ENUMS:
        field.type, field.type_name = field.TYPE_ENUM, f".caffe.{kind}.Value"
    else:
        field.type, field.type_name = field.TYPE_MESSAGE, f".caffe.{kind}"
    if words[2:3] == ["="]:
        field.default_value = words[3]
    elif words[2:]:
        field.number = int(words[2])
