"""Checkpoints in and out: tensors, model folders, fingerprints.

The doors here are free of TensorFlow (but for reading its own checkpoints and Keras files);
`limbeck.weights.hf` makes models and loads it.
"""

from limbeck.weights.checkpoint import Checkpoint
from limbeck.weights.fingerprint import fingerprint
from limbeck.weights.hf_folder import read_hf
from limbeck.weights.read import read_checkpoint
from limbeck.weights.report import LoadReport
from limbeck.weights.safetensors_file import read_tensors, write_tensors

__all__ = [
    "Checkpoint",
    "LoadReport",
    "fingerprint",
    "read_checkpoint",
    "read_hf",
    "read_tensors",
    "write_tensors",
]
