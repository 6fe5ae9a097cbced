"""Which inputs and outputs of an ONNX graph mean what, and what kind of teacher that makes."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.teachers.choose import find_onnx
from limbeck.teachers.config_facts import ConfigFacts, config_facts
from limbeck.teachers.fingerprints import onnx_fingerprint
from limbeck.teachers.onnx_file import OnnxGraph, OnnxValue, read_graph
from limbeck.teachers.protocol import TeacherFacts
from limbeck.weights.hf_folder import CONFIG_NAME, read_config

__all__ = ["OnnxPlan", "read_plan"]

IDS, MASK, SEGMENTS = "input_ids", "attention_mask", "token_type_ids"
_LAYER = re.compile(r"hidden_states?[._]?(\d+)")
_LAST = ("last_hidden_state", "token_embeddings")
_LOGITS = ("logits", "prediction_logits", "prediction_scores")
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
    if logits is None and not layers:
        names = ", ".join(value.name for value in graph.outputs)
        raise UsageError(
            f"{file}: none of its outputs ({names}) is known; logits, last_hidden_state and "
            "hidden_states.N are"
        )
    facts = TeacherFacts(
        backend="onnx",
        where=os.fspath(file),
        folder=os.fspath(folder),
        fingerprint=onnx_fingerprint(file, _side_files(graph, where=file)),
        vocab_size=config.vocab_size,
        num_layers=config.num_layers,
        hidden_dim=config.hidden_dim,
        max_positions=config.max_positions,
        why_no_logits=_why_no_logits(logits, config),
        hidden_layers=frozenset(layers),
    )
    return OnnxPlan(
        path=file, facts=facts, config=config, inputs=inputs, logits=logits, layers=layers
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
        raise UsageError(f"{where}: no input {sorted(missing)[0]}; not the graph of a text encoder")
    for name, value in known.items():
        if name not in (IDS, MASK, SEGMENTS):
            raise UsageError(
                f"{where}: it wants an input {name}, which is not known; export it with "
                f"{IDS}, {MASK} and, where it has segments, {SEGMENTS}"
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


def _may_be(value: OnnxValue, width: int) -> bool:
    """Whether an output can be (B, T, at least `width`); classifiers' logits are (B, labels)."""
    last = value.shape[-1] if value.shape else None
    fits = len(value.shape) in (0, 3) and (last is None or last >= width)
    return value.dtype in _FLOATS and fits


def _why_no_logits(logits: str | None, config: ConfigFacts) -> str | None:
    if config.is_causal:
        return f"predicts what comes next ({config.family})"
    return None if logits else "has no output `logits` of its vocabulary's width"


def _side_files(graph: OnnxGraph, *, where: Path) -> tuple[str, ...]:
    for name in graph.external_files:
        if Path(name).name != name or not (where.parent / name).is_file():
            raise LimbeckError(
                f"{where}: its weights are said to be in {name!r}, which is not beside it; fetch "
                "all files of the export into one folder"
            )
    return graph.external_files
