"""Teacher signals as arrays: what is stored, how it is encoded, and targets rebuilt from it.

NumPy only. `limbeck.labels.device` holds the TensorFlow twins and is imported by name, by the
stages that compute: extract, train and the teachers.
"""

from limbeck.labels import codecs, final, positions, relations, sparse, states
from limbeck.labels.fault import Fault
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side
from limbeck.labels.signals import (
    AttentionSignal,
    FinalSignal,
    Group,
    HiddenSignal,
    LabelDims,
    QkvSignal,
    RelationsSignal,
    Signal,
    SparseSignal,
    TaskSignal,
    from_dict,
    to_dict,
)

__all__ = [
    "AttentionSignal",
    "Fault",
    "FinalSignal",
    "Fitted",
    "Group",
    "HiddenSignal",
    "LabelDims",
    "QkvSignal",
    "RelationsSignal",
    "Side",
    "Signal",
    "SparseSignal",
    "TaskSignal",
    "codecs",
    "final",
    "from_dict",
    "positions",
    "relations",
    "sparse",
    "states",
    "to_dict",
]
