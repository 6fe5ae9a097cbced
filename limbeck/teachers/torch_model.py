"""Models of any architecture through transformers, and which heads they have."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import transformers

from limbeck.architectures.hf_families import FAMILIES
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels.signals import Group
from limbeck.teachers.config_facts import ConfigFacts, config_facts
from limbeck.teachers.our_models import teacher_head
from limbeck.weights.checkpoint import Checkpoint

__all__ = ["TorchModel", "load_torch_model"]

_READ = ("vocab_size", "num_hidden_layers", "hidden_size", "max_position_embeddings")
_READ_TOO = ("pad_token_id", "type_vocab_size", "model_type", "is_encoder_decoder")
# How transformers' classes of task models end -> where they answer. Regression is a class too.
_TASKS: dict[str, Group] = {
    "ForSequenceClassification": "first",
    "ForNextSentencePrediction": "first",
    "ForTokenClassification": "all",
    "ForQuestionAnswering": "all",
}


@dataclass(frozen=True, kw_only=True)
class TorchModel:
    """A model of transformers, frozen, in float32."""

    model: Any
    """With its head, or the encoder or decoder alone."""
    config: ConfigFacts
    """Its sizes."""
    predicts: Literal["masked", "next"] | None
    """What its vocabulary logits are of; None where it has none."""
    task_positions: Group | None
    """Where its task head answers; None where it has none."""
    why_no_logits: str | None
    """Why it gives no vocabulary logits; None where it does."""
    why_no_task: str | None
    """Why it gives no logits of a task; None where it does."""


def load_torch_model(
    directory: str | os.PathLike[str], *, checkpoint: Checkpoint | None = None
) -> TorchModel:
    """Loads a folder of transformers, from the disk alone and without code of its own.

    Args:
      directory: the folder.
      checkpoint: the same, where it is of a family of ours: it says which head there is.

    Raises:
      UsageError: no text encoder or decoder, or one that needs code from its folder.
      LimbeckError: weights are damaged or missing.
    """
    where = os.fspath(directory)
    with _quiet(), _one_line(where):
        config = transformers.AutoConfig.from_pretrained(directory, local_files_only=True)
    stated = {name: getattr(config, name, None) for name in (*_READ, *_READ_TOO)}
    facts = config_facts(stated, where=os.fspath(Path(directory) / "config.json"))
    if checkpoint is None:
        return _other(directory, config, facts, where=where)
    return _ours(directory, checkpoint, facts, where=where)


def _ours(directory: Any, checkpoint: Checkpoint, facts: ConfigFacts, *, where: str) -> TorchModel:
    """A family of ours, whose `TeacherFacts` say what it gives."""
    spec, head = FAMILIES[checkpoint.architecture.family], teacher_head(checkpoint)
    model, report = _load(getattr(transformers, spec.heads[head]), directory, where=where)
    _refuse_missing(model, report, where=where, allowed=("pooler",) if head == "encoder" else ())
    predicts = {"masked_lm": "masked", "pretraining": "masked", "causal_lm": "next"}.get(head)
    return _frozen(model, facts, predicts=predicts)


def _other(directory: Any, config: Any, facts: ConfigFacts, *, where: str) -> TorchModel:
    """Any other family: the task that it names, else a language model, else its states."""
    named = str((getattr(config, "architectures", None) or [""])[0])
    for ending, positions in _TASKS.items():
        if named.endswith(ending) and hasattr(transformers, named):
            model, report = _load(getattr(transformers, named), directory, where=where)
            _refuse_missing(model, report, where=where)
            return _frozen(model, facts, task_positions=positions, why_no_logits=f"is a {named}")
    if type(config) in transformers.MODEL_FOR_CAUSAL_LM_MAPPING and _is_causal(config, named):
        model, report = _load(transformers.AutoModelForCausalLM, directory, where=where)
        _refuse_missing(model, report, where=where)
        return _frozen(model, facts, predicts="next", why_no_task="is a causal language model")
    model, why = _with_masked_head(directory, config, where=where)
    if model is not None:
        return _frozen(model, facts, predicts="masked", why_no_task="is a masked language model")
    model, report = _load(transformers.AutoModel, directory, where=where)
    _refuse_missing(model, report, where=where, allowed=("pooler",))
    return _frozen(model, facts, why_no_logits=why, why_no_task=why)


def _frozen(
    model: Any,
    facts: ConfigFacts,
    *,
    predicts: Any = None,
    task_positions: Group | None = None,
    why_no_logits: str | None = None,
    why_no_task: str | None = None,
) -> TorchModel:
    model.requires_grad_(False)
    return TorchModel(
        model=model.eval(),
        config=facts,
        predicts=predicts,
        task_positions=task_positions,
        why_no_logits=why_no_logits,
        why_no_task=why_no_task,
    )


def _is_causal(config: Any, named: str) -> bool:
    """As `ConfigFacts.is_causal`; a config that names no class is of what its family is for."""
    if named:
        return named.endswith(("ForCausalLM", "LMHeadModel"))
    return type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING


def _with_masked_head(directory: Any, config: Any, *, where: str) -> tuple[Any, str | None]:
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
