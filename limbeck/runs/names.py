"""The table of metrics: names, units, and which direction is better.

A name that is not here is refused when it is written, so that no two stages call one thing by two
names and a plot knows its axis. A `*` stands for a part that the recipe names.
"""

import fnmatch
from dataclasses import dataclass

__all__ = ["METRICS", "Metric", "metric"]


@dataclass(frozen=True)
class Metric:
    """One metric."""

    name: str
    """As in metrics.jsonl and TensorBoard; may hold a `*`."""

    unit: str
    """Of the values; 1 for a share or plain number."""

    higher_is_better: bool | None
    """None where neither direction is."""

    meaning: str
    """What it is, in a few words."""


METRICS = (
    Metric("train/loss", "1", False, "the whole objective at this step, global mean"),
    Metric("train/loss_*", "1", False, "one term, global mean before its weight"),
    Metric("train/count_*", "items", None, "what a term was divided by"),
    Metric("train/gradient_norm", "1", None, "global norm before clipping"),
    Metric("train/learning_rate", "1", None, "at this step"),
    Metric("train/skipped", "steps", False, "updates left out so far, not being finite"),
    Metric("train/epoch", "epochs", None, "rows fed so far / rows of the dataset"),
    Metric("train/rows", "rows", None, "rows fed so far"),
    Metric("train/tokens", "tokens", None, "real tokens fed so far"),
    Metric("eval/accuracy", "1", True, "masked tokens whose true id is the likeliest"),
    Metric("eval/accuracy_*", "1", True, "the same for a part of the data or a task"),
    Metric("eval/cross_entropy", "nats", False, "of the true ids, per masked token"),
    Metric("eval/cross_entropy_*", "nats", False, "of the labels of a task"),
    Metric("eval/perplexity", "1", False, "exp of the cross-entropy per next token"),
    Metric("eval/macro_f1", "1", True, "mean over the classes of their F1"),
    Metric("eval/macro_f1_*", "1", True, "the same for a task"),
    Metric("eval/micro_f1", "1", True, "F1 over all labels of all rows"),
    Metric("eval/micro_f1_*", "1", True, "the same for a task"),
    Metric("eval/mse", "1", False, "squared difference to the number of a row"),
    Metric("eval/mse_*", "1", False, "the same for a task"),
    Metric("eval/pearson", "1", True, "correlation with the numbers of the rows"),
    Metric("eval/pearson_*", "1", True, "the same for a task"),
    Metric("eval/exact_match", "1", True, "rows whose answer's both ends are right"),
    Metric("eval/exact_match_*", "1", True, "the same for a task"),
    Metric("eval/kl", "nats", False, "KL(teacher || student) per masked token"),
    Metric("eval/kl_*", "nats", False, "the same for a task"),
    Metric("eval/cosine_*", "1", True, "mean cosine of a layer's states and the teacher's"),
    Metric("eval/loss", "1", False, "the objective on held-out data"),
    Metric("eval/loss_*", "1", False, "one term on held-out data"),
    Metric("eval/count_*", "items", None, "what the values are means over"),
    Metric("eval/seconds", "s", False, "the evaluation took"),
    Metric("speed/step_s", "s", False, "per step since the last line"),
    Metric("speed/steps_per_s", "1/s", True, "since the last line"),
    Metric("speed/rows_per_s", "rows/s", True, "over all ranks"),
    Metric("speed/tokens_per_s", "tokens/s", True, "real tokens over all ranks"),
    Metric("speed/tokens_per_s_per_rank", "tokens/s", True, "real tokens of one rank"),
    Metric("speed/data_share", "1", False, "of the step's time spent waiting for data"),
    Metric("speed/comm_share", "1", False, "of the step's time spent in collectives"),
    Metric("speed/*_s", "s", False, "a part of a step"),
    Metric("io/records_per_s", "records/s", True, "read from the store"),
    Metric("io/bytes_per_s", "B/s", True, "read from the store"),
    Metric("io/*", "1", None, "other counts of the reader"),
    Metric("memory/*_bytes", "B", False, "of the leader's process"),
)


def metric(name: str) -> Metric:
    """Returns the table's entry for a metric's name.

    Raises:
      ValueError: no entry fits.
    """
    for entry in METRICS:
        if name == entry.name or fnmatch.fnmatchcase(name, entry.name):
            return entry
    raise ValueError(
        f"metric {name!r} is not in limbeck.runs.names; add it there with unit and direction"
    )
