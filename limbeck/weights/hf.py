"""Masked LMs from and to model folders of transformers: the doors that most callers need."""

import os

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.masked_lm import MaskedLM
from limbeck.weights.export import export_hf
from limbeck.weights.hf_folder import read_hf
from limbeck.weights.load import HeadInitialisation, MissingHead, load_model
from limbeck.weights.report import LoadReport

__all__ = [
    "HeadInitialisation",
    "LoadReport",
    "export_hf",
    "load_masked_lm",
    "load_model",
    "read_hf",
]


def load_masked_lm(
    directory: str | os.PathLike[str],
    *,
    missing_head: MissingHead = "error",
    head_initialisation: HeadInitialisation = "identity",
    layers: tuple[int, ...] | None = None,
    architecture: EncoderArchitecture | None = None,
    strict: bool = True,
    seed: int = 0,
) -> tuple[MaskedLM, LoadReport]:
    """Makes a masked LM with the weights of a checkpoint; see `load_model`."""
    return load_model(
        directory,
        head="masked_lm",
        missing_head=missing_head,
        head_initialisation=head_initialisation,
        layers=layers,
        architecture=architecture,
        strict=strict,
        seed=seed,
    )
