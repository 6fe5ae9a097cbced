"""Any single changed byte in any file of a dataset is noticed, by a read and by verify."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError
from limbeck.records import open_dataset
from limbeck.records.verify import verify

pytestmark = pytest.mark.faults


def read_all(directory: Path) -> None:
    with open_dataset(directory) as dataset:
        if dataset.layout.stride_is_fixed:
            dataset.read(np.arange(dataset.num_rows))
        else:
            list(dataset.iterate())


def is_noticed_by_read(directory: Path) -> bool:
    try:
        read_all(directory)
    except LimbeckError:
        return True
    return False


def is_noticed_by_verify(directory: Path) -> bool:
    try:
        return bool(verify(str(directory)))
    except LimbeckError:
        return True


@pytest.fixture(scope="module")
def tiny(tools, tmp_path_factory):
    """One shard with two records of each kind."""
    root = tmp_path_factory.mktemp("tiny")
    tools.write_examples(root / "examples", 2, num_shards=1)
    tools.write_labels(root / "labels", root / "examples")
    tools.write_documents(root / "documents", 2, num_shards=1)
    return root


def flip_every_byte(directory: Path, pattern: str, is_noticed: Callable[[Path], bool]) -> int:
    """Flips one bit of each byte of each file in turn; returns how many bytes that were."""
    assert not is_noticed(directory)
    total = 0
    for path in sorted(directory.glob(pattern)):
        data = path.read_bytes()
        for at in range(len(data)):
            damaged = bytearray(data)
            damaged[at] ^= 1 << at % 8  # each bit of a byte has its turn
            path.write_bytes(damaged)
            assert is_noticed(directory), f"{path.name}, byte {at}"
        path.write_bytes(data)
        total += len(data)
    assert not is_noticed(directory)
    return total


@pytest.mark.parametrize("kind", ["examples", "labels", "documents"])
def test_any_single_flipped_byte_in_any_file_is_found_by_verify(tiny, tmp_path, kind):
    directory = tmp_path / kind
    shutil.copytree(tiny / kind, directory)
    total = flip_every_byte(directory, "*", is_noticed_by_verify)
    assert total == sum(path.stat().st_size for path in directory.iterdir()) > 2000
    assert len(list(directory.iterdir())) == 5


@pytest.mark.parametrize("kind", ["examples", "labels", "documents"])
def test_any_single_flipped_byte_is_found_by_an_ordinary_read(tiny, tmp_path, kind):
    directory = tmp_path / kind
    shutil.copytree(tiny / kind, directory)
    # The JSON files are checked by the same function in both, and verify has had its turn.
    for pattern in ("*.tfrecord", "*.index"):
        assert flip_every_byte(directory, pattern, is_noticed_by_read) > 100


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A cut, an insertion, a block of zeros, a doubled block, two blocks swapped, or noise."""
    size = rng.randrange(1, max(2, len(data) // 2))
    at = rng.randrange(0, len(data) - size + 1)
    block, before, after = data[at : at + size], data[:at], data[at + size :]
    kind = rng.randrange(6)
    if kind == 0:
        return before + after
    if kind == 1:
        return before + block + block + after
    if kind == 2:
        return before + bytes(size) + after
    if kind == 3:  # one block over another: the size stays
        to = rng.randrange(0, len(data) - size + 1)
        return data[:to] + block + data[to + size :]
    if kind == 4:
        half = size // 2
        return before + block[half:] + block[:half] + after
    return before + rng.randbytes(size) + after


@pytest.mark.parametrize("kind", ["examples", "labels", "documents"])
def test_random_damage_of_any_file_is_noticed(masters, tmp_path, kind):
    rng = random.Random(kind)
    directory = tmp_path / kind
    shutil.copytree(masters / kind, directory)
    paths, changed = sorted(directory.iterdir()), 0
    for _ in range(400):
        path = rng.choice(paths)
        data = path.read_bytes()
        damaged = mutate(data, rng)
        if damaged == data:
            continue
        changed += 1
        path.write_bytes(damaged)
        assert is_noticed_by_read(directory), path.name
        path.write_bytes(data)
    assert changed > 300


@pytest.mark.parametrize("kind", ["examples", "labels", "documents"])
def test_cut_at_any_byte_of_any_file_is_noticed(tiny, tmp_path, kind):
    directory = tmp_path / kind
    shutil.copytree(tiny / kind, directory)
    for path in sorted(directory.iterdir()):
        data = path.read_bytes()
        for cut in range(0, len(data), 3):
            path.write_bytes(data[:cut])
            assert is_noticed_by_read(directory), f"{path.name}, cut to {cut}"
        path.write_bytes(data)
