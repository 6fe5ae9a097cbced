"""The model that a `.keras` file holds; importing this lets `keras.saving.load_model` read one."""

import contextlib
import dataclasses
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.architectures.hf_config import Architecture
from limbeck.models.build import empty
from limbeck.records.files import fsync_directory, remove_leftovers, temporary_name
from limbeck.weights.heads import head_of, num_labels_of

__all__ = ["SavedTransformer", "quiet_keras", "save_keras"]


@keras.saving.register_keras_serializable(package="limbeck", name="Transformer")
class SavedTransformer(keras.Model):
    """A model of `limbeck.models.build`, which is `model`, with a config that Keras can save.

    Args:
      architecture: of the model; a file holds its fields.
      head: the model's.
      num_labels: of its classifier, if it has one.
      pooler: whether the encoder alone has its pooler.
      model: an existing one; None makes it, with zeros for weights.
    """

    def __init__(
        self,
        *,
        architecture: Architecture | Mapping[str, Any],
        head: str,
        num_labels: int | None = None,
        pooler: bool = True,
        model: Any = None,
        name: str = "transformer",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        if isinstance(architecture, Mapping):
            decoder = architecture["family"] in ("gpt2", "llama")
            kind = DecoderArchitecture if decoder else EncoderArchitecture
            architecture = kind(**architecture)
        self.architecture, self.head_name, self.num_labels = architecture, head, num_labels
        self.model = model or empty(
            architecture,
            head=head,  # type: ignore[arg-type]
            num_labels=num_labels or 2,
            pooler=pooler,
        )
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        """Nothing is left to make."""

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """As the model."""
        return self.model(*args, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Architecture and head."""
        return {
            "name": self.name,
            "architecture": dataclasses.asdict(self.architecture),
            "head": self.head_name,
            "num_labels": self.num_labels,
            "pooler": getattr(self.model, "pooler", None) is not None,
        }


@contextlib.contextmanager
def quiet_keras() -> Iterator[None]:
    """Keeps Keras' own calls of NumPy, which NumPy 2 warns of, to itself."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        yield


def save_keras(model: Any, path: str | os.PathLike[str]) -> Path:
    """Writes a `.keras` file, which appears whole or not at all.

    Args:
      model: of `limbeck.models.build`, with any head.
      path: ends with `.keras`.
    """
    path = Path(path)
    saved = SavedTransformer(
        architecture=model.architecture,
        head=head_of(model),
        num_labels=num_labels_of(model),
        model=model,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, {path.name})
    staging = path.with_name(temporary_name(path.name))
    staging.mkdir()
    try:
        with quiet_keras():
            saved.save(staging / path.name)
        descriptor = os.open(staging / path.name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(staging / path.name, path)
        fsync_directory(path.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return path
