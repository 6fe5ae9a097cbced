"""What a run is going to do, printed before it starts. Pure."""

from typing import Any

from limbeck.ranks import World
from limbeck.records.dataset import Dataset
from train.inputs import Inputs
from train.stream import Source
from train.student import Student

__all__ = ["bytes_per_row", "plan_lines"]


def plan_lines(
    inputs: Inputs, source: Source, world: World, *, student: Student, promise: str
) -> list[str]:
    """The lines, with every derived number.

    Args:
      inputs: what is read, and the recipe.
      source: how batches are cut.
      world: the ranks.
      student: what is trained, projections included.
      promise: `train.surroundings.promise`.
    """
    recipe, shape = inputs.recipe, inputs.architecture
    training = recipe.training
    sizes = [_size(v) for v in student.variables]
    decayed = sum(_size(v) for v in student.trained if len(v.shape) > 1)
    frozen = sum(sizes) - sum(_size(v) for v in student.trained)
    rows = training.global_batch * training.steps
    datasets = [inputs.examples, *(f.dataset for f in inputs.families.values())]
    row_bytes = sum(bytes_per_row(dataset) for dataset in datasets)
    families = "".join(
        f", {name} ({f.signal.kind}, {f.signal.positions}, {bytes_per_row(f.dataset):,.0f} B/row)"
        for name, f in inputs.families.items()
    )
    return [
        f"run       {recipe.name}, seed {recipe.seed}",
        f"student   {shape.num_layers} layers x {shape.hidden_dim}, vocabulary "
        f"{shape.vocab_size:,}: {sum(sizes):,} parameters in {len(sizes)} variables, "
        f"{decayed:,} of them with weight decay {recipe.optimizer.weight_decay:g}"
        + (f", {frozen:,} frozen" if frozen else "")
        + (f", {training.precision}" if training.precision != "float32" else ""),
        f"weights   {student.origin}",
        f"data      {inputs.examples.num_rows:,} rows of up to "
        f"{inputs.examples.layout.field('ids').shape[0]} tokens{families}",
        f"batch     {training.global_batch:,} rows = {world.size} rank(s) x {source.num_micro} "
        f"micro-batch(es) x {source.rows_per_micro} rows, the last ones padded with weight 0",
        f"steps     {training.steps:,} = {rows:,} rows = {rows / inputs.examples.num_rows:.2f} "
        f"epochs; {row_bytes * training.global_batch / 1e6:.2f} MB read a step",
        "objective " + " + ".join(_term(inputs, index) for index in range(len(recipe.objective))),
        f"promise   {promise}",
    ]


def bytes_per_row(dataset: Dataset) -> float:
    """Mean bytes of a record on disk."""
    return sum(s.bytes for s in dataset.content.shards) / max(dataset.num_rows, 1)


def _term(inputs: Inputs, index: int) -> str:
    term = inputs.recipe.objective[index]
    details = [] if term.signal is None else [term.signal]
    if term.student_layer is not None:
        details.append(f"layer {term.student_layer}")
    if term.temperature != 1.0:
        details.append(f"T = {term.temperature:g}")
    return f"{term.scale:g} {term.loss}" + (f"({', '.join(details)})" if details else "")


def _size(variable: Any) -> int:
    size = 1
    for dimension in variable.shape:
        size *= int(dimension)
    return size
