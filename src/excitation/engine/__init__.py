"""The engine: record one forward pass, then propagate signals through the record.

The engine does not depend on any method, data set or picture. `_recorder` writes the `_record`. `_sweep` propagates
signals down the record with the `rules`. `transposed` implements the transposed sweep. `_mass_recorder` records the
mass at each operation.
"""

from ._compositions import mark
from ._grid import Grid, axis_names
from ._inputs import Images, Inputs, read_inputs
from ._layout import images_axis
from ._mass_recorder import BalanceRow, MassRecorder
from ._names import INPUT, is_input
from ._pieces import attention_maps
from ._record import Entry, Place, Record
from ._recorder import LateRootError, Recorder
from ._sweep import sweep
from ._values import Kind, Value, tensors_in
from .policies import Policies, policies_or_default
from .rules import ExcitationRules, Signal, attention_map, channel_sum, total
from .transposed import LIVE, TransposedSweep, last_layer

__all__ = [
    "INPUT",
    "LIVE",
    "BalanceRow",
    "Entry",
    "ExcitationRules",
    "Grid",
    "Images",
    "Inputs",
    "Kind",
    "LateRootError",
    "MassRecorder",
    "Place",
    "Policies",
    "Record",
    "Recorder",
    "Signal",
    "TransposedSweep",
    "Value",
    "attention_map",
    "attention_maps",
    "axis_names",
    "channel_sum",
    "images_axis",
    "is_input",
    "last_layer",
    "mark",
    "policies_or_default",
    "read_inputs",
    "sweep",
    "tensors_in",
    "total",
]
