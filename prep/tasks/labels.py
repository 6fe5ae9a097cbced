"""Numbers of labels: given names in their order, or all names of the files, sorted."""

from collections.abc import Iterable

from limbeck.config.errors import UsageError
from limbeck.records.examples import NO_TAG
from prep.tasks.rows import Row, Text, Words

__all__ = ["names_of", "sorted_labels"]


def names_of(row: Row) -> tuple[str, ...]:
    """Returns the labels or tags that a row bears."""
    if isinstance(row, Text):
        return row.labels or ()
    return (row.tags or ()) if isinstance(row, Words) else ()


def sorted_labels(names: Iterable[str]) -> tuple[str, ...]:
    """Returns names in the order of their numbers: as numbers if all are, else as text.

    Raises:
      UsageError: there are none, or too many to number.
    """
    found = set(names)
    if not found:
        raise UsageError("no row bears a label; name them with --labels, or the splits without any")
    if len(found) > NO_TAG:
        raise UsageError(f"{len(found)} different labels; at most {NO_TAG} can be numbered")
    try:
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(found))
