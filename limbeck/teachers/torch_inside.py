"""One forward pass of a model of transformers, and every source of a signal in it."""

# B rows, T tokens, M chosen positions, D hidden, H heads, C outputs of a task head, L layers

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from limbeck.labels.signals import Group, Source
from limbeck.teachers.asked import Asked
from limbeck.teachers.torch_taps import Projections, Tapped, body_of, head_alone, tapped

__all__ = ["Pass", "at", "attentions_of", "forward", "source_arrays"]

_QKV = ("queries", "keys", "values")
_SENTENCE = ("seq_relationship_logits", "sop_logits")  # of models that have vocabulary logits too


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What one forward pass gave."""

    body: Any
    """The output of the body: last and hidden states."""
    task: torch.Tensor | None = None
    """Logits of the task, (B, C) or (B, T, C)."""
    tapped: Tapped = field(default_factory=Tapped)
    """Of the layers that were asked for."""
    attentions: tuple[torch.Tensor, ...] = ()
    """Of every layer, (B, H, T, T); none unless asked for."""


def forward(
    model: Any,
    inputs: dict[str, Any],
    asked: Asked,
    *,
    projections: Projections | None,
    task_positions: Group | None,
) -> Pass:
    """Runs the body, and the task's head where it is asked for."""
    layers = {"inputs": asked.layers("relations"), "qkv": asked.layers("qkv")}
    body = body_of(model)
    with tapped(projections, **layers) as kept, _outputs(body) as seen:
        more = {"output_hidden_states": bool(asked.layers("hidden"))}
        if asked.task and not _has_vocabulary(model):
            task = _task_logits(model(**inputs, **more), task_positions)
        else:
            body(**inputs, **more)
            task = None
    output = seen[0]
    if asked.task and task is None:  # without its logits over the vocabulary
        first = output.last_hidden_state[0, :1]
        with head_alone(body, output, first):
            task = _task_logits(model(**inputs), task_positions)
    attentions = attentions_of(model, inputs) if asked.layers("attention") else ()
    return Pass(body=output, task=task, tapped=kept, attentions=attentions)


def attentions_of(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """Attention probabilities of every layer, by a pass of its own.

    Only the plain form of attention has them, whose last bits differ from the fused one's: what
    else is wanted shall not depend on who else asks.
    """
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        output = body_of(model)(**inputs, output_attentions=True)
        return tuple(output.attentions or ())
    finally:
        model.set_attn_implementation(before)


def source_arrays(done: Pass, source: Source, index: torch.Tensor) -> dict[str, torch.Tensor]:
    """The raw arrays of a source of the body at flat positions (M,), float32."""
    layer = source.layer or 0
    match source.kind:
        case "hidden":
            arrays = {"states": at(done.body.hidden_states[layer], index)}
        case "relations":
            arrays = {"states": at(done.tapped.inputs[layer], index)}
        case "qkv":
            found = done.tapped.qkv[layer]
            arrays = {name: at(found[part], index) for part, name in enumerate(_QKV)}
        case "attention":
            arrays = {"probabilities": at(done.attentions[layer - 1].transpose(1, 2), index)}
        case _:
            assert done.task is not None  # `forward` was asked for it
            if done.task.ndim == 2:  # one answer a row: that of the position's row
                arrays = {"logits": done.task[index // done.body.last_hidden_state.shape[1]]}
            else:
                arrays = {"logits": at(done.task, index)}
    return {name: x.float() for name, x in arrays.items()}


def at(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """(B, T, ...) at flat positions (M,) -> (M, ...)."""
    return x.reshape(-1, *x.shape[2:])[index]


def _task_logits(output: Any, positions: Group | None) -> torch.Tensor:
    """Logits of a task head, (B, C) of rows or (B, T, C) of tokens."""
    for name in _SENTENCE:
        if output.get(name) is not None:
            found: torch.Tensor = output[name]
            return found
    if output.get("start_logits") is not None:
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    logits: torch.Tensor = output.logits
    one_a_token = positions == "all" and logits.ndim == 2  # as ELECTRA's discriminator gives
    return logits[..., None] if one_a_token else logits


@contextlib.contextmanager
def _outputs(body: Any) -> Iterator[list[Any]]:
    """While open, keeps what the body gives."""
    seen: list[Any] = []
    handle = body.register_forward_hook(lambda _module, _given, output: seen.append(output))
    try:
        yield seen
    finally:
        handle.remove()


def _has_vocabulary(model: Any) -> bool:
    return model.get_output_embeddings() is not None
