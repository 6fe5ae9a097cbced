"""What a training recipe may say. A recipe is data: every name, number and path of a run.

The YAML loader (`limbeck.config.yaml_file`) builds these values and reports a ValueError raised
here with the file and line of the block it belongs to. What depends on the data (is the layer
there, is the temperature in the family's grid) is checked by `train.families` and `train.student`.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.constructions.steps import Step

__all__ = [
    "LOGIT_LOSSES",
    "HIDDEN_LOSSES",
    "Data",
    "ModelInit",
    "Optimizer",
    "Recipe",
    "Term",
    "Training",
]

LOGIT_LOSSES = ("kl", "soft_ce")
HIDDEN_LOSSES = ("hidden_mse", "hidden_cosine")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Directories that a run reads; relative paths count from the working directory."""

    examples: str
    """Examples to train on."""

    labels: dict[str, str] = field(default_factory=dict)
    """Label families of those examples: a name for the terms -> the family's directory."""

    heldout: str | None = None
    """Examples to evaluate on while training; see `training.evaluate_every`."""

    heldout_labels: str | None = None
    """A sparse family of the held-out examples: adds KL(teacher || student) to the evaluation."""

    def __post_init__(self) -> None:
        """Refuses labels of held-out examples without the examples."""
        if self.heldout_labels is not None and self.heldout is None:
            raise ValueError("heldout_labels is set but heldout is not")


@dataclass(frozen=True, kw_only=True)
class ModelInit:
    """Which student, and where its first weights come from."""

    architecture: EncoderArchitecture | None = None
    """Shape of the student; with start `checkpoint` it follows from there and may be left out."""

    start: Literal["random", "checkpoint"] = "random"
    """Fresh weights drawn from the recipe's seed, or those of a checkpoint."""

    checkpoint: str | None = None
    """A model folder: Hugging Face's layout, which `train export` writes too."""

    layers: tuple[int, ...] | None = None
    """Layers of the checkpoint that the student takes, from 1; all when left out. The short form
    of one step of `construct`."""

    construct: tuple[Step, ...] = ()
    """Steps that make the student of the checkpoint's model, in order: `layers`,
    `average_layers`, `embedding_pca`, `factorised_embedding`, `width`."""

    freeze: tuple[str, ...] = ()
    """Variables that training leaves alone: names such as encoder/embeddings/token, or what such
    names begin with up to a slash. Steps of `construct` may name more."""

    missing_head: Literal["error", "initialise"] = "error"
    """What to do where the checkpoint has no masked-LM head."""

    def __post_init__(self) -> None:
        """Refuses settings that contradict each other or would be ignored."""
        if self.start == "random":
            if self.architecture is None:
                raise ValueError("start is random, so architecture must be given")
            for name in ("checkpoint", "layers", "construct"):
                if getattr(self, name):
                    raise ValueError(f"{name} has no effect when start is random")
        elif self.checkpoint is None:
            raise ValueError("start is checkpoint, so checkpoint must name a model folder")
        if self.layers is not None and self.construct:
            raise ValueError(
                "layers is the short form of a step of construct; with construct, give it as one"
            )


@dataclass(frozen=True, kw_only=True)
class Term:
    """One loss: weight * tau^2 * (sum over its items) / (their count in the global batch)."""

    loss: Literal["kl", "soft_ce", "mlm", "hidden_mse", "hidden_cosine"]
    """kl: KL(teacher || student). soft_ce: cross-entropy to the teacher's distribution. mlm:
    cross-entropy to the true tokens. hidden_mse, hidden_cosine: between layers' states."""

    signal: str | None = None
    """Family of `data.labels` that the term learns from; only mlm has none."""

    weight: float = 1.0
    """Multiplies the term."""

    temperature: float = 1.0
    """tau, divides both models' logits; must be in the family's grid. kl and soft_ce only."""

    scale_by_temperature_squared: bool = True
    """Whether the term carries tau^2; false reproduces systems that leave it out."""

    student_layer: int | None = None
    """Layer of the student that is compared: 0 is the embeddings. hidden_* only."""

    projection: Literal["none", "linear"] = "none"
    """linear: a trained map from the student's width to the teacher's, saved with the run."""

    missing_mass: Literal["bucket", "truncated", "renormalised"] = "bucket"
    """What happens to the teacher's probability outside the kept ids. kl and soft_ce only."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range and settings that the loss has no use for."""
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight is {self.weight}; it must be a positive number")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature is {self.temperature}; it must be a positive number")
        if (self.loss == "mlm") != (self.signal is None):
            need = "takes no signal" if self.loss == "mlm" else "needs a signal of data.labels"
            raise ValueError(f"loss {self.loss} {need}")
        if self.loss not in LOGIT_LOSSES:
            if self.temperature != 1.0:
                raise ValueError(f"temperature has no effect on loss {self.loss}")
            if self.missing_mass != "bucket":
                raise ValueError(f"missing_mass has no effect on loss {self.loss}")
        if (self.loss in HIDDEN_LOSSES) != (self.student_layer is not None):
            need = "needs" if self.loss in HIDDEN_LOSSES else "takes no"
            raise ValueError(f"loss {self.loss} {need} student_layer")
        if self.student_layer is not None and self.student_layer < 0:
            raise ValueError(f"student_layer is {self.student_layer}; 0 is the embeddings")
        if self.projection != "none" and self.loss not in HIDDEN_LOSSES:
            raise ValueError(f"projection has no effect on loss {self.loss}")

    @property
    def scale(self) -> float:
        """What multiplies the term's mean: its weight, times tau^2 where it carries it."""
        square = self.temperature**2 if self.scale_by_temperature_squared else 1.0
        return self.weight * square


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """AdamW (Loshchilov and Hutter 2019) with bias correction, as Keras has it."""

    learning_rate: float
    """Peak, for the recipe's global batch; the number of ranks does not change it."""

    warmup_steps: int = 0
    """Steps over which the rate rises linearly from 0."""

    decay: Literal["linear", "constant"] = "linear"
    """linear: from the peak down to 0 at the last step."""

    weight_decay: float = 0.01
    """Decoupled, times the learning rate; biases and layer normalisation are spared."""

    beta_1: float = 0.9
    """Decay of the mean of gradients."""

    beta_2: float = 0.999
    """Decay of the mean of squared gradients."""

    epsilon: float = 1e-6
    """Added to the root of the mean square."""

    clip_norm: float | None = 1.0
    """Bound on the global norm of the summed gradients; null for none."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        for name in ("learning_rate", "epsilon"):
            _check_positive(name, getattr(self, name))
        if self.clip_norm is not None:
            _check_positive("clip_norm", self.clip_norm)
        if self.warmup_steps < 0 or not 0 <= self.weight_decay < 1:
            raise ValueError(
                f"warmup_steps is {self.warmup_steps} and weight_decay {self.weight_decay}; "
                "they must be >= 0 and in [0, 1)"
            )
        if not (0 <= self.beta_1 < 1 and 0 <= self.beta_2 < 1):
            raise ValueError(f"beta_1 {self.beta_1} and beta_2 {self.beta_2} must be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long to train, in which batches, and what is written on the way."""

    global_batch: int
    """B, rows a step over all ranks and micro-batches."""

    steps: int
    """Updates of the weights in the whole run."""

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

    order_boundary: Literal["run_on", "close"] = "run_on"
    """Whether batches run across the end of an epoch, or each epoch's last one is short."""

    verify_order_every: int = 100
    """Steps between proofs that the ranks fed the rows that the order says; 0 for never."""

    def __post_init__(self) -> None:
        """Refuses numbers out of range."""
        for name in ("global_batch", "steps", "log_every", "checkpoint_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("evaluate_every", "verify_order_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"micro_batch is {self.micro_batch}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run."""

    name: str
    """Short name for logs."""

    seed: int
    """Chooses the order of the data, dropout, and every weight that starts at random."""

    data: Data
    """What is read."""

    model: ModelInit
    """The student."""

    objective: tuple[Term, ...]
    """The losses, added up."""

    optimizer: Optimizer
    """How gradients become updates."""

    training: Training
    """How long and how often."""

    def __post_init__(self) -> None:
        """Refuses an empty objective, unknown families, and labels that no term reads."""
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed is {self.seed}; it must be in [0, 2^31)")
        if not self.objective:
            raise ValueError("objective is empty; give at least one term")
        used = {term.signal for term in self.objective if term.signal is not None}
        if missing := sorted(used - set(self.data.labels)):
            known = ", ".join(sorted(self.data.labels)) or "none"
            raise ValueError(
                f"objective uses signal {missing[0]!r}, which is not in data.labels ({known})"
            )
        if unused := sorted(set(self.data.labels) - used):
            raise ValueError(f"data.labels has {unused[0]!r}, which no term of objective uses")
        if self.training.evaluate_every and self.data.heldout is None:
            raise ValueError("training.evaluate_every has no effect without data.heldout")
        if self.optimizer.warmup_steps > self.training.steps:
            raise ValueError(
                f"optimizer.warmup_steps is {self.optimizer.warmup_steps}, more than the "
                f"{self.training.steps} steps of the run"
            )


def _check_positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; it must be a positive number")
