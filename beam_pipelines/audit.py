"""What cleaning left over in a documents dataset: `python -m beam_pipelines.audit`."""

import dataclasses
from collections.abc import Iterator, Sequence

from beam_pipelines.command import run_module
from limbeck.config.command import parse
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.keys import split_key
from prep.audit import Audit, audit_pages

__all__ = ["AuditSettings", "audit", "main"]

PROG = "beam_pipelines.audit"
DESCRIPTION = (
    "List what looks like markup in a documents dataset, by the number of documents that have it. "
    "Reads only; takes one process."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """Options of the command."""

    documents: str
    """Directory of a documents dataset."""


def audit(settings: AuditSettings) -> Audit:
    """Looks through every document of a dataset.

    Raises:
      LimbeckError: the directory holds no documents dataset, or a damaged one.
    """
    with open_dataset(settings.documents, kind="documents") as dataset:
        return audit_pages(_documents(dataset))


def _documents(dataset: Dataset) -> Iterator[tuple[str, Sequence[str]]]:
    for row in range(dataset.num_rows):
        record = dataset.record(row)
        name = record["title"] or f"page {split_key(record['key']).page}"
        yield name, [*record["headings"], *record["sentences"]]


def report_lines(found: Audit) -> Iterator[str]:
    """Yields the audit as text."""
    share = 100 * found.affected / max(1, found.pages)
    yield (
        f"{found.affected:,} of {found.pages:,} documents ({share:.1f} %) have something that "
        "looks like markup"
    )
    if found.findings:
        yield f"{'documents':>9} {'places':>9}  what"
    for finding in found.findings:
        yield f"{finding.pages:>9,} {finding.places:>9,}  {finding.name}"
        for page, text in finding.examples:
            yield f"{'':>21}{page}: ...{text}..."


def main(argv: Sequence[str]) -> None:
    """Runs the command line."""
    settings = parse(AuditSettings, argv, prog=PROG, description=DESCRIPTION)
    print("\n".join(report_lines(audit(settings))))


if __name__ == "__main__":
    run_module(PROG)
