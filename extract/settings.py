"""Settings of an extraction: a recipe (what to keep and how to batch) and three directories."""

from dataclasses import dataclass
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.labels import Signal
from limbeck.records.shard import DATASET_NAME
from limbeck.teachers import Backend, BackendChoice

__all__ = ["ExtractSettings", "Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What stands in a recipe file."""

    families: dict[str, Signal]
    """Family name -> signal; each becomes a dataset OUT/<name>/ of its own."""
    batch_tokens: int = 4096
    """Token slots of one forward pass, rows times padded length."""
    length_multiple: int = 16
    """Rows are padded to a multiple of this, so that a few static shapes serve all lengths."""
    threads: int = 0
    """CPU threads of the teacher; 0 leaves the choice to its framework."""
    backend: BackendChoice = "auto"
    """What runs the teacher: keras, pytorch, onnx, or auto (Keras for our families, ONNX for a
    graph, PyTorch for any other folder)."""

    def __post_init__(self) -> None:
        """Refuses values out of range and names that cannot be a directory of shards."""
        if not self.families:
            raise ValueError("families is empty; declare at least one signal")
        for name in self.families:
            if not DATASET_NAME.fullmatch(name):
                raise ValueError(
                    f"family name {name!r}: use letters, digits and _, with . or - between them"
                )
        for name, least in (("batch_tokens", 1), ("length_multiple", 1), ("threads", 0)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")


@dataclass(frozen=True, kw_only=True)
class ExtractSettings(Recipe):
    """A recipe with the directories it is applied to."""

    examples: str
    """Dataset directory of kind examples."""
    teacher: str
    """The teacher: a checkpoint folder, an exported run, or an ONNX graph."""
    out: str
    """Where the families go, each in OUT/<name>/; families of another teacher need another OUT."""

    def __post_init__(self) -> None:
        """Refuses an empty output, which would be the working directory."""
        super().__post_init__()
        if not self.out:
            raise UsageError("--out is empty; name a directory")

    def content_settings(self, backend: Backend) -> dict[str, Any]:
        """What decides the last bits: the shapes computed in, and what computes them.

        Keras is not named, so that labels of before there were others keep their ids.
        """
        settings = {"batch_tokens": self.batch_tokens, "length_multiple": self.length_multiple}
        return settings if backend == "keras" else {**settings, "backend": backend}
