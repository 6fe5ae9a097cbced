"""Checkpoints in and out: tensors, model folders, fingerprints.

The doors here are free of TensorFlow; `limbeck.weights.hf` makes models and loads it.
"""

from limbeck.weights.fingerprint import fingerprint
from limbeck.weights.hf_folder import read_hf
from limbeck.weights.report import LoadReport
from limbeck.weights.safetensors_file import read_tensors, write_tensors

__all__ = ["LoadReport", "fingerprint", "read_hf", "read_tensors", "write_tensors"]
