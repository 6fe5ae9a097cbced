"""How long to train, in which batches, and what is written on the way."""

from dataclasses import dataclass
from typing import Literal

from limbeck.runs.names import metric

__all__ = ["Training"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long to train, in which batches, and what is written on the way."""

    global_batch: int
    """B, rows a step over all ranks and micro-batches."""

    steps: int = 0
    """Updates of the weights in the whole run, at least 1. A recipe with `stages` leaves it out:
    each stage has its own."""

    micro_batch: int | None = None
    """Rows a rank computes at once; gradients accumulate over the rest. All rows when null."""

    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Of the student's matrix products. Weights, norms, softmax, logits, losses and sums over ranks
    are float32 in all of them; mixed_float16 scales the loss, and skips steps that overflow."""

    log_every: int = 20
    """Steps between lines of progress and of metrics."""

    evaluate_every: int = 0
    """Steps between evaluations on `data.heldout`; 0 for only at the end, where it is given."""

    checkpoint_every: int = 500
    """Steps between checkpoints; one more is written at the end."""

    keep_checkpoints: int = 2
    """How many of the newest checkpoints stay."""

    keep_best: bool = False
    """Keeps the checkpoint of the best evaluation on `data.heldout` too."""

    best_metric: str = "cross_entropy"
    """What is best, as evaluations call it after `eval/`: accuracy, cross_entropy, kl, ..."""

    patience: int = 0
    """Evaluations in a row without a better `best_metric` after which the run ends early; 0 for
    never. With `keep_best`, the best checkpoint is then what the run has made."""

    order: Literal["full", "two_level"] = "full"
    """full: every epoch a permutation of all rows. two_level: blocks of neighbouring rows are
    permuted, then the rows inside windows of blocks: for remote and spinning storage."""

    order_block: int = 128
    """Rows of a block of the two-level order."""

    order_window: int = 1024
    """Blocks of a window of the two-level order."""

    order_boundary: Literal["run_on", "close"] = "run_on"
    """Whether batches run across the end of an epoch, or each epoch's last one is short."""

    verify_order_every: int = 100
    """Steps between proofs that the ranks fed the rows that the order says; 0 for never."""

    wire: Literal["float32", "float16", "adasum"] = "float32"
    """How gradients are summed over ranks; float16 halves the traffic and rounds. adasum, an
    experiment, does not sum: where ranks agree it takes their mean, where they are at right angles
    their sum. It needs 2, 4, 8, ... ranks, and trains another model for each number of them."""

    max_skipped_steps: int = 0
    """Updates in a row that may be left out because their gradient is not finite, beyond what a
    loss scale explains; one more ends the run and names the rows of the batch."""

    reader_threads: int = 2
    """Threads that read and decode batches."""

    prefetch: int = 3
    """Batches read ahead."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        positive = (
            *("global_batch", "log_every", "checkpoint_every", "keep_checkpoints"),
            *("order_block", "order_window", "reader_threads", "prefetch"),
        )
        for name in positive:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        whole = ("steps", "evaluate_every", "verify_order_every", "max_skipped_steps", "patience")
        for name in whole:
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"micro_batch is {self.micro_batch}; it must be at least 1")
        check_metric(self.best_metric)

    @property
    def result_is_best(self) -> bool:
        """Whether the best checkpoint, rather than the newest, is what the run has made."""
        return self.patience > 0 and self.keep_best


def check_metric(name: str) -> None:
    """Refuses names of metrics that evaluations do not have, or that have no better direction."""
    try:
        better = metric(f"eval/{name}").higher_is_better
    except ValueError:
        better = None
    if better is None:
        raise ValueError(f"best_metric is {name!r}, which is no score of an evaluation")
