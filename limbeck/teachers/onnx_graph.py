"""Which inputs and outputs of an ONNX graph mean what, and what kind of teacher that makes."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels.signals import Group
from limbeck.teachers.choose import find_onnx
from limbeck.teachers.config_facts import ConfigFacts, config_facts
from limbeck.teachers.fingerprints import onnx_fingerprint
from limbeck.teachers.onnx_file import OnnxGraph, OnnxValue, read_graph
from limbeck.teachers.protocol import TeacherFacts
from limbeck.weights.hf_folder import CONFIG_NAME, read_config

__all__ = ["OnnxPlan", "read_plan"]

IDS, MASK, SEGMENTS = "input_ids", "attention_mask", "token_type_ids"
PLACES = "position_ids"  # graphs of decoders ask for it
_KNOWN = (IDS, MASK, SEGMENTS, PLACES)
_LAYER = re.compile(r"hidden_states?[._]?(\d+)")
_ATTENTION = re.compile(r"attentions?[._]?(\d+)")
_LAST = ("last_hidden_state", "token_embeddings")
_LOGITS = ("logits", "prediction_logits", "prediction_scores")
_SENTENCE = ("seq_relationship_logits", "sop_logits")
_SPAN = ("start_logits", "end_logits")
_LANGUAGE = ("ForMaskedLM", "LMHeadModel", "ForCausalLM", "ForPreTraining")
_INTEGERS, _FLOATS = ("int32", "int64"), ("float32", "float16")


@dataclass(frozen=True, kw_only=True)
class OnnxPlan:
    """How a graph is asked."""

    path: Path
    """Its file."""
    facts: TeacherFacts
    """What it can give."""
    config: ConfigFacts
    """What the `config.json` beside it says."""
    inputs: dict[str, str]
    """Its inputs: name -> integer type."""
    logits: str | None
    """Output (B, T, V), if there is one."""
    layers: dict[int, str]
    """Layer -> output (B, T, D)."""
    attentions: dict[int, str]
    """Layer -> output (B, H, T, T)."""
    task: tuple[str, ...]
    """Outputs of a task head: one (B, C) or (B, T, C), or two (B, T) of a span; none without."""


def read_plan(path: str | os.PathLike[str]) -> OnnxPlan:
    """Reads what a graph can give, without ONNX Runtime.

    The sizes that a graph does not state come from the `config.json` beside it, or one folder up.

    Raises:
      UsageError: no graph there, no config, or a graph that is no text model of open length.
      LimbeckError: a file is damaged.
    """
    file = find_onnx(path)
    folder = _config_folder(file)
    config = config_facts(read_config(folder), where=os.fspath(folder / CONFIG_NAME))
    graph = read_graph(file)
    inputs = _inputs(graph, where=file)
    logits = _logits(graph, config)
    layers = _layers(graph, config, where=file)
    attentions = _attentions(graph, config)
    task, positions, num_labels = _task(graph, config, logits)
    if logits is None and not layers and not attentions and not task:
        names = ", ".join(value.name for value in graph.outputs)
        raise UsageError(
            f"{file}: none of its outputs ({names}) is known; logits, last_hidden_state, "
            "hidden_states.N and attentions.N are"
        )
    shows_not = "is a graph, which does not show them"
    facts = TeacherFacts(
        backend="onnx",
        where=os.fspath(file),
        folder=os.fspath(folder),
        fingerprint=onnx_fingerprint(file, _side_files(graph, where=file)),
        vocab_size=config.vocab_size,
        num_layers=config.num_layers,
        hidden_dim=config.hidden_dim,
        max_positions=config.max_positions,
        predicts=None if logits is None else "next" if config.is_causal else "masked",
        num_heads=config.num_heads if attentions else 0,
        causal=config.is_causal,
        num_labels=num_labels,
        task_positions=positions,
        why_no_logits=None if logits else "has no output `logits` of its vocabulary's width",
        why_no_final=shows_not,
        why_no_relations=shows_not,
        why_no_qkv=shows_not,
        why_no_attention=None if attentions else "has no outputs `attentions.N`",
        why_no_task=None if task else "has no output that is known for a task's",
        hidden_layers=frozenset(layers),
        attention_layers=frozenset(attentions),
    )
    return OnnxPlan(
        path=file,
        facts=facts,
        config=config,
        inputs=inputs,
        logits=logits,
        layers=layers,
        attentions=attentions,
        task=task,
    )


def _config_folder(file: Path) -> Path:
    for folder in (file.parent, file.parent.parent):
        if (folder / CONFIG_NAME).is_file():
            return folder
    raise UsageError(
        f"{file}: no {CONFIG_NAME} beside it or one folder up; put the model's there (vocab_size, "
        "hidden_size, num_hidden_layers and max_position_embeddings are read)"
    )


def _inputs(graph: OnnxGraph, *, where: Path) -> dict[str, str]:
    known = {value.name: value for value in graph.inputs}
    if missing := {IDS, MASK} - known.keys():
        raise UsageError(f"{where}: no input {sorted(missing)[0]}; not the graph of a text model")
    for name, value in known.items():
        if name not in _KNOWN:
            raise UsageError(
                f"{where}: it wants an input {name}, which is not known; export it with "
                f"{IDS}, {MASK} and, where it has segments, {SEGMENTS}; a decoder without its "
                "cache of keys and values"
            )
        if value.dtype not in _INTEGERS:
            raise UsageError(f"{where}: input {name} is {value.dtype}; integers are expected")
        if any(size is not None for size in value.shape):
            raise UsageError(
                f"{where}: input {name} has the fixed shape {list(value.shape)}; export it with "
                "an open batch and length (dynamic axes)"
            )
    return {name: value.dtype for name, value in known.items()}


def _logits(graph: OnnxGraph, config: ConfigFacts) -> str | None:
    if config.named and not config.named.endswith(_LANGUAGE):
        return None  # the logits are of a task
    for value in graph.outputs:
        if value.name in _LOGITS and _may_be(value, config.vocab_size):
            return value.name
    return None


def _layers(graph: OnnxGraph, config: ConfigFacts, *, where: Path) -> dict[int, str]:
    layers: dict[int, str] = {}
    for value in graph.outputs:
        match = _LAYER.fullmatch(value.name)
        layer = config.num_layers if value.name in _LAST else int(match[1]) if match else None
        if layer is None or not _may_be(value, config.hidden_dim):
            continue
        if layer > config.num_layers:
            raise UsageError(
                f"{where}: output {value.name}, but config.json says that there are "
                f"{config.num_layers} layers; is it the config of this graph?"
            )
        layers[layer] = value.name
    return layers


def _attentions(graph: OnnxGraph, config: ConfigFacts) -> dict[int, str]:
    """transformers' tuple begins at the first layer."""
    found = {value.name: _ATTENTION.fullmatch(value.name) for value in graph.outputs}
    layers = {int(match[1]) + 1: name for name, match in found.items() if match}
    return {n: name for n, name in layers.items() if n <= config.num_layers and config.num_heads}


def _task(
    graph: OnnxGraph, config: ConfigFacts, logits: str | None
) -> tuple[tuple[str, ...], Group | None, int]:
    """Outputs of a task head, where it answers, and in how many numbers (0: the probe says)."""
    names = {value.name: value for value in graph.outputs}
    if all(name in names for name in _SPAN):
        return _SPAN, "all", 2
    for name in _SENTENCE:
        if name in names:
            return (name,), "first", 2
    value = names.get("logits")
    if value is None or logits == value.name:
        return (), None, 0
    token = config.named.endswith("ForTokenClassification") or len(value.shape) == 3
    detector = config.named.endswith("ForPreTraining")  # one number a token, as ELECTRA's
    width = value.shape[-1] if value.shape and not detector else None
    positions: Group = "all" if token or detector else "first"
    return ("logits",), positions, 1 if detector else width or config.num_labels


def _may_be(value: OnnxValue, width: int) -> bool:
    """Whether an output can be (B, T, at least `width`); classifiers' logits are (B, labels)."""
    last = value.shape[-1] if value.shape else None
    fits = len(value.shape) in (0, 3) and (last is None or last >= width)
    return value.dtype in _FLOATS and fits


def _side_files(graph: OnnxGraph, *, where: Path) -> tuple[str, ...]:
    for name in graph.external_files:
        if Path(name).name != name or not (where.parent / name).is_file():
            raise LimbeckError(
                f"{where}: its weights are said to be in {name!r}, which is not beside it; fetch "
                "all files of the export into one folder"
            )
    return graph.external_files
