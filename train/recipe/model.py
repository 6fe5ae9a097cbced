"""Which student, and where its first weights come from. No TensorFlow."""

import re
from dataclasses import dataclass, field
from typing import Literal

from limbeck.architectures.decoder import DecoderArchitecture
from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.constructions.steps import Step
from train.recipe.heads import TaskKind

__all__ = ["HeadKind", "ModelInit", "TaskHead"]

HeadKind = Literal[
    "masked_lm", "causal_lm", "pretraining", "classification", "tagging", "span", "none"
]

_HEAD_NAME = re.compile(r"[a-z][a-z0-9_]*")
_LABELLED = ("classification", "tagging")


@dataclass(frozen=True, kw_only=True)
class TaskHead:
    """One of several heads."""

    kind: TaskKind | Literal["masked_lm"]
    """classification: one answer a row, for class, multi_label and regression alike. tagging: one
    a token. span: an answer's first and last token. next_sentence: whether two texts follow each
    other. masked_lm: a masked LM beside the tasks, of just this name."""

    num_labels: int | None = None
    """Outputs of classification and tagging; null: as many as the examples have labels."""

    def __post_init__(self) -> None:
        """Refuses a number that is none, or that the kind fixes."""
        _check_labels(self.num_labels, self.kind)


@dataclass(frozen=True, kw_only=True)
class ModelInit:
    """Which student, and where its first weights come from."""

    architecture: EncoderArchitecture | None = None
    """Shape of an encoder; with start `checkpoint` it follows from there and may be left out."""

    decoder: DecoderArchitecture | None = None
    """Shape of a decoder, in place of `architecture`: for head `causal_lm`."""

    head: HeadKind = "masked_lm"
    """What reads the states: a language model; pretraining (masked LM and next sentence); one task;
    or nothing, where terms compare states only."""

    num_labels: int | None = None
    """Outputs of head classification or tagging; null: as many as the examples have labels, 1 where
    they have a number."""

    heads: dict[str, TaskHead] = field(default_factory=dict)
    """Several heads on one encoder, in place of `head`: by names for terms and metrics."""

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
    names begin with up to a slash; `!` before one takes its variables out again, and later entries
    win. Steps of `construct` may name more."""

    missing_head: Literal["error", "initialise"] = "error"
    """What to do where the checkpoint has no such head."""

    def __post_init__(self) -> None:
        """Refuses settings that contradict each other or would be ignored."""
        self._check_start()
        self._check_heads()
        if self.layers is not None and self.construct:
            raise ValueError(
                "layers is the short form of a step of construct; with construct, give it as one"
            )

    @property
    def is_decoder(self) -> bool:
        """Whether the student is a decoder."""
        return self.head == "causal_lm" and not self.heads

    def _check_start(self) -> None:
        given = self.architecture if self.decoder is None else self.decoder
        if self.architecture is not None and self.decoder is not None:
            raise ValueError("decoder and architecture are both given; a student has one shape")
        if self.start == "random":
            if given is None:
                name = "decoder" if self.is_decoder else "architecture"
                raise ValueError(f"start is random, so {name} must be given")
            for name in ("checkpoint", "layers", "construct"):
                if getattr(self, name):
                    raise ValueError(f"{name} has no effect when start is random")
        elif self.checkpoint is None:
            raise ValueError("start is checkpoint, so checkpoint must name a model folder")

    def _check_heads(self) -> None:
        if self.heads and self.head != "masked_lm":
            raise ValueError(f"heads stands in place of head, which is {self.head}; leave one out")
        for name, head in self.heads.items():
            if (name == "masked_lm") != (head.kind == "masked_lm"):
                raise ValueError(
                    f"heads: {name!r} is of kind {head.kind}; the masked LM's head, and no other, "
                    "is named masked_lm"
                )
            if not _HEAD_NAME.fullmatch(name):
                raise ValueError(
                    f"heads: {name!r} is no name; take small letters, digits and underscores"
                )
        if self.heads and set(self.heads) == {"masked_lm"}:
            raise ValueError("heads has a masked LM alone; set head: masked_lm instead")
        if self.num_labels is not None and self.heads:
            raise ValueError("num_labels belongs to each head of heads")
        if not self.heads:
            _check_labels(self.num_labels, self.head)
        if self.decoder is not None and not self.is_decoder:
            raise ValueError(f"decoder needs head: causal_lm; {self.head} is that of an encoder")
        if self.architecture is not None and self.is_decoder:
            raise ValueError("architecture is an encoder's; head causal_lm needs decoder")
        if self.construct and self.is_decoder:
            raise ValueError("construct makes encoders only; a decoder takes layers")


def _check_labels(number: int | None, kind: str) -> None:
    """Refuses outputs that the kind fixes, and none."""
    if number is None:
        return
    if kind not in _LABELLED:
        raise ValueError(f"num_labels has no effect on a {kind} head")
    if number < 1:
        raise ValueError(f"num_labels is {number}; it must be at least 1")
