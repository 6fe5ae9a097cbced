"""Any checkpoint, whatever its format: a folder of transformers, Google's, a run, a Keras file."""

import os
from pathlib import Path

from limbeck.config.errors import UsageError
from limbeck.weights.checkpoint import Checkpoint
from limbeck.weights.hf_folder import CONFIG_NAME, hf_checkpoint, holds_hf
from limbeck.weights.keras_file import holds_keras, keras_checkpoint
from limbeck.weights.run_folder import holds_run, run_checkpoint
from limbeck.weights.tensorflow_folder import holds_tensorflow, tensorflow_checkpoint
from limbeck.weights.vocabulary import check_vocabulary

__all__ = ["read_checkpoint"]


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Reads a checkpoint under our names.

    Args:
      path: a folder of transformers (`config.json` beside safetensors or `pytorch_model.bin`), a
        folder with one of Google's TensorFlow checkpoints and its `bert_config.json`, a directory
        of `train run`, or a `.keras` or `.weights.h5` file of a model of ours.

    Raises:
      UsageError: nothing of that kind, or of an unknown family; what is in it does not fit.
      LimbeckError: a file is damaged.
    """
    if holds_keras(path):
        return keras_checkpoint(path)
    if not Path(path).is_dir():
        what = "a file of another kind" if Path(path).exists() else "no such folder"
        raise UsageError(
            f"{path}: {what}; a model folder, a run's directory or a .keras file is expected"
        )
    if holds_run(path) and not holds_hf(path):
        return run_checkpoint(path)
    if holds_tensorflow(path) and not holds_hf(path):
        checkpoint = tensorflow_checkpoint(path)
    elif (Path(path) / CONFIG_NAME).is_file():
        checkpoint = hf_checkpoint(path)
    else:
        raise UsageError(
            f"{path}: not a model folder ({CONFIG_NAME} beside model.safetensors is expected, or a "
            "bert_config.json beside a TensorFlow checkpoint)"
        )
    check_vocabulary(path, checkpoint)
    return checkpoint
