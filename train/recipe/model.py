"""Which student, and where its first weights come from."""

from dataclasses import dataclass
from typing import Literal

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.models.constructions.steps import Step

__all__ = ["ModelInit"]


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
