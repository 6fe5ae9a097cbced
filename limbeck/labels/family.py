"""A stored family's codec, from its manifest and what lies beside its shards; and back."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import from_dict, to_dict
from limbeck.records.dataset import Dataset
from limbeck.records.manifest import MANIFEST

__all__ = ["TENSORS", "attachments", "codec_settings", "read_fitted"]

TENSORS = "tensors.safetensors"
"""Name of the attachment that holds `Fitted.tensors`."""


def codec_settings(fitted: Fitted) -> dict[str, Any]:
    """What a family's manifest settings say of its codec: `signal`, and `chosen` where settled."""
    settings: dict[str, Any] = {"signal": to_dict(fitted.signal)}
    return {**settings, "chosen": dict(fitted.chosen)} if fitted.chosen else settings


def attachments(fitted: Fitted) -> dict[str, bytes]:
    """File name -> content of what stands beside the shards; equal tensors give equal bytes."""
    if not fitted.tensors:
        return {}
    tensors = {
        name: np.ascontiguousarray(fitted.tensors[name], np.float32)
        for name in sorted(fitted.tensors)
    }
    return {TENSORS: save_tensors(tensors)}


def read_fitted(dataset: Dataset) -> Fitted:
    """The codec of an opened label family.

    Raises:
      LimbeckError: the manifest does not declare a signal, or the tensors are damaged.
    """
    where = os.path.join(dataset.directory, MANIFEST)
    settings: Mapping[str, Any] = dataset.content.settings
    declared = settings.get("signal")
    if not isinstance(declared, Mapping):
        raise UsageError(f"{where}: settings.signal is missing; these are no labels of a teacher")
    chosen = settings.get("chosen", {})
    if not isinstance(chosen, Mapping):
        raise LimbeckError(f"{where}: settings.chosen is {chosen!r}; expected a block")
    tensors: Mapping[str, np.ndarray] = {}
    if TENSORS in dataset.content.attachments:
        try:
            tensors = load_tensors(dataset.attachment(TENSORS))
        except SafetensorError as error:
            path = os.path.join(dataset.directory, TENSORS)
            raise LimbeckError(f"{path}: not a file of tensors: {error}") from error
    return Fitted(signal=from_dict(declared, where=where), chosen=chosen, tensors=tensors)
