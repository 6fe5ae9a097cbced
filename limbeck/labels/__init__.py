"""Teacher signals as arrays: what is stored, how it is encoded, and targets rebuilt from it.

NumPy only. `limbeck.labels.device` holds the TensorFlow twins and is imported by name, by the
stages that compute: extract, train and the teachers.
"""

from limbeck.labels import hidden, positions, sparse
from limbeck.labels.fault import Fault
from limbeck.labels.signals import HiddenSignal, Signal, SparseSignal, from_dict, to_dict

__all__ = [
    "Fault",
    "HiddenSignal",
    "Signal",
    "SparseSignal",
    "from_dict",
    "hidden",
    "positions",
    "sparse",
    "to_dict",
]
