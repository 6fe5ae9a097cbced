"""The numbers of a run before it starts: variables, rows, tokens, bytes, operations. No TensorFlow.

What a run reads, learns and exchanges follows from its recipe and from manifests and indexes. How
long that takes is for others to say: `launch plan` divides these numbers by what machines do.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from limbeck.order import Mixture
from limbeck.ranks import World
from train.inputs import Inputs
from train.reading.batch import base_list, bucket_length
from train.stream import Source
from train.students.trained import num_values, student_shapes

__all__ = ["planned"]

SAMPLED_BATCHES = 8  # whose longest row says how far rows are padded
SAMPLED_ROWS = 1024  # whose masks are counted where no manifest counts them
WIRE_BYTES = {"float32": 4, "float16": 2, "adasum": 4}
WIRE_COLLECTIVES = {"float32": 0, "float16": 2, "adasum": 1}  # beside counts and gradients


def planned(inputs: Inputs, *, num_ranks: int) -> dict[str, Any]:
    """Everything as JSON-able values; per step means over the run.

    `gradient_bytes` is what one rank hands to the sum over ranks at every update, and
    `collectives` how many such sums there are, small ones included. `training_flops` counts
    matrix products of all ranks, padding included, with a backward pass as two forward passes.

    Args:
      inputs: opened and checked.
      num_ranks: over which batches are cut.

    Raises:
      UsageError: `model.freeze` names what the model has not.
    """
    recipe, training = inputs.recipe, inputs.recipe.training
    shapes, frozen = student_shapes(inputs)
    trained = [name for name in shapes if name not in frozen]
    source = inputs.source(World(size=num_ranks), ())
    rows = _rows_fed(inputs)
    epochs = _epochs(inputs, rows)
    tokens = _tokens(inputs, epochs)
    length = _padded_length(source, training.steps)
    forward = _forward_flops(source, inputs, length=length, tokens=tokens / training.steps)
    small = 4 * (len(recipe.objective) + (training.wire == "float16") * len(trained))
    return {
        "parameters": num_values(shapes),
        "trained_parameters": num_values(shapes, trained),
        "trained_variables": len(trained),
        "wire": training.wire,
        "gradient_bytes": WIRE_BYTES[training.wire] * num_values(shapes, trained) + small,
        "collectives": 2 + WIRE_COLLECTIVES[training.wire] + _has_batch_terms(inputs),
        "precision": training.precision,
        "global_batch": training.global_batch,
        "rows_per_micro": source.rows_per_micro,
        "micro_batches": source.num_micro,
        "steps": training.steps,
        "rows": rows,
        "epochs": epochs,
        "tokens": tokens,
        "tokens_per_step": tokens / training.steps,
        "padded_length": length,
        "training_flops": (3 + _has_batch_terms(inputs)) * forward,
        "live_teacher": inputs.live is not None,
        "read_bytes_per_step": _bytes_per_step(inputs, epochs),
        "store_bytes": sum(_bytes_of(d) for part in inputs.corpora.parts for d in part.datasets),
    }


def _rows_fed(inputs: Inputs) -> int:
    """Rows of all steps; under `close` an epoch's last batch is short."""
    training, order = inputs.recipe.training, inputs.order
    if training.order_boundary == "run_on":
        return training.global_batch * training.steps
    an_epoch = -(-order.num_rows // training.global_batch)
    whole, rest = divmod(training.steps, an_epoch)
    return whole * order.num_rows + rest * training.global_batch


def _epochs(inputs: Inputs, rows: int) -> dict[str, float]:
    """Corpus -> how often the run goes through it; without a name where there is one only."""
    order = inputs.order
    if isinstance(order, Mixture):
        return {name: float(epochs) for name, epochs in order.epochs_at(rows).items()}
    return {inputs.corpora.parts[0].name: rows / order.num_rows}


def _tokens(inputs: Inputs, epochs: Mapping[str, float]) -> float:
    """Real tokens that the run feeds, as the manifests count them."""
    return sum(
        epochs[part.name] * part.examples.content.totals["tokens"] for part in inputs.corpora.parts
    )


def _bytes_of(dataset: Any) -> int:
    return int(dataset.content.totals["bytes"])


def _bytes_per_step(inputs: Inputs, epochs: Mapping[str, float]) -> dict[str, float]:
    """What all ranks read for a step, by dataset: `examples`, a family, or CORPUS/FAMILY."""
    steps = inputs.recipe.training.steps
    found = {}
    for part in inputs.corpora.parts:
        stem = f"{part.name}/" if part.name else ""
        sets = {"examples": part.examples} | {n: f.dataset for n, f in part.families.items()}
        for name, dataset in sets.items():
            found[f"{stem}{name}"] = epochs[part.name] * _bytes_of(dataset) / steps
    return found


def _padded_length(source: Source, steps: int) -> float:
    """Mean length to which rows are padded, of the first batches."""
    lengths, position = [], 0
    for _ in range(min(steps, SAMPLED_BATCHES)):
        whole = source.global_rows(position)
        longest = int(source.corpora.lengths(whole.rows).max())
        lengths.append(bucket_length(longest, seq_length=source.corpora.seq_length))
        position = whole.next_position
    return float(np.mean(lengths))


def _forward_flops(source: Source, inputs: Inputs, *, length: float, tokens: float) -> float:
    """Of one step's forward passes over all ranks, padding included."""
    rows = source.world.size * source.num_micro * source.rows_per_micro
    groups = _logit_groups(inputs)
    rows_fed = inputs.recipe.training.global_batch
    positions = {
        "masked": lambda: _masks_per_row(inputs, tokens / rows_fed) * rows_fed,
        "all": lambda: tokens,
        "next": lambda: tokens - rows_fed,
        "first": lambda: rows_fed,
    }
    split = inputs.masker is not None and inputs.live is None and bool(inputs.corpora.families)
    # Masks made while training, and labels of the unmasked input: two passes.
    views = {bool(term.signals) for term in inputs.recipe.objective} if split else {False}
    shape = inputs.architecture
    body = shape.forward_flops(
        num_tokens=round(rows * length), seq_length=round(length), num_logit_positions=0
    )
    head = shape.forward_flops(
        num_tokens=0,
        seq_length=0,
        num_logit_positions=round(sum(positions[group]() for group in groups)),
    )
    return float(len(views) * body + head)


def _logit_groups(inputs: Inputs) -> set[str]:
    """The lists at whose entries the student's vocabulary logits are computed."""
    found = set()
    for term in inputs.recipe.objective:
        families = [inputs.families[signal] for signal in term.signals]
        if term.wants(families).logits:
            found.add(base_list(term.list_name(families)))
    return found


def _masks_per_row(inputs: Inputs, tokens_per_row: float) -> float:
    """Mean number of masked positions."""
    masking = inputs.recipe.data.masking
    if masking is not None:
        return masking.rate * tokens_per_row
    examples = inputs.examples
    if marked := examples.content.totals["labelled_positions"]:
        return marked / examples.num_rows
    sample = examples.read(np.arange(min(SAMPLED_ROWS, examples.num_rows)))
    return float(sample["num_masked"].mean())


def _has_batch_terms(inputs: Inputs) -> int:
    """1 where a term needs a forward pass for statistics of the global batch, and their sum."""
    return int(any(term.reach == "batch" for term in inputs.recipe.objective))
