"""What a run is going to do, printed before it starts. Pure."""

from typing import Any

from limbeck.labels.signals import Signal
from limbeck.order import Mixture
from limbeck.ranks import World
from limbeck.records.dataset import Dataset
from train.inputs import Inputs
from train.reading.corpus import CorpusInputs
from train.recipe import Optimizer, Training
from train.starting.approximation import approximation_lines
from train.stream import Source
from train.students.student import Student
from train.updates.optimizers import variable_groups

__all__ = ["bytes_per_row", "plan_lines"]

_WIRES = {
    "float32": "travel as float32",
    "float16": "travel as float16",
    "adasum": "are combined by Adasum, an experiment",
}


def plan_lines(
    inputs: Inputs, source: Source, world: World, *, student: Student, promise: str
) -> list[str]:
    """The lines, with every derived number.

    Args:
      inputs: what is read, and the recipe.
      source: how batches are cut.
      world: the ranks.
      student: what is trained, projections included.
      promise: `train.starting.surroundings.promise`.
    """
    recipe, shape = inputs.recipe, inputs.architecture
    training = recipe.training
    sizes = [_size(v) for v in student.variables]
    frozen = sum(sizes) - sum(_size(v) for v in student.trained)
    rows = training.global_batch * training.steps
    return [
        f"run       {recipe.name}, seed {recipe.seed}",
        f"student   {shape.num_layers} layers x {shape.hidden_dim}, vocabulary "
        f"{shape.vocab_size:,}, {inputs.plan.title}: {sum(sizes):,} parameters in {len(sizes)} "
        "variables"
        + (f", {frozen:,} frozen" if frozen else "")
        + (f", {training.precision}" if training.precision != "float32" else ""),
        f"weights   {student.origin}",
        *(f"data      {_data(part)}" for part in inputs.corpora.parts),
        *_teacher(inputs),
        f"optimiser {_optimizer(recipe.optimizer, student)}",
        f"rate      {_schedule(recipe.optimizer)}",
        f"batch     {_batch(training, source, world)}",
        f"steps     {training.steps:,} = {rows:,} rows = {_epochs(inputs, rows)}; "
        f"{_read_bytes(inputs, rows) / training.steps / 1e6:.2f} MB read a step",
        "objective " + " + ".join(_term(inputs, index) for index in range(len(recipe.objective))),
        *approximation_lines(recipe.objective, inputs.families, vocab_size=shape.vocab_size),
        f"promise   {promise}",
    ]


def _data(part: CorpusInputs) -> str:
    """Rows and families of a corpus."""
    name = f"{part.name}: " if part.name else ""
    families = "".join(
        f", {name} ({_holds(f.signal)}, {bytes_per_row(f.dataset):,.0f} B/row)"
        for name, f in part.families.items()
    )
    slots = part.examples.layout.field("ids").shape[0]
    return f"{name}{part.examples.num_rows:,} rows of up to {slots} tokens{families}"


def _holds(signal: Signal) -> str:
    """What a family holds, and where."""
    layer = "" if signal.source.layer is None else f" of layer {signal.source.layer}"
    return f"{signal.kind}{layer}, {signal.positions}"


def _epochs(inputs: Inputs, rows: int) -> str:
    """How often the first rows of the order go through the data; of a mixture, through each."""
    order = inputs.order
    if not isinstance(order, Mixture):
        return f"{rows / inputs.num_rows:.2f} epochs"
    parts = (f"{epochs:.2f} of {name}" for name, epochs in order.epochs_at(rows).items())
    return f"epochs: {', '.join(parts)}"


def _read_bytes(inputs: Inputs, rows: int) -> float:
    """What the first rows of the order take on disk, with their labels."""
    parts = inputs.corpora.parts
    order = inputs.order
    epochs = order.epochs_at(rows) if isinstance(order, Mixture) else {"": rows / inputs.num_rows}
    return sum(
        times * sum(s.bytes for d in part.datasets for s in d.content.shards)
        for part, times in zip(parts, epochs.values(), strict=True)
    )


def _teacher(inputs: Inputs) -> list[str]:
    """The live teacher, where there is one."""
    if inputs.live is None:
        return []
    facts, settings = inputs.live.facts, inputs.recipe.data.teacher
    assert settings is not None  # it is what `live` was opened from
    signals = ", ".join(f"{name} ({_holds(s)})" for name, s in settings.signals.items())
    return [
        f"teacher   live: {facts.where} ({facts.backend}, {settings.precision}), "
        f"{facts.num_layers} layers x {facts.hidden_dim}: {signals}"
    ]


def _optimizer(settings: Optimizer, student: Student) -> str:
    """Algorithm, what decays, which rates there are, clipping."""
    sizes = {name: _size(v) for name, v in student.named_variables.items()}
    ranks = {n: len(v.shape) for n, v in student.named_variables.items() if n not in student.frozen}
    groups = variable_groups(settings, ranks)
    decayed = sum(sizes[name] for name, group in groups.items() if group.decays)
    text = settings.algorithm + ("" if settings.bias_correction else " without bias correction")
    if settings.decoupled_decay:
        text += f", weight decay {settings.decoupled_decay:g} on {decayed:,} parameters"
    text += ", no clipping" if settings.clip_norm is None else f", norm <= {settings.clip_norm:g}"
    rates = sorted({group.rate for group in groups.values()})
    if rates != [1.0]:
        text += f", rates times {', '.join(f'{rate:.4g}' for rate in rates)} by variable"
    return text


def _schedule(settings: Optimizer) -> str:
    """Rise, peak and fall."""
    rise = f"up to {settings.learning_rate:g} over {settings.warmup_steps:,} steps"
    start = rise if settings.warmup_steps else f"{settings.learning_rate:g} from the first step"
    if settings.decay == "constant":
        return f"{start}, then constant"
    power = f" (power {settings.decay_power:g})" if settings.decay == "polynomial" else ""
    end = settings.learning_rate * settings.final_rate
    return f"{start}, then {settings.decay}{power} down to {end:g}"


def _batch(training: Training, source: Source, world: World) -> str:
    """What the global batch comes to on a rank."""
    least, most = training.global_batch // world.size, -(-training.global_batch // world.size)
    each = f"{most:,}" if least == most else f"{least:,} or {most:,}"
    filled = source.num_micro * source.rows_per_micro - least
    return (
        f"{training.global_batch:,} rows = {world.size} rank(s) x {source.num_micro} "
        f"micro-batch(es) x {source.rows_per_micro} rows"
        + (f", of which {each} a rank are real and the rest padding of weight 0" if filled else "")
        + (f"; gradients {_WIRES[training.wire]}" if world.size > 1 else "")
    )


def bytes_per_row(dataset: Dataset) -> float:
    """Mean bytes of a record on disk."""
    return sum(s.bytes for s in dataset.content.shards) / max(dataset.num_rows, 1)


def _term(inputs: Inputs, index: int) -> str:
    term = inputs.recipe.objective[index]
    details = [*term.signals, *(f"layer {layer}" for layer in term.student_layers)]
    positions = getattr(term, "positions", "labelled")
    if positions != "labelled":
        details.append(f"{positions} only")
    temperature = getattr(term, "temperature", 1.0)
    if temperature != 1.0:
        details.append(
            f"T = {temperature:g}" if isinstance(temperature, int | float) else "T varies"
        )
    first, last = term.scale_at(0.0), term.scale_at(1.0)
    scale = f"{first:g}" if first == last else f"{first:g}..{last:g}"
    return f"{scale} {term.loss}" + (f"({', '.join(details)})" if details else "")


def _size(variable: Any) -> int:
    size = 1
    for dimension in variable.shape:
        size *= int(dimension)
    return size
