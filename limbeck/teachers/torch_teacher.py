"""A teacher of any architecture that transformers has, in PyTorch."""

# B rows, T tokens, M chosen positions, V vocabulary, D hidden, E what the decoder multiplies

import contextlib
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from limbeck.config.errors import UsageError
from limbeck.labels.fitted import Fitted
from limbeck.labels.side import Side
from limbeck.labels.signals import Group, Signal
from limbeck.teachers.asked import Asked, asked_of
from limbeck.teachers.memory import refuse_without_memory
from limbeck.teachers.parts import parts_of_items, with_draws
from limbeck.teachers.protocol import Answers, LoadOptions, TeacherBatch, TeacherFacts
from limbeck.teachers.torch_codecs import encode
from limbeck.teachers.torch_inside import Pass, at, forward, source_arrays
from limbeck.teachers.torch_model import TorchModel
from limbeck.teachers.torch_taps import (
    body_of,
    decoder_input,
    find_projections,
    head_alone,
)

__all__ = ["TorchTeacher"]

Tensors = dict[str, torch.Tensor]
# (family, raw arrays, true ids (M,), draws (M, 2)) -> arrays to fetch
Codec = Callable[[str, Tensors, torch.Tensor, torch.Tensor], Tensors]

_PRECISIONS = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}


class TorchTeacher:
    """Runs a model of transformers; see `limbeck.teachers.protocol.Teacher`.

    Only what is stored leaves the accelerator. The head runs at the chosen positions only: beside
    a body that gives it these.

    Args:
      loaded: the model.
      facts: what is known of it.
      side: what a signal's family keeps of it.
      options: how it computes; threads are those of the whole process.

    Raises:
      UsageError: a choice that PyTorch teachers do not have.
    """

    def __init__(
        self,
        loaded: TorchModel,
        facts: TeacherFacts,
        *,
        side: Callable[[Signal], Side],
        options: LoadOptions,
    ) -> None:
        if options.jit:
            raise UsageError(
                f"jit is on, but {facts.where} runs in PyTorch, where nothing is compiled; "
                "turn it off, or take backend: keras"
            )
        self._facts = facts
        self._side = side
        self._config = loaded.config
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = loaded.model.to(self._device)
        takes = inspect.signature(self._model.forward).parameters
        self._segments = "token_type_ids" in takes and loaded.config.num_segments > 1
        self._caches = "use_cache" in takes
        self._dtype = _PRECISIONS.get(options.precision)
        self._projections = find_projections(body_of(self._model), facts.num_layers)
        _configure(options.threads)
        # A model that is built otherwise runs its head at every token.
        self._head_alone = facts.why_no_logits is None and self._runs_head_alone()

    @property
    def facts(self) -> TeacherFacts:
        """What is known of it."""
        return self._facts

    @property
    def device(self) -> str:
        """Device and version."""
        if self._device.type == "cuda":
            return f"{torch.cuda.get_device_name(self._device)}, torch {torch.__version__}"
        return f"cpu ({os.cpu_count()} cores), torch {torch.__version__}"

    def side(self, signal: Signal) -> Side:
        """What a family of this signal keeps of the teacher."""
        return self._side(signal)

    def raw(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> Answers:
        """Computes the tensors themselves; see the protocol."""
        return self._answers(batch, dict(wanted), lambda _name, raw, _ids, _draws: dict(raw))

    def bare(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> None:
        """Computes the tensors and fetches a number of each; see the protocol."""
        self._answers(
            batch,
            dict(wanted),
            lambda _name, raw, _ids, _draws: {n: x.reshape(-1)[:1] for n, x in raw.items()},
        )

    def signals(self, batch: TeacherBatch, wanted: Mapping[str, Fitted]) -> Answers:
        """Computes every wanted signal in one forward pass; see the protocol."""
        signals = {name: fitted.signal for name, fitted in wanted.items()}
        return self._answers(
            batch,
            signals,
            lambda name, raw, ids, draws: encode(wanted[name], raw, true_ids=ids, draws=draws),
        )

    def _answers(self, batch: TeacherBatch, signals: dict[str, Signal], codec: Codec) -> Answers:
        asked = asked_of(signals.values())
        with (
            refuse_without_memory(
                batch, where=self._facts.where, device=self.device, is_one=_is_out_of_memory
            ),
            torch.inference_mode(),
            self._autocast(),
        ):
            done = self._forward(batch, asked)
            answers = self._from_body(done, batch, signals, asked, codec)
            for group in asked.head_groups():
                answers |= self._from_head(done, batch, signals, group, codec)
            return {name: _numpy(answers[name]) for name in signals}

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)

    def _forward(self, batch: TeacherBatch, asked: Asked) -> Pass:
        return forward(
            self._model,
            self._inputs(batch),
            asked,
            projections=self._projections,
            task_positions=self._facts.task_positions,
        )

    def _from_body(
        self,
        done: Pass,
        batch: TeacherBatch,
        signals: dict[str, Signal],
        asked: Asked,
        codec: Codec,
    ) -> dict[str, list[Tensors]]:
        """Family -> its arrays, of all that no vocabulary head has a part in."""
        answers: dict[str, list[Tensors]] = {}
        for source, group in asked.body:
            index, ids, draws = self._items(batch, group)
            raw = source_arrays(done, source, index)
            for name, signal in signals.items():
                if (signal.source, signal.positions) == (source, group):
                    with torch.autocast(self._device.type, enabled=False):
                        answers[name] = [codec(name, raw, ids, draws)]
        return answers

    def _from_head(
        self,
        done: Pass,
        batch: TeacherBatch,
        signals: dict[str, Signal],
        group: Group,
        codec: Codec,
    ) -> dict[str, list[Tensors]]:
        """Family -> its arrays part by part, of the head's logits and its decoder's input."""
        chosen = {
            name: signal
            for name, signal in signals.items()
            if signal.positions == group and signal.source.kind in ("logits", "final")
        }
        answers: dict[str, list[Tensors]] = {name: [] for name in chosen}
        for part in parts_of_items(with_draws(batch.items[group])):
            index, ids, draws = (self._tensor(x) for x in (part.index, part.true_ids, part.draws))
            raw = self._head(done, batch, index)
            for name, signal in chosen.items():
                with torch.autocast(self._device.type, enabled=False):
                    answers[name].append(codec(name, raw[signal.source.kind], ids, draws))
        return answers

    def _head(self, done: Pass, batch: TeacherBatch, index: torch.Tensor) -> dict[str, Tensors]:
        """Kind (logits, final) -> its raw arrays at flat positions (M,), float32."""
        states = at(done.body.last_hidden_state, index)
        whole = not self._head_alone
        with contextlib.ExitStack() as stack:
            seen = None
            if self._facts.why_no_final is None:
                seen = stack.enter_context(decoder_input(self._model))
            if not whole:
                stack.enter_context(head_alone(body_of(self._model), done.body, states))
            logits = _logits(self._model(**self._inputs(batch)))
            raw = {"logits": {"logits": _rows(logits, index, whole)[:, : self._facts.vocab_size]}}
            if seen is not None:
                raw["final"] = {"states": _rows(seen[-1], index, whole)}
        return raw

    def _items(self, batch: TeacherBatch, group: Group) -> tuple[torch.Tensor, ...]:
        items = with_draws(batch.items[group])
        return tuple(self._tensor(x) for x in (items.index, items.true_ids, items.draws))

    def _inputs(self, batch: TeacherBatch) -> dict[str, Any]:
        ids = np.where(batch.attention_mask == 1, batch.ids, self._config.pad_id)
        inputs = {
            "input_ids": self._tensor(ids),
            "attention_mask": self._tensor(batch.attention_mask),
            "return_dict": True,
        }
        if self._segments:
            inputs["token_type_ids"] = self._tensor(batch.segment_ids)
        if self._caches:
            inputs["use_cache"] = False
        return inputs

    def _tensor(self, array: np.ndarray | None) -> torch.Tensor:
        assert array is not None  # `with_draws` saw to it
        return torch.from_numpy(array.astype(np.int64)).to(self._device)

    def _runs_head_alone(self) -> bool:
        row = np.array([[1, 2, 3]], np.int32) % self._facts.vocab_size
        batch = TeacherBatch(ids=row, segment_ids=0 * row, attention_mask=0 * row + 1)
        index = self._tensor(np.array([1, 2]))
        with torch.inference_mode():
            done = self._forward(batch, asked_of(()))
            self._head_alone = False
            expected = self._head(done, batch, index)["logits"]["logits"]
            self._head_alone = True
            try:
                found = self._head(done, batch, index)["logits"]["logits"]
            except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
                return False
            return found.shape == expected.shape and bool(
                torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
            )


def _logits(output: Any) -> torch.Tensor:
    """Over the vocabulary; models for pre-training call them otherwise."""
    found = output.get("prediction_logits")
    logits: torch.Tensor = output.logits if found is None else found
    return logits


def _rows(x: torch.Tensor, index: torch.Tensor, whole: bool) -> torch.Tensor:
    """(M, ...) float32 of (B, T, ...) if `whole`, else of the one row (1, M, ...)."""
    return (at(x, index) if whole else x.reshape(-1, x.shape[-1])).float()


def _numpy(parts: list[Tensors]) -> dict[str, np.ndarray]:
    joined = {name: [part[name].cpu().numpy() for part in parts] for name in parts[0]}
    return {name: x[0] if len(x) == 1 else np.concatenate(x) for name, x in joined.items()}


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and ("alloc" in said and "memory" in said)


def _configure(threads: int) -> None:
    """Threads and determinism, for the whole process."""
    # cuBLAS is deterministic only with a workspace of its own, which it reads before its start.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # every new tensor, with NaN
    if threads:
        torch.set_num_threads(threads)
