"""The label families of `bench.quality`: one pass of the teacher, and what follows from it."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from bench._quality_arms import FULL, OPTIONAL, derived, extracted, heldout
from extract.derive import DeriveSettings, derive_families
from extract.run import extract
from extract.settings import ExtractSettings
from limbeck.config.errors import UsageError
from limbeck.labels.signals import Signal
from limbeck.records.dataset import open_dataset

__all__ = ["bytes_per_position", "make_labels"]

Say = Callable[[str], object]


def make_labels(
    demo: Path, out: Path, *, num_layers: int, wanted: Collection[str], say: Say
) -> dict[str, str]:
    """Writes what is not there yet: OUT/train/<family> and OUT/heldout/full.

    Args:
      demo: what `make demo` left.
      out: directory of the labels.
      num_layers: of the teacher.
      wanted: families of `extracted` and `derived`; the full one is always made.
      say: takes lines.

    Returns:
      Family -> why its codec was refused, of those that may be.
    """
    teacher = str(demo / "teacher")
    train, held = (str(demo / "examples" / split) for split in ("train", "heldout"))
    refused = _extract_what_passes(
        {n: s for n, s in extracted(num_layers).items() if n == FULL or n in wanted},
        examples=train,
        teacher=teacher,
        out=out / "train",
        say=say,
    )
    settings = ExtractSettings(
        families=heldout(), examples=held, teacher=teacher, out=str(out / "heldout")
    )
    extract(settings, say=say)
    # Without the teacher: every logit follows from the final states and the decoder.
    left = {n: s for n, s in derived().items() if n in wanted and not _is_there(out / "train" / n)}
    if left:
        final = str(out / "train" / FULL)
        derive_families(DeriveSettings(families=left, final=final, examples=train), say=say)
    return refused


def bytes_per_position(directory: Path) -> float:
    """Bytes on disk of a family, over its labelled positions."""
    totals = open_dataset(str(directory)).content.totals
    return totals["bytes"] / totals["labelled_positions"]


def _is_there(directory: Path) -> bool:
    return (directory / "manifest.json").exists()


def _extract_what_passes(
    families: Mapping[str, Signal], *, examples: str, teacher: str, out: Path, say: Say
) -> dict[str, str]:
    """One pass for all families; those whose codec does not pass its gate are left out."""
    left, refused = dict(families), dict[str, str]()
    while True:
        try:
            extract(
                ExtractSettings(families=left, examples=examples, teacher=teacher, out=str(out)),
                say=say,
            )
            return refused
        except UsageError as error:
            named = [name for name in OPTIONAL if f"families.{name}: " in str(error)]
            if not named:
                raise
            refused[named[0]] = str(error)
            say(f"left out: {error}")
            del left[named[0]]
