"""`python -m launch.recipes.newsgroups`: 20newsgroups as train.tsv, dev.tsv and test.tsv.

The source has a header of three lines and two columns, the group and the message; messages are
lower-case words without punctuation. The development part is taken out of the training part by a
hash of each message, so that it stays the same whatever else changes, and equal messages stay
together; a share of the rest may be taken by the same hash. The test part is left as it is.
"""

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from limbeck.config.command import run_command
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.files import atomic_write

__all__ = ["convert", "is_dev", "read_messages"]

HEADER = ["Category\tText", "d\tstring", "class\t"]
DEV_SHARE = 0.1


def convert(source: Path, out: Path, *, train_share: float = 1.0) -> dict[str, int]:
    """Writes the three files; returns how many messages each has.

    Args:
      source: holds train.tab and test.tab.
      out: where train.tsv, dev.tsv and test.tsv go.
      train_share: of the messages that are not dev's, how many are kept to train on.

    Raises:
      UsageError: a source file is missing.
      LimbeckError: it is not what is expected.
    """
    if not 0 < train_share <= 1:
        raise UsageError(f"train share is {train_share}; it must be in (0, 1]")
    rows = list(read_messages(source / "train.tab"))
    last = DEV_SHARE + (1 - DEV_SHARE) * train_share
    parts = {
        "train": [row for row in rows if not is_dev(row[1]) and _place(row[1]) < last],
        "dev": [row for row in rows if is_dev(row[1])],
        "test": list(read_messages(source / "test.tab")),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        lines = ["label\ttext", *("\t".join(row) for row in part)]
        atomic_write(out / f"{name}.tsv", ("\n".join(lines) + "\n").encode())
    return {name: len(part) for name, part in parts.items()}


def read_messages(path: Path) -> Iterator[tuple[str, str]]:
    """Yields group and text of each message that has a text."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}; run python -m launch.data newsgroups"
        ) from error
    if lines[:3] != HEADER:
        raise LimbeckError(f"{path}: does not begin with the three lines of 20newsgroups' header")
    for number, line in enumerate(lines[3:], start=4):
        if not line.strip():
            continue
        group, tab, text = line.partition("\t")
        if not (group and tab) or "\t" in text:
            raise LimbeckError(f"{path}:{number}: expected a group, a tab and a message")
        if text.strip():
            yield group, " ".join(text.split())


def is_dev(text: str) -> bool:
    """Whether a message belongs to the development part."""
    return _place(text) < DEV_SHARE


def _place(text: str) -> float:
    """Where in [0, 1) the hash of a message lies."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def main(argv: Sequence[str]) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.recipes.newsgroups", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--source", type=Path, required=True, help="holds train.tab and test.tab")
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument(
        "--train-share", type=float, default=1.0, help="of the messages to train on (default: all)"
    )
    options = parser.parse_args(argv)
    counts = convert(options.source, options.out, train_share=options.train_share)
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    return 0


if __name__ == "__main__":
    run_command("launch.recipes.newsgroups", main)
