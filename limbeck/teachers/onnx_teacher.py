"""A teacher that is an exported graph, in ONNX Runtime."""

# B rows, T tokens, M chosen positions, V vocabulary, D hidden, H heads, C outputs of a task head

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side
from limbeck.labels.signals import Group, Signal, Source
from limbeck.teachers import host_codec
from limbeck.teachers.asked import asked_of
from limbeck.teachers.memory import refuse_without_memory
from limbeck.teachers.onnx_graph import IDS, MASK, PLACES, SEGMENTS, OnnxPlan
from limbeck.teachers.parts import with_draws
from limbeck.teachers.protocol import Answers, Items, LoadOptions, TeacherBatch, TeacherFacts

__all__ = ["OnnxTeacher"]

Arrays = dict[str, np.ndarray]
Codec = Callable[[str, Arrays, Items], Arrays]

# A graph gives logits at every token; batches are cut by rows until they fit.
_LOGITS_BYTES = 256 << 20
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxTeacher:
    """Runs a graph; see `limbeck.teachers.protocol.Teacher`.

    What ONNX Runtime gives is whole tensors, encoded by the NumPy codecs on the host.

    Args:
      plan: of the graph.
      options: how it computes; precision is the graph's own.

    Raises:
      LimbeckError: ONNX Runtime cannot load the graph.
      UsageError: what it gives has not the widths that its config says, or a choice that graphs
        do not have.
    """

    def __init__(self, plan: OnnxPlan, *, options: LoadOptions) -> None:
        if options.jit or options.precision != "float32":
            what = "jit is on" if options.jit else f"precision is {options.precision}"
            raise UsageError(
                f"{what}, but {plan.path} is a graph, which computes as it was exported; leave "
                "these options at their defaults"
            )
        self._plan = plan
        self._session = _open(plan, threads=options.threads)
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

    def side(self, signal: Signal) -> Side:
        """What an attention family says of itself; no other signal with a side is a graph's."""
        if signal.kind != "attention":
            return Side()
        return Side(facts={"mask": "causal" if self.facts.causal else "padding"})

    def raw(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> Answers:
        """Computes the tensors themselves; see the protocol."""
        return self._answers(batch, dict(wanted), lambda _name, raw, _items: raw)

    def bare(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> None:
        """Computes the tensors, and encodes nothing; see the protocol."""
        self.raw(batch, wanted)

    def signals(self, batch: TeacherBatch, wanted: Mapping[str, Fitted]) -> Answers:
        """Computes every wanted signal in one forward pass; see the protocol."""

        def codec(name: str, raw: Arrays, items: Items) -> Arrays:
            assert items.draws is not None  # `with_draws` saw to it
            return host_codec.encode(wanted[name], raw, true_ids=items.true_ids, draws=items.draws)

        signals = {name: fitted.signal for name, fitted in wanted.items()}
        return self._answers(batch, signals, codec)

    def _answers(self, batch: TeacherBatch, signals: dict[str, Signal], codec: Codec) -> Answers:
        num_rows, num_tokens = batch.ids.shape
        asked = asked_of(signals.values())
        row_bytes = num_tokens * self.facts.vocab_size * 4 if asked.vocabulary else 1
        step = max(1, _LOGITS_BYTES // row_bytes)
        with refuse_without_memory(
            batch, where=str(self._plan.path), device=self.device, is_one=_is_out_of_memory
        ):
            parts = [
                self._part(_rows(batch, start, step, asked.groups), signals, codec)
                for start in range(0, num_rows, step)
            ]
            return {
                name: {field: np.concatenate([p[name][field] for p in parts]) for field in arrays}
                for name, arrays in parts[0].items()
            }

    def _part(self, batch: TeacherBatch, signals: dict[str, Signal], codec: Codec) -> Answers:
        sources = {(signal.source, signal.positions) for signal in signals.values()}
        names = sorted({name for source, _ in sources for name in self._outputs(source)})
        found = dict(zip(names, self._run(names, batch), strict=True))
        raw = {
            (source, group): self._arrays(source, found, batch.items[group].index, batch)
            for source, group in sources
        }
        return {
            name: codec(name, raw[signal.source, signal.positions], batch.items[signal.positions])
            for name, signal in signals.items()
        }

    def _outputs(self, source: Source) -> tuple[str, ...]:
        """Outputs of the graph that a source is."""
        layer = source.layer or 0
        match source.kind:
            case "hidden":
                return (self._plan.layers[layer],)
            case "attention":
                return (self._plan.attentions[layer],)
            case "task":
                return self._plan.task
        return (str(self._plan.logits),)

    def _arrays(
        self, source: Source, found: Mapping[str, np.ndarray], index: np.ndarray, batch: Any
    ) -> Arrays:
        """The raw arrays of a source at flat positions (M,), float32."""
        outputs = [found[name] for name in self._outputs(source)]
        name = source.arrays[0]
        match source.kind:
            case "hidden":
                values = _at(outputs[0], index)
            case "attention":
                values = _at(outputs[0].transpose(0, 2, 1, 3), index)
            case "task":
                values = self._task(outputs, index, num_tokens=batch.ids.shape[1])
            case _:
                values = _at(outputs[0], index)[:, : self.facts.vocab_size]
        return {name: values.astype(np.float32, copy=False)}

    def _task(self, outputs: list[np.ndarray], index: np.ndarray, *, num_tokens: int) -> np.ndarray:
        """(M, C) at flat positions (M,)."""
        if self.facts.task_positions == "first":
            return outputs[0][index // num_tokens]
        by_token = [values if values.ndim == 3 else values[..., None] for values in outputs]
        return _at(np.concatenate(by_token, axis=-1), index)

    def _feeds(self, batch: TeacherBatch) -> dict[str, np.ndarray]:
        ids = np.where(batch.attention_mask == 1, batch.ids, self._plan.config.pad_id)
        segments = batch.segment_ids if self._plan.config.num_segments > 1 else 0 * ids
        if SEGMENTS not in self._plan.inputs and segments.any():
            raise LimbeckError(
                f"{self._plan.path}: the examples have two segments and the model knows "
                f"{self._plan.config.num_segments}, but the graph has no input {SEGMENTS}; export "
                "it again with that"
            )
        places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        values = {IDS: ids, MASK: batch.attention_mask, SEGMENTS: segments, PLACES: places}
        return {name: values[name].astype(dtype) for name, dtype in self._plan.inputs.items()}

    def _run(self, names: list[str], batch: TeacherBatch) -> list[np.ndarray]:
        try:
            return self._session.run(names, self._feeds(batch))
        except (LimbeckError, MemoryError):
            raise
        except Exception as error:  # ONNX Runtime's own classes have no other base
            if _is_out_of_memory(error):
                raise MemoryError(_line(error)) from error
            raise LimbeckError(
                f"{self._plan.path}: ONNX Runtime cannot run it: {_line(error)}"
            ) from error

    def _probe(self) -> None:
        """Asks for everything once, on two tokens."""
        two = np.ones((1, 2), np.int32)
        batch = TeacherBatch(ids=two, segment_ids=0 * two, attention_mask=two)
        facts, plan = self.facts, self._plan
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(
            plan.layers.values(), (1, 2, facts.hidden_dim)
        )
        shapes |= dict.fromkeys(plan.attentions.values(), (1, facts.num_heads, 2, 2))
        one_a_row = (1, facts.num_labels)
        one_a_token = (1, 2) if facts.num_labels == len(plan.task) else (1, 2, facts.num_labels)
        shapes |= dict.fromkeys(
            plan.task, one_a_row if facts.task_positions == "first" else one_a_token
        )
        if plan.logits is not None:
            shapes[plan.logits] = (1, 2, facts.vocab_size)
        for name, found in zip(shapes, self._run(list(shapes), batch), strict=True):
            expected = shapes[name]
            wide = name == plan.logits and found.shape[-1] > expected[-1]
            if found.shape[:-1] != expected[:-1] or (found.shape != expected and not wide):
                raise UsageError(
                    f"{plan.path}: output {name} is {list(found.shape)} for a row of two "
                    f"tokens, but config.json says that it is {list(expected)}; is it the "
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


def _is_out_of_memory(error: Exception) -> bool:
    said = str(error)
    return "bad_alloc" in said or "Failed to allocate memory" in said


def _rows(batch: TeacherBatch, start: int, step: int, groups: tuple[Group, ...]) -> TeacherBatch:
    """Some rows of a batch, and the items that are in them."""
    rows, num_tokens = slice(start, start + step), batch.ids.shape[1]
    items = {}
    for group in groups:
        given = with_draws(batch.items[group])
        ends = np.array([start, start + step]) * num_tokens
        first, last = np.searchsorted(given.index, ends)
        assert given.draws is not None  # `with_draws` saw to it
        items[group] = Items(
            index=given.index[first:last] - np.int32(ends[0]),
            true_ids=given.true_ids[first:last],
            draws=given.draws[first:last],
        )
    return TeacherBatch(
        ids=batch.ids[rows],
        segment_ids=batch.segment_ids[rows],
        attention_mask=batch.attention_mask[rows],
        items=items,
    )


def _at(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(B, T, ...) at flat positions (M,) -> (M, ...)."""
    return values.reshape(-1, *values.shape[2:])[index]
