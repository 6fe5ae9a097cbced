"""What finished label families hold: where they are, their manifests, their sizes, in lines."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from extract.report import measured_line
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import codecs, sparse
from limbeck.labels.family import read_fitted
from limbeck.labels.fitted import Fitted
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.directory import JOB
from limbeck.records.manifest import MANIFEST

__all__ = ["Family", "describe", "find_families", "open_families", "open_family"]

SAMPLE_ROWS = 1024  # records that the summaries of `describe` look at


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """An opened label family."""

    dataset: Dataset
    """Its records."""
    fitted: Fitted
    """Its signal and what decodes it."""

    @property
    def name(self) -> str:
        """As the recipe calls it."""
        return self.dataset.name


def find_families(directory: str) -> list[str]:
    """Directories of families: the one given, or those right below it, by name.

    Raises:
      UsageError: no such directory, or nothing finished in it (naming what is unfinished).
    """
    if not os.path.isdir(directory):
        raise UsageError(f"{directory}: no such directory")
    if _holds(directory, MANIFEST) or _holds(directory, JOB):
        return [directory]
    below = [os.path.join(directory, name) for name in sorted(os.listdir(directory))]
    finished = [path for path in below if _holds(path, MANIFEST)]
    if not finished:
        begun = [os.path.basename(path) for path in below if _holds(path, JOB)]
        hint = f"; not finished: {', '.join(begun)}" if begun else ""
        raise UsageError(
            f"{directory}: no {MANIFEST}, neither in it nor one folder down: no label family{hint}"
        )
    return finished


def open_family(directory: str) -> tuple[Dataset, Fitted]:
    """Opens a label family and what decodes it.

    Raises:
      LimbeckError: not a finished label family.
    """
    dataset = open_dataset(directory, kind="labels")
    try:
        return dataset, read_fitted(dataset)
    except BaseException:
        dataset.close()
        raise


@contextmanager
def open_families(directory: str) -> Iterator[list[Family]]:
    """Opens the family, or all families, of a directory; closes them at the end.

    Raises:
      UsageError: none there, or families of different teachers or examples.
      LimbeckError: one is damaged.
    """
    with ExitStack() as stack:
        families = []
        for path in find_families(directory):
            dataset, fitted = open_family(path)
            families.append(Family(dataset=stack.enter_context(dataset), fitted=fitted))
        for what, of in (("teacher", _teacher_of), ("examples", _examples_of)):
            if len(found := {of(family) for family in families}) > 1:
                short = ", ".join(sorted(str(one)[:12] for one in found))
                raise UsageError(
                    f"{directory} holds families of different {what} ({short}); name one family"
                )
        yield families


def describe(family: Family) -> list[str]:
    """Lines on a family: what it is, where it comes from, its size and a summary of its values."""
    content = family.dataset.content
    teacher = content.teacher or {}
    settings = {k: v for k, v in content.settings.items() if k != "signal"}
    return [
        f"family {content.name} ({family.dataset.id[:12]}), {len(content.shards)} shards",
        f"signal {_words(content.settings['signal'])}",
        f"settings {_words(settings)}",
        f"teacher {_words({**teacher, 'fingerprint': str(teacher.get('fingerprint'))[:12]})}",
        f"made from {_words({role: parent[:12] for role, parent in content.parents.items()})}",
        f"fields {'; '.join(str(field) for field in family.dataset.layout.fields)}",
        measured_line(content),
        *_summary(family),
    ]


def _summary(family: Family) -> list[str]:
    dataset, fitted = family.dataset, family.fitted
    stored = dataset.read(np.arange(min(SAMPLE_ROWS, dataset.num_rows)))
    arrays, flat = codecs.from_records(fitted, stored)
    if not len(flat.rows):
        return ["no labelled positions in the first records"]
    what = f"{len(flat.rows):,} positions of the first {len(stored['key']):,} records"
    decoded = codecs.decode(fitted, arrays)
    if not isinstance(decoded, sparse.Sparse):
        return [
            f"{what}: {name}: root mean square {np.sqrt((values.astype(float) ** 2).mean()):.4g}, "
            f"largest component {np.abs(values).max():.4g}"
            for name, values in decoded.items()
        ]
    tails = np.exp(decoded.log_tail.astype(np.float64))
    return [f"mass outside the kept ids, {what}:"] + [
        f"  T {t:g}: mean {tails[:, i].mean():.3e}, median {np.median(tails[:, i]):.3e}, "
        f"largest {tails[:, i].max():.3e}"
        for i, t in enumerate(decoded.temperatures)
    ]


def _teacher_of(family: Family) -> Any:
    return (family.dataset.content.teacher or {}).get("fingerprint")


def _examples_of(family: Family) -> Any:
    parents = family.dataset.content.parents
    if "examples" not in parents:
        raise LimbeckError(f"{family.dataset.directory}: its manifest names no examples")
    return parents["examples"]


def _holds(directory: str, name: str) -> bool:
    return os.path.isfile(os.path.join(directory, name))


def _words(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
