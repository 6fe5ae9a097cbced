"""Two checkpoints side by side: tensor by tensor, and by what they answer."""

# B rows, T tokens

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from limbeck.config.errors import UsageError
from limbeck.weights.checkpoint import Checkpoint
from limbeck.weights.heads import likely_head

__all__ = ["Comparison", "check_sample", "compare", "sample_inputs"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two checkpoints differ in."""

    tensors: tuple[tuple[str, float], ...]
    """(variable, greatest absolute difference) where shapes agree."""
    apart: tuple[tuple[str, str], ...]
    """(variable, why it cannot be compared)."""
    outputs: tuple[tuple[str, float], ...]
    """(what both answer, greatest absolute difference at real tokens)."""
    why_no_outputs: str | None
    """Why there are none."""

    def lines(self) -> Iterator[str]:
        """A table, the largest differences first."""
        different = [item for item in self.tensors if item[1] > 0.0]
        yield (
            f"{len(self.tensors)} variables of equal shape, {len(different)} of them different; "
            f"{len(self.apart)} cannot be compared"
        )
        for name, difference in sorted(different, key=lambda item: -item[1]):
            yield f"  {difference:12.6g}  {name}"
        for name, why in self.apart:
            yield f"  {'-':>12}  {name}: {why}"
        if self.why_no_outputs:
            yield f"outputs were not compared: {self.why_no_outputs}"
            return
        yield "greatest difference of outputs on sample inputs"
        for name, difference in self.outputs:
            yield f"  {difference:12.6g}  {name}"


def compare(a: Checkpoint, b: Checkpoint, *, rows: int, tokens: int, seed: int) -> Comparison:
    """Compares two checkpoints.

    Args:
      a: one.
      b: the other.
      rows: B, of the sample inputs.
      tokens: T; no more than both models have positions.
      seed: of the sample inputs.
    """
    both, apart = [], []
    for name in sorted(set(a.found) | set(b.found)):
        if name not in a.found or name not in b.found:
            apart.append((name, f"only in {a.where if name in a.found else b.where}"))
            continue
        first, second = a.found[name].values, b.found[name].values
        if first.shape != second.shape:
            apart.append((name, f"{list(first.shape)} and {list(second.shape)}"))
        else:
            difference = np.abs(first.astype(np.float64) - second.astype(np.float64))
            both.append((name, float(difference.max(initial=0.0))))
    why = _why_no_outputs(a, b)
    inputs = None if why else sample_inputs(a, b, rows=rows, tokens=tokens, seed=seed)
    return Comparison(
        tensors=tuple(both),
        apart=tuple(apart),
        outputs=tuple(_outputs(a, b, inputs)) if inputs else (),
        why_no_outputs=why,
    )


def sample_inputs(
    a: Checkpoint, b: Checkpoint, *, rows: int, tokens: int, seed: int
) -> dict[str, np.ndarray]:
    """Random rows of many lengths that both models can read: (B, T) int32 each."""
    rng = np.random.default_rng(seed)
    shapes = (a.architecture, b.architecture)
    tokens = min(tokens, *(shape.max_positions for shape in shapes))
    pads = {getattr(shape, "pad_id", 0) for shape in shapes}
    ids = rng.integers(max(pads) + 1, shapes[0].vocab_size, (rows, tokens)).astype(np.int32)
    lengths = rng.integers(1, tokens + 1, rows)
    lengths[0] = tokens
    mask = (np.arange(tokens) < lengths[:, None]).astype(np.int32)
    segments = np.zeros_like(mask)
    if all(getattr(shape, "type_vocab_size", 0) > 1 for shape in shapes):
        segments = (np.arange(tokens) >= lengths[:, None] // 2).astype(np.int32) * mask
    return {
        "ids": np.where(mask == 1, ids, min(pads)),
        "segment_ids": segments,
        "attention_mask": mask,
    }


def _why_no_outputs(a: Checkpoint, b: Checkpoint) -> str | None:
    """Why the models cannot be asked the same thing."""
    first, second = a.architecture, b.architecture
    if first.vocab_size != second.vocab_size:
        return f"vocabularies of {first.vocab_size} and {second.vocab_size}"
    if getattr(first, "pad_id", 0) != getattr(second, "pad_id", 0):
        return "their ids of padding differ"
    if first.vocab_size <= getattr(first, "pad_id", 0) + 1:
        return "a vocabulary of nothing but padding"
    return None


def _outputs(
    a: Checkpoint, b: Checkpoint, inputs: dict[str, np.ndarray]
) -> Iterator[tuple[str, float]]:
    answers = [_answers(checkpoint, inputs) for checkpoint in (a, b)]
    mask = inputs["attention_mask"] == 1
    common = [name for name in answers[0] if name in answers[1]]
    for name in common:
        first, second = answers[0][name], answers[1][name]
        if first.shape != second.shape:
            continue
        difference = np.abs(first - second)
        by_token = difference.shape[:2] == mask.shape
        yield name, float((difference[mask] if by_token else difference).max(initial=0.0))


def _answers(checkpoint: Checkpoint, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every layer's states, and what the head says."""
    from limbeck.weights.load import model_of

    head: Any = likely_head(checkpoint)
    model, _ = model_of(checkpoint, head=head, strict=False)
    values = (inputs["ids"], inputs["segment_ids"], inputs["attention_mask"])
    layers = tuple(range(checkpoint.architecture.num_layers + 1))
    encoded = model.encode(*values, hidden_layers=layers)
    answers = {f"hidden states {n}": encoded.hidden[n].numpy() for n in layers}
    if head in ("encoder", "decoder"):
        pooler = getattr(model, "pooler", None)
        return answers if pooler is None else {**answers, "pooled": pooler(encoded.last).numpy()}
    if head in ("masked_lm", "causal_lm", "pretraining"):
        return {**answers, "vocabulary logits": model.logits(encoded.last).numpy()}
    answer = model(*values)
    if head == "question_answering":
        return {**answers, "start logits": answer.start.numpy(), "end logits": answer.end.numpy()}
    return {**answers, f"{head} logits": answer.numpy()}


def check_sample(rows: int, tokens: int) -> None:
    """Refuses a sample of nothing.

    Raises:
      UsageError: names the option.
    """
    for name, value in (("rows", rows), ("tokens", tokens)):
        if value < 1:
            raise UsageError(f"--{name} must be at least 1, got {value}")
