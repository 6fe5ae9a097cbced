"""What a model of transformers gives, found out by asking it three tokens."""

# L layers, E what the decoder multiplies, V vocabulary, C outputs of a task head

import dataclasses
import os
from typing import Any

import torch

from limbeck.config.errors import UsageError
from limbeck.labels.side import Side
from limbeck.labels.signals import Signal
from limbeck.teachers.asked import asked_of
from limbeck.teachers.facts import TeacherFacts
from limbeck.teachers.torch_inside import attentions_of, forward
from limbeck.teachers.torch_model import TorchModel
from limbeck.teachers.torch_taps import body_of, decoder_input, decoder_of, find_projections

__all__ = ["check_answers", "facts_of_any", "side_of_any"]


def facts_of_any(
    loaded: TorchModel, *, where: str | os.PathLike[str], fingerprint: str
) -> TeacherFacts:
    """The facts of a family that is none of ours.

    Raises:
      UsageError: the model does not answer as a text encoder or decoder does.
    """
    path, config = os.fspath(where), loaded.config
    facts = TeacherFacts(
        backend="pytorch",
        where=path,
        folder=path,
        fingerprint=fingerprint,
        vocab_size=config.vocab_size,
        num_layers=config.num_layers,
        hidden_dim=config.hidden_dim,
        max_positions=config.max_positions,
        predicts=loaded.predicts,
        task_positions=loaded.task_positions,
        why_no_logits=loaded.why_no_logits,
        why_no_final=loaded.why_no_logits,
        why_no_task=loaded.why_no_task,
        why_no_relations=f"is of a family ({config.family}) whose projections and positions are "
        "not known here: keep qkv of it",
    )
    check_answers(loaded, facts)
    with torch.inference_mode():
        facts = dataclasses.replace(facts, causal=is_causal(loaded), **_inside(loaded))
        facts = dataclasses.replace(facts, **_final(loaded, facts))
        return dataclasses.replace(facts, num_labels=_num_labels(loaded))


def side_of_any(loaded: TorchModel, signal: Signal) -> Side:
    """What a family of this signal keeps of the model; see `limbeck.labels.side.Side`."""
    if signal.kind in ("qkv", "attention"):
        return Side(facts={"mask": "causal" if is_causal(loaded) else "padding"})
    if signal.kind != "final":
        return Side()
    decoder = decoder_of(loaded.model)
    kernel = decoder.weight.detach().float().cpu().numpy()[: loaded.config.vocab_size]
    bias = torch.zeros(len(decoder.weight)) if decoder.bias is None else decoder.bias.detach()
    return Side(
        tensors={
            "decoder/kernel": kernel.copy(),
            "decoder/bias": bias.float().cpu().numpy()[: len(kernel)].copy(),
        }
    )


def check_answers(loaded: TorchModel, facts: TeacherFacts) -> None:
    """Refuses a model whose states or logits are not what its config says.

    Raises:
      UsageError: naming what came.
    """
    with torch.inference_mode():
        hidden = body_of(loaded.model)(**_inputs(loaded), output_hidden_states=True).hidden_states
        shapes = [tuple(states.shape) for states in hidden or ()]
        if shapes != [(1, 3, facts.hidden_dim)] * (facts.num_layers + 1):
            raise UsageError(
                f"{facts.where}: {facts.num_layers + 1} states of width {facts.hidden_dim} are "
                f"expected from its config; it gives {len(shapes)}, the last {shapes[-1:]}"
            )
        if facts.why_no_logits is not None:
            return
        logits = _logits(loaded)
        if logits.shape[-1] < facts.vocab_size:
            raise UsageError(
                f"{facts.where}: logits are {logits.shape[-1]} wide, but the vocabulary has "
                f"{facts.vocab_size} ids"
            )


def is_causal(loaded: TorchModel) -> bool:
    """Whether the first token's state does not see the last one: what no config says surely."""
    body, inputs = body_of(loaded.model), _inputs(loaded)
    other = inputs["input_ids"].clone()
    other[0, -1] = (other[0, -1] + 1) % loaded.config.vocab_size
    with torch.inference_mode():
        first, second = (
            body(**{**inputs, "input_ids": ids}).last_hidden_state[0, 0]
            for ids in (inputs["input_ids"], other)
        )
    return bool(torch.allclose(first, second, rtol=1e-5, atol=1e-6))  # float32's last bits


def _inside(loaded: TorchModel) -> dict[str, Any]:
    """Facts on attention and its projections."""
    found: dict[str, Any] = {}
    projections = find_projections(body_of(loaded.model), loaded.config.num_layers)
    if projections is None:
        found["why_no_qkv"] = "has projections that are not known here"
    else:
        found["query_dim"], found["key_dim"] = projections.widths
    try:
        attentions = attentions_of(loaded.model, _inputs(loaded))
    except (AttributeError, KeyError, NotImplementedError, TypeError, ValueError):
        attentions = ()
    ranks = {attention.ndim for attention in attentions}
    if len(attentions) != loaded.config.num_layers or ranks != {4}:
        found["why_no_attention"] = "is of a family that does not show them"
    else:
        found["num_heads"] = attentions[0].shape[1]
    return found


def _final(loaded: TorchModel, facts: TeacherFacts) -> dict[str, Any]:
    """Whether the logits are the decoder's matrix times what enters it, and nothing more."""
    if facts.why_no_logits is not None:
        return {}
    decoder = decoder_of(loaded.model)
    if decoder is None:
        return {"why_no_final": "has a decoder that is not one matrix"}
    with decoder_input(loaded.model) as seen:
        logits = _logits(loaded)
    if not seen or not torch.allclose(decoder(seen[-1]), logits, rtol=1e-4, atol=1e-4):
        return {"why_no_final": "gives logits that are not its decoder's matrix times a state"}
    return {"final_dim": decoder.in_features}


def _num_labels(loaded: TorchModel) -> int:
    if loaded.task_positions is None:
        return 0
    from limbeck.labels.signals import TaskSignal

    asked = asked_of([TaskSignal(positions=loaded.task_positions)])
    done = forward(
        loaded.model,
        _inputs(loaded),
        asked,
        projections=None,
        task_positions=loaded.task_positions,
    )
    assert done.task is not None  # it was asked for
    return int(done.task.shape[-1])


def _logits(loaded: TorchModel) -> torch.Tensor:
    output = loaded.model(**_inputs(loaded))
    found = output.get("prediction_logits")
    logits: torch.Tensor = output.logits if found is None else found
    return logits


def _inputs(loaded: TorchModel) -> dict[str, Any]:
    ids = torch.tensor([[1, 2, 3]], device=loaded.model.device) % loaded.config.vocab_size
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "return_dict": True}
