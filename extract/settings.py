"""Settings of an extraction: a recipe (what to keep and how to batch) and three directories."""

from dataclasses import dataclass
from typing import Any

from limbeck.config.errors import UsageError
from limbeck.labels.signals import Signal
from limbeck.records.shard import DATASET_NAME
from limbeck.teachers import Backend, BackendChoice
from limbeck.teachers.protocol import LoadOptions, Precision

__all__ = ["ExtractSettings", "Recipe"]

_LEAST = {
    "batch_tokens": 1,
    "length_multiple": 1,
    "window_rows": 1,
    "threads": 0,
    "recheck_batches": 0,
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What stands in a recipe file."""

    families: dict[str, Signal]
    """Family name -> signal; each becomes a dataset OUT/<name>/ of its own."""
    seed: int = 0
    """Of what is drawn: the tail samples of sparse signals and the records of partial families."""
    batch_tokens: int = 4096
    """Token slots of one forward pass, rows times padded length; `--token-budget` replaces it."""
    length_multiple: int = 16
    """Rows are padded to a multiple of this, so that a few static shapes serve all lengths."""
    window_rows: int = 2048
    """Rows of a shard that are read, sorted by length and written together; memory grows with it,
    not with the shard."""
    threads: int = 0
    """CPU threads of the teacher; 0 leaves the choice to its framework."""
    backend: BackendChoice = "auto"
    """What runs the teacher: keras, pytorch, onnx, or auto (Keras for our families, ONNX for a
    graph, PyTorch for any other folder)."""
    precision: Precision = "float32"
    """Of the teacher's matrix products; what is stored comes from float32 in all."""
    jit: bool = False
    """Whether the forward pass is compiled (XLA, torch.compile); the last batch of a window is
    then filled up to one of few row counts."""
    recheck_batches: int = 4
    """Batches that are computed again at the end and compared with what was stored; 0 for none."""

    def __post_init__(self) -> None:
        """Refuses values out of range and names that cannot be a directory of shards."""
        if not self.families:
            raise ValueError("families is empty; declare at least one signal")
        for name in self.families:
            if not DATASET_NAME.fullmatch(name):
                raise ValueError(
                    f"family name {name!r}: use letters, digits and _, with . or - between them"
                )
            if name == METRICS_DIRECTORY:
                raise ValueError(f"family name {name!r} is taken: the metrics of the run lie there")
        for name, least in _LEAST.items():
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")

    @property
    def largest_fraction(self) -> float:
        """Fraction of the records that some family wants; the others are not computed."""
        return max(signal.records for signal in self.families.values())


@dataclass(frozen=True, kw_only=True)
class ExtractSettings(Recipe):
    """A recipe with the directories it is applied to."""

    examples: str
    """Dataset directory of kind examples."""
    teacher: str
    """The teacher: a checkpoint folder, an exported run, or an ONNX graph."""
    out: str
    """Where the families go, each in OUT/<name>/; families of another teacher need another OUT."""
    worker: str = ""
    """Which part of the shards this process does: `i/n`, `auto`, or empty for all of them."""

    def __post_init__(self) -> None:
        """Refuses an empty output, which would be the working directory."""
        super().__post_init__()
        if not self.out:
            raise UsageError("--out is empty; name a directory")

    @property
    def load_options(self) -> LoadOptions:
        """How the teacher computes."""
        return LoadOptions(threads=self.threads, precision=self.precision, jit=self.jit)

    def batch_settings(self, backend: Backend) -> dict[str, Any]:
        """What decides the last bits beside the signal: shapes, and what computes them.

        Defaults of the teacher (Keras, float32, no compilation) are not named.
        """
        settings: dict[str, Any] = {
            "batch_tokens": self.batch_tokens,
            "length_multiple": self.length_multiple,
            "window_rows": self.window_rows,
        }
        if backend != "keras":
            settings["backend"] = backend
        if self.precision != "float32":
            settings["precision"] = self.precision
        if self.jit:
            settings["jit"] = True
        return settings


METRICS_DIRECTORY = "metrics"
"""Below OUT: JSON lines, a file a worker."""
