"""What is known of a teacher of our families, whatever runs it: facts, head, sides.

Read from its checkpoint under our names, without TensorFlow.
"""

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.hf_families import FAMILIES
from limbeck.labels.side import Side
from limbeck.labels.signals import Group, Signal
from limbeck.teachers.facts import Backend, TeacherFacts
from limbeck.weights.checkpoint import Checkpoint
from limbeck.weights.fingerprint import fingerprint_of
from limbeck.weights.heads import HEAD_TITLES, likely_head, parts_of

if TYPE_CHECKING:  # loads TensorFlow
    from limbeck.models.build import HeadName

__all__ = ["facts_of", "side_of", "teacher_head"]

_LANGUAGE: dict[str, Literal["masked", "next"]] = {
    "masked_lm": "masked",
    "pretraining": "masked",
    "causal_lm": "next",
}
# Head -> where its task is answered, and in how many numbers (None: as its classifier has).
_TASKS: dict[str, tuple[Group, int | None]] = {
    "classifier": ("first", None),
    "next_sentence": ("first", 2),
    "pretraining": ("first", 2),
    "token_classifier": ("all", None),
    "question_answering": ("all", 2),
    "replaced_token": ("all", 1),
}


def teacher_head(checkpoint: Checkpoint) -> "HeadName":
    """The head that a checkpoint answers with: what its config names, if its tensors are there."""
    decoder = isinstance(checkpoint.architecture, DecoderArchitecture)
    alone: HeadName = "decoder" if decoder else "encoder"
    head = cast("HeadName", likely_head(checkpoint))
    both = {"head", "next_sentence", "pooler"}
    knows_both = "pretraining" in FAMILIES[checkpoint.architecture.family].heads
    if head == "masked_lm" and knows_both and all(checkpoint.has_head({p}) for p in both):
        return "pretraining"  # as BERT's own checkpoints, of which few configs say so
    tied = {"head"} if getattr(checkpoint.architecture, "tied", False) else set()
    if not all(checkpoint.has_head({part}) for part in parts_of(head) - tied):
        return alone
    return head


def facts_of(checkpoint: Checkpoint, *, backend: Backend, where: str) -> TeacherFacts:
    """What is known of a checkpoint as a teacher."""
    shape, head = checkpoint.architecture, teacher_head(checkpoint)
    predicts = _LANGUAGE.get(head)
    why = None if predicts else _why(shape_kind=_kind(shape), head=head)
    positions, outputs = _TASKS.get(head, (None, 0))
    if outputs is None:
        outputs = int(checkpoint.value("classifier/kernel").shape[-1])
    head_dim = shape.hidden_dim // shape.num_heads
    return TeacherFacts(
        backend=backend,
        where=where,
        folder=where,
        fingerprint=fingerprint_of(checkpoint),
        vocab_size=shape.vocab_size,
        num_layers=shape.num_layers,
        hidden_dim=shape.hidden_dim,
        max_positions=shape.max_positions,
        predicts=predicts,
        final_dim=getattr(shape, "embedding_width", shape.hidden_dim) if predicts else 0,
        num_heads=shape.num_heads,
        query_dim=shape.hidden_dim,
        key_dim=getattr(shape, "num_kv_heads", shape.num_heads) * head_dim,
        causal=isinstance(shape, DecoderArchitecture),
        num_labels=outputs,
        task_positions=positions,
        why_no_logits=why,
        why_no_final=why,
        why_no_task=None if positions else _why(shape_kind=_kind(shape), head=head),
    )


def side_of(checkpoint: Checkpoint, signal: Signal) -> Side:
    """What a family of this signal keeps of a checkpoint; see `limbeck.labels.side.Side`."""
    if signal.kind == "final":
        return Side(tensors=_decoder(checkpoint))
    if signal.kind == "relations":
        tensors = _projections(checkpoint, signal.layer)
        return Side(tensors=tensors, facts=_attention_facts(checkpoint.architecture))
    if signal.kind == "qkv":
        return Side(facts=_attention_facts(checkpoint.architecture))
    if signal.kind == "attention":
        return Side(facts={"mask": _attention_facts(checkpoint.architecture)["mask"]})
    return Side()


def _kind(shape: object) -> str:
    return "decoder" if isinstance(shape, DecoderArchitecture) else "encoder"


def _why(*, shape_kind: str, head: str) -> str:
    if head == shape_kind:
        return f"is {'an' if shape_kind == 'encoder' else 'a'} {shape_kind} without one"
    return f"is a {HEAD_TITLES[head]}"


def _decoder(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    body = _kind(checkpoint.architecture)
    if "head/kernel" in checkpoint.found:
        kernel = np.ascontiguousarray(checkpoint.value("head/kernel").T)
    else:
        kernel = checkpoint.value(f"{body}/embeddings/token")
    bias = np.zeros(len(kernel), np.float32)
    if "head/output_bias" in checkpoint.found:
        bias = checkpoint.value("head/output_bias")
    return {"decoder/kernel": kernel, "decoder/bias": bias}


def _projections(checkpoint: Checkpoint, layer: int) -> dict[str, np.ndarray]:
    shape = checkpoint.architecture
    stored = 0 if getattr(shape, "shared_layers", False) else layer - 1
    prefix = f"{_kind(shape)}/layer_{stored}/attention"
    return {
        f"{name}/{part}": checkpoint.value(f"{prefix}/{name}/{part}")
        for name in ("query", "key", "value")
        for part in ("kernel", "bias")
        if f"{prefix}/{name}/{part}" in checkpoint.found
    }


def _attention_facts(shape: Any) -> dict[str, Any]:
    """How every layer of this shape attends; see `limbeck.labels.side.Side`."""
    is_decoder = isinstance(shape, DecoderArchitecture)
    rotary = {"theta": shape.rope_theta} if is_decoder and shape.positions == "rotary" else None
    return {
        "num_heads": shape.num_heads,
        "num_kv_heads": getattr(shape, "num_kv_heads", shape.num_heads),
        "head_dim": shape.hidden_dim // shape.num_heads,
        "mask": "causal" if is_decoder else "padding",
        "rotary": rotary,
    }
