"""A teacher that is an exported graph, in ONNX Runtime."""

# B rows, T tokens, M used slots of all rows together, V vocabulary, D hidden

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import HiddenSignal, Signal, SparseSignal
from limbeck.teachers.host_codec import encode_sparse, encode_states
from limbeck.teachers.onnx_graph import IDS, MASK, SEGMENTS, OnnxPlan
from limbeck.teachers.protocol import Answers, TeacherBatch, TeacherFacts
from limbeck.teachers.slots import UsedSlots

__all__ = ["OnnxTeacher"]

# A graph gives logits at every token; batches are cut by rows until they fit.
_LOGITS_BYTES = 256 << 20
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxTeacher:
    """Runs a graph; see `limbeck.teachers.protocol.Teacher`.

    What ONNX Runtime gives is whole logits and states, encoded by the NumPy codecs on the host.

    Args:
      plan: of the graph.
      threads: CPU threads; 0 leaves the choice to ONNX Runtime.

    Raises:
      LimbeckError: ONNX Runtime cannot load the graph.
      UsageError: what it gives has not the widths that its config says.
    """

    def __init__(self, plan: OnnxPlan, *, threads: int = 0) -> None:
        self._plan = plan
        self._session = _open(plan, threads=threads)
        self._probe()

    @property
    def facts(self) -> TeacherFacts:
        """What is known of it."""
        return self._plan.facts

    @property
    def device(self) -> str:
        """Version and execution provider."""
        provider = self._session.get_providers()[0].removesuffix("ExecutionProvider")
        cores = f" ({os.cpu_count()} cores)" if provider == "CPU" else ""
        return f"{provider.lower()}{cores}, onnxruntime {onnxruntime.__version__}"

    def signals(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> Answers:
        """Computes every wanted signal in one forward pass; see the protocol."""
        num_rows, num_tokens = batch.ids.shape
        whole = any(isinstance(signal, SparseSignal) for signal in wanted.values())
        row_bytes = num_tokens * self.facts.vocab_size * 4 if whole else 1
        step = max(1, _LOGITS_BYTES // row_bytes)
        parts = [
            self._part(_rows(batch, slice(start, start + step)), wanted)
            for start in range(0, num_rows, step)
        ]
        return {
            name: {field: np.concatenate([p[name][field] for p in parts]) for field in arrays}
            for name, arrays in parts[0].items()
        }

    def _part(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> Answers:
        slots = UsedSlots(batch)
        layers = {s.layer for s in wanted.values() if isinstance(s, HiddenSignal)}
        names = {layer: self._plan.layers[layer] for layer in layers}
        asked = sorted(set(names.values()))
        if any(isinstance(signal, SparseSignal) for signal in wanted.values()):
            asked.append(str(self._plan.logits))
        found = dict(zip(asked, self._run(asked, batch), strict=True))
        answers: Answers = {}
        for name, signal in wanted.items():
            if isinstance(signal, SparseSignal):
                logits = _at(found[str(self._plan.logits)], slots)[:, : self.facts.vocab_size]
                answers[name] = encode_sparse(
                    logits.astype(np.float32, copy=False), slots.true_ids, signal=signal
                )
            else:
                states = _picked(found[names[signal.layer]], signal, slots)
                answers[name] = {"states": encode_states(states, dtype=signal.dtype)}
        return slots.fill(answers, wanted)

    def _feeds(self, batch: TeacherBatch) -> dict[str, np.ndarray]:
        ids = np.where(batch.attention_mask == 1, batch.ids, self._plan.config.pad_id)
        segments = batch.segment_ids if self._plan.config.num_segments > 1 else 0 * ids
        if SEGMENTS not in self._plan.inputs and segments.any():
            raise LimbeckError(
                f"{self._plan.path}: the examples have two segments and the model knows "
                f"{self._plan.config.num_segments}, but the graph has no input {SEGMENTS}; export "
                "it again with that"
            )
        values = {IDS: ids, MASK: batch.attention_mask, SEGMENTS: segments}
        return {name: values[name].astype(dtype) for name, dtype in self._plan.inputs.items()}

    def _run(self, names: list[str], batch: TeacherBatch) -> list[np.ndarray]:
        try:
            return self._session.run(names, self._feeds(batch))
        except LimbeckError:
            raise
        except Exception as error:  # ONNX Runtime's own classes have no other base
            raise LimbeckError(
                f"{self._plan.path}: ONNX Runtime cannot run it: {_line(error)}"
            ) from error

    def _probe(self) -> None:
        """Asks for everything once, on two tokens."""
        two = np.ones((1, 2), np.int32)
        batch = TeacherBatch(
            ids=two, segment_ids=0 * two, attention_mask=two, positions=two[:, :1], true_ids=two
        )
        widths = dict.fromkeys(self._plan.layers.values(), self.facts.hidden_dim)
        if self._plan.logits is not None:
            widths[self._plan.logits] = self.facts.vocab_size
        for name, found in zip(widths, self._run(list(widths), batch), strict=True):
            wide = name == self._plan.logits and found.shape[-1] > widths[name]
            if found.shape[:2] != (1, 2) or (found.shape[-1] != widths[name] and not wide):
                raise UsageError(
                    f"{self._plan.path}: output {name} is {list(found.shape)} for a row of two "
                    f"tokens, but config.json says that it is {widths[name]} wide; is it the "
                    "config of this graph?"
                )


def _open(plan: OnnxPlan, *, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors only: they are raised as well
    there = onnxruntime.get_available_providers()
    providers = [name for name in _PROVIDERS if name in there]
    try:
        return onnxruntime.InferenceSession(os.fspath(plan.path), options, providers=providers)
    except Exception as error:  # as above
        raise LimbeckError(f"{plan.path}: ONNX Runtime cannot load it: {_line(error)}") from error


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]


def _rows(batch: TeacherBatch, rows: slice) -> TeacherBatch:
    fields = (field.name for field in dataclasses.fields(batch))
    return TeacherBatch(**{name: getattr(batch, name)[rows] for name in fields})


def _picked(states: np.ndarray, signal: HiddenSignal, slots: UsedSlots) -> np.ndarray:
    if signal.positions == "masked":
        return _at(states, slots)
    return states[:, :1] if signal.positions == "first" else states


def _at(states: np.ndarray, slots: UsedSlots) -> np.ndarray:
    """(B, T, D) -> (M, D) at the used slots."""
    return states.reshape(-1, states.shape[-1])[slots.tokens]
