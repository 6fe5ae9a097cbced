"""A teacher of any architecture that transformers has, in PyTorch."""

# B rows, T tokens, M used slots of all rows together, V vocabulary, D hidden, L layers

import contextlib
import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from limbeck.config.errors import UsageError
from limbeck.labels import HiddenSignal, Signal, SparseSignal
from limbeck.teachers.protocol import Answers, TeacherBatch, TeacherFacts
from limbeck.teachers.slots import UsedSlots
from limbeck.teachers.torch_codec import top_k_with_tail
from limbeck.teachers.torch_model import TorchModel

__all__ = ["TorchTeacher"]

_DTYPES = {"float16": torch.float16, "float32": torch.float32}


class TorchTeacher:
    """Runs a model of transformers; see `limbeck.teachers.protocol.Teacher`.

    Only what is stored leaves the accelerator. The head runs at the masked positions only: its
    input, which the model under it gives, is cut to them on the way.

    Args:
      loaded: the model.
      facts: what is known of it.
      threads: CPU threads, of the whole process; 0 leaves the choice to PyTorch.

    Raises:
      UsageError: the model does not answer as a text encoder or decoder does.
    """

    def __init__(self, loaded: TorchModel, facts: TeacherFacts, *, threads: int = 0) -> None:
        self._facts = facts
        self._config = loaded.config
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = loaded.model.to(self._device)
        self._segments = "token_type_ids" in inspect.signature(self._model.forward).parameters
        _configure(threads)
        self._head_alone = self._probe()

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

    def signals(self, batch: TeacherBatch, wanted: Mapping[str, Signal]) -> Answers:
        """Computes every wanted signal in one forward pass; see the protocol."""
        slots = UsedSlots(batch)
        tokens = self._tensor(slots.tokens)
        with torch.inference_mode():
            logits, hidden = self._forward(batch, tokens, wanted)
            true_ids = self._tensor(slots.true_ids)
            answers = {
                name: top_k_with_tail(
                    logits, true_ids, k=signal.k, temperatures=signal.temperatures
                )
                if isinstance(signal, SparseSignal)
                else {"states": _states(hidden[signal.layer], signal, tokens)}
                for name, signal in wanted.items()
            }
        arrays = {
            name: {field: values.cpu().numpy() for field, values in found.items()}
            for name, found in answers.items()
        }
        for found in arrays.values():
            if "ids" in found:
                found["ids"] = found["ids"].astype(np.int32)
        return slots.fill(arrays, wanted)

    def _forward(
        self, batch: TeacherBatch, tokens: torch.Tensor, wanted: Mapping[str, Signal]
    ) -> tuple[Any, Any]:
        """Logits (M, V) or None, and the states (B, T, D) of layers 0 to L or None."""
        asked = {type(signal) for signal in wanted.values()}
        inputs = self._inputs(batch)
        inputs["output_hidden_states"] = HiddenSignal in asked
        if SparseSignal not in asked:
            return None, _body(self._model)(**inputs).hidden_states
        if not self._head_alone:
            output = self._model(**inputs)
            logits, hidden = _at(output.logits, tokens), output.hidden_states
        else:
            with _cut(_body(self._model), tokens) as kept:
                logits, hidden = self._model(**inputs).logits[0], kept.get("hidden_states")
        return logits[:, : self._facts.vocab_size], hidden

    def _inputs(self, batch: TeacherBatch) -> dict[str, Any]:
        ids = np.where(batch.attention_mask == 1, batch.ids, self._config.pad_id)
        inputs = {
            "input_ids": self._tensor(ids),
            "attention_mask": self._tensor(batch.attention_mask),
            "return_dict": True,
        }
        if self._segments and self._config.num_segments > 1:
            inputs["token_type_ids"] = self._tensor(batch.segment_ids)
        return inputs

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array.astype(np.int64)).to(self._device)

    def _probe(self) -> bool:
        """Checks what comes out for three tokens; returns whether the head can run by itself."""
        row = np.array([[1, 2, 3]], np.int32) % self._facts.vocab_size
        batch = TeacherBatch(
            ids=row,
            segment_ids=0 * row,
            attention_mask=0 * row + 1,
            positions=row[:, :1],
            true_ids=row[:, :1],
        )
        self._check_states(batch)
        if self._facts.why_no_logits is not None:
            return False
        sparse = {"probe": SparseSignal(k=1)}
        tokens = self._tensor(np.array([1, 2]))
        self._head_alone = False
        with torch.inference_mode():
            expected, _ = self._forward(batch, tokens, sparse)
            if expected.shape != (2, self._facts.vocab_size):
                raise UsageError(
                    f"{self._facts.where}: logits are {expected.shape[-1]} wide, but the "
                    f"vocabulary has {self._facts.vocab_size} ids"
                )
            self._head_alone = True
            try:
                found, _ = self._forward(batch, tokens, sparse)
            except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
                return False  # a model that is built otherwise: its head runs everywhere
            return found.shape == expected.shape and bool(
                torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
            )

    def _check_states(self, batch: TeacherBatch) -> None:
        facts = self._facts
        with torch.inference_mode():
            hidden = _body(self._model)(
                **self._inputs(batch), output_hidden_states=True
            ).hidden_states
        shapes = [tuple(states.shape) for states in hidden or ()]
        if shapes != [(1, 3, facts.hidden_dim)] * (facts.num_layers + 1):
            raise UsageError(
                f"{facts.where}: {facts.num_layers + 1} states of width {facts.hidden_dim} are "
                f"expected from its config; it gives {len(shapes)}, the last {shapes[-1:]}"
            )


def _body(model: Any) -> Any:
    """The model without its head; itself where it has none."""
    return model.base_model


@contextlib.contextmanager
def _cut(body: Any, tokens: torch.Tensor) -> Iterator[dict[str, Any]]:
    """While open, the last states that leave `body` are those at `tokens`, as one row.

    Yields:
      a dict that holds, once `body` has run, what else it gave.
    """
    kept: dict[str, Any] = {}

    def cut(_module: Any, _inputs: Any, output: Any) -> Any:
        kept["hidden_states"] = output.hidden_states
        output["last_hidden_state"] = _at(output.last_hidden_state, tokens)[None]
        return output

    handle = body.register_forward_hook(cut)
    try:
        yield kept
    finally:
        handle.remove()


def _states(states: torch.Tensor, signal: HiddenSignal, tokens: torch.Tensor) -> torch.Tensor:
    if signal.positions == "masked":
        states = _at(states, tokens)
    elif signal.positions == "first":
        states = states[:, :1]
    return states.to(_DTYPES[signal.dtype])


def _at(states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """(B, T, D) at flat tokens (M,) -> (M, D)."""
    return states.reshape(-1, states.shape[-1])[tokens]


def _configure(threads: int) -> None:
    """Threads and determinism, for the whole process."""
    # cuBLAS is deterministic only with a workspace of its own, which it reads before its start.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # every new tensor, with NaN
    if threads:
        torch.set_num_threads(threads)
