"""Models of any architecture through transformers' AutoModel, and whether they have a head."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.teachers.config_facts import ConfigFacts, config_facts

__all__ = ["TorchModel", "load_torch_model"]

_READ = ("vocab_size", "num_hidden_layers", "hidden_size", "max_position_embeddings")
_READ_TOO = ("pad_token_id", "type_vocab_size", "model_type", "is_encoder_decoder")


@dataclass(frozen=True, kw_only=True)
class TorchModel:
    """A model of transformers, frozen, in float32."""

    model: Any
    """With a masked-LM head, or the encoder or decoder alone."""
    config: ConfigFacts
    """Its sizes."""
    why_no_logits: str | None
    """Why it has no masked-LM head; None where it has one."""


def load_torch_model(directory: str | os.PathLike[str]) -> TorchModel:
    """Loads a folder of transformers, from the disk alone and without code of its own.

    Raises:
      UsageError: no text encoder or decoder, or one that needs code from its folder.
      LimbeckError: weights are damaged or missing.
    """
    where = os.fspath(directory)
    with _quiet(), _one_line(where):
        config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True)
    stated = {name: getattr(config, name, None) for name in (*_READ, *_READ_TOO)}
    facts = config_facts(stated, where=os.fspath(Path(directory) / "config.json"))
    model, why = _with_head(directory, config, where=where)
    if model is None:
        model, report = _load(transformers.AutoModel, directory, where=where)
        _refuse_missing(model, report, where=where, allowed=("pooler",))
    model.requires_grad_(False)
    return TorchModel(model=model.eval(), config=facts, why_no_logits=why)


def _with_head(directory: Any, config: Any, *, where: str) -> tuple[Any, str | None]:
    """The model with its masked-LM head, or None and why there is none."""
    if type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING:
        return None, f"is of a family without one ({config.model_type})"
    model, report = _load(transformers.AutoModelForMaskedLM, directory, where=where)
    inside = f"{model.base_model_prefix}."
    if any(not name.startswith(inside) for name in report["missing_keys"]):
        return None, "is an encoder without one"
    _refuse_missing(model, report, where=where)
    return model, None


def _load(cls: Any, directory: Any, *, where: str) -> tuple[Any, dict[str, Any]]:
    with _quiet(), _one_line(where):
        return cls.from_pretrained(
            directory,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )


def _refuse_missing(
    model: Any, report: dict[str, Any], *, where: str, allowed: tuple[str, ...] = ()
) -> None:
    """transformers draws what it does not find; a teacher of random weights is none."""
    missing = sorted(n for n in report["missing_keys"] if not any(part in n for part in allowed))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise LimbeckError(
            f"{where}: {missing[0]}{more} of {type(model).__name__} is missing; is it complete?"
        )
    if report.get("mismatched_keys"):
        name = sorted(map(str, report["mismatched_keys"]))[0]
        raise LimbeckError(f"{where}: {name} has not the shape that config.json says")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No bars and no table of what was loaded: what is wrong is raised."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _one_line(where: str) -> Iterator[None]:
    """transformers raises what it likes for a folder that it cannot load."""
    try:
        yield
    except LimbeckError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        first = " ".join(str(error).split())[:240]
        raise UsageError(f"{where}: transformers cannot load it: {first}") from error
