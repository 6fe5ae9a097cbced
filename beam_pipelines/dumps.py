"""The source of the wikipedia pipeline: MediaWiki exports, read by many workers at once.

An element is a file; a splittable DoFn reads a range of its bytes, and a runner may split the range
before and while it is read. A file that can only be read from its beginning (gzip, xz) is read by
several workers as well, each of which keeps every nth page: reading is cheap and cleaning is not.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker

from beam_pipelines.inputs import InputFile, input_files
from beam_pipelines.progress import found
from beam_pipelines.storage import open_file
from limbeck.config.errors import UsageError
from prep.dumps.cutter import Lost
from prep.dumps.reading import read_range
from prep.dumps.source import Dump, look_at
from prep.mediawiki import Page

__all__ = ["Batch", "ReadDumps", "find_dumps"]

MOST_SPLIT_BYTES = 4 << 20
"""A range is at most so long: some seconds of unpacking, minutes of cleaning."""
LEAST_SPLIT_BYTES = 1 << 20
"""Nor shorter than this: each range unpacks a block more than it has."""
_RANGES = 16  # of a file, as far as these sizes allow
_SHARES = 8  # readers of a file that is not splittable

# Enough to make an element's overhead small, little enough to be held.
_BATCH_CHARACTERS = 256 << 10
_TRACKER = beam.DoFn.RestrictionParam()  # Beam's mark for the argument it fills in
# What Wikimedia puts beside a multistream dump; the blocks are found without it.
_INDEX = re.compile(r"-index\d*\.txt(-p\d+p\d+)?(\.bz2|\.gz)?$")


def find_dumps(patterns: Sequence[str]) -> tuple[list[InputFile], list[Dump]]:
    """Finds files by paths and globs and looks at the head and the end of each.

    Returns:
      The files in order, without indexes of multistream dumps, and what is known of each.

    Raises:
      UsageError: there is no such file, or they are exports of different wikis.
      LimbeckError: one is not an export, or is cut off.
    """
    files = [file for file in input_files(patterns) if not _INDEX.search(file.path)]
    if not files:
        raise UsageError(f"{' '.join(patterns) or '--dump'}: no export among the files")
    dumps = []
    for file in files:
        with open_file(file.path) as opened:
            dumps.append(look_at(opened, path=file.path, size=file.size))
    first = dumps[0]
    for dump in dumps[1:]:
        for what in ("database", "language"):
            names = getattr(first.site, what), getattr(dump.site, what)
            if names[0] != names[1]:
                raise UsageError(
                    f"{first.path} is of the {what} {names[0]!r} and {dump.path} of {names[1]!r}; "
                    "make a dataset of each wiki"
                )
    return files, dumps


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some pages of one file."""

    path: str
    """The file."""
    number: int
    """Its number among the files."""
    items: list[Page | Lost]
    """In file order."""


@dataclass(frozen=True, kw_only=True)
class _Share:
    """A file, or of one that is not splittable each `count`th page from `index` on."""

    dump: Dump
    number: int
    index: int = 0
    count: int = 1

    def has(self, item: Page | Lost) -> bool:
        index = item.index if isinstance(item, Page) else 0
        return self.count == 1 or index % self.count == self.index


class ReadDumps(beam.PTransform):
    """Exports -> batches of their pages, each page once."""

    def __init__(
        self, dumps: Sequence[Dump], *, progress: str = "", can_split: bool = True
    ) -> None:
        """Takes what `find_dumps` found, `Work.progress`, and whether the runner splits sources."""
        super().__init__()
        self._can_split = can_split
        self._shares = [
            _Share(dump=dump, number=number, index=index, count=count)
            for number, dump in enumerate(dumps)
            for count in [1 if dump.is_splittable else _SHARES]
            for index in range(count)
        ]
        self._progress = progress

    def expand(self, begin: Any) -> Any:
        """Adds the steps."""
        if not self._can_split:
            ranges = [
                (share, one) for share in self._shares for one in _ranges(share, _whole(share))
            ]
            read = beam.ParDo(_ReadFixedRange(self._progress))
            return begin | beam.Create(ranges, reshuffle=False) | beam.Reshuffle() | "Read" >> read
        # Not shuffled: a local runner deals what comes in one piece evenly to its workers.
        return (
            begin
            | "Files" >> beam.Create(self._shares, reshuffle=False)
            | "Ranges" >> beam.ParDo(_ReadRange(self._progress))
        )


def _whole(share: _Share) -> OffsetRange:
    return OffsetRange(0, share.dump.size)


def _ranges(share: _Share, restriction: OffsetRange) -> Iterator[OffsetRange]:
    """Yields the ranges in which a file is read, if nothing splits it further."""
    if not share.dump.is_splittable:
        return iter([restriction])
    num_bytes = min(max(restriction.size() // _RANGES, LEAST_SPLIT_BYTES), MOST_SPLIT_BYTES)
    ranges: Iterator[OffsetRange] = restriction.split(num_bytes)
    return ranges


class _ReadRange(beam.DoFn, beam.transforms.core.RestrictionProvider):
    """Reads the pages that begin in a range of bytes."""

    def __init__(self, progress: str) -> None:
        super().__init__()
        self._progress = progress

    def initial_restriction(self, share: _Share) -> OffsetRange:
        """Returns the whole file."""
        return _whole(share)

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        """Returns what a runner splits."""
        return OffsetRestrictionTracker(restriction)

    def restriction_size(self, share: _Share, restriction: OffsetRange) -> int:
        """Returns the bytes of a range."""
        return int(restriction.size()) // share.count

    def split(self, share: _Share, restriction: OffsetRange) -> Iterator[OffsetRange]:
        """Splits a file before reading."""
        return _ranges(share, restriction)

    def process(self, share: _Share, tracker: Any = _TRACKER) -> Iterator[Batch]:
        """Reads one range."""
        dump = share.dump
        reached = begin = tracker.current_restriction().start

        def claim(position: int) -> bool:
            nonlocal reached
            is_ours: bool = tracker.try_claim(position)
            reached = position if is_ours else reached
            return is_ours

        with open_file(dump.path) as file:
            items: list[Page | Lost] = []
            size = 0
            for item in read_range(file, dump, begin=begin, claim=claim):
                if share.has(item):
                    items.append(item)
                    size += len(item.text or "") if isinstance(item, Page) else 0
                if size >= _BATCH_CHARACTERS:
                    found(self._progress, len(items), read=(reached - begin) // share.count)
                    yield Batch(path=dump.path, number=share.number, items=items)
                    begin, items, size = reached, [], 0
        tracker.try_claim(dump.size)  # whatever is left of the range has no units
        end = tracker.current_restriction().stop
        found(self._progress, len(items), read=max(0, end - begin) // share.count)
        if items:
            yield Batch(path=dump.path, number=share.number, items=items)


class _ReadFixedRange(beam.DoFn):
    """Reads a range that nobody splits."""

    def __init__(self, progress: str) -> None:
        super().__init__()
        self._source = _ReadRange(progress)

    def process(self, element: tuple[_Share, OffsetRange]) -> Iterator[Batch]:
        """Reads one range."""
        share, restriction = element
        return self._source.process(share, self._source.create_tracker(restriction))
