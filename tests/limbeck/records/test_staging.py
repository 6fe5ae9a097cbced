"""Datasets on local disk: whole, checked, inside the budget."""

import os
import shutil

import numpy as np
import pytest

from limbeck.config import LimbeckError, UsageError
from limbeck.records import staging_copy, staging_source
from limbeck.records.dataset import open_dataset
from limbeck.records.manifest import read_manifest
from limbeck.records.staging import stage
from limbeck.records.staging_store import bytes_below
from limbeck.records.verify import verify

BIG = 10**9


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def size(directory):
    return sum(path.stat().st_size for path in directory.iterdir())


def bring(to, *sources, budget=BIG, **options):
    return stage([str(source) for source in sources], str(to), budget=budget, **options)


def shard_of(directory, number=0):
    return read_manifest(directory).content.shards[number].name


def flip(path, at=-9):
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(bytes(data))


def nothing_visible(local):
    return not [name for name in os.listdir(local) if not name.endswith((".partial", ".lock"))]


@pytest.mark.parametrize("name", ["examples", "labels", "documents"])
def test_copy_has_the_same_bytes_and_nothing_else(masters, tmp_path, name):
    (staged,) = bring(tmp_path, masters / name)
    manifest = read_manifest(masters / name)
    assert staged.path == str(tmp_path / f"{name}-{manifest.id[:12]}")
    assert staged.id == manifest.id
    copy = tmp_path / f"{name}-{manifest.id[:12]}"
    assert contents(copy) == contents(masters / name)
    assert staged.num_bytes == staged.copied_bytes == size(copy)
    assert sorted(os.listdir(tmp_path)) == [".lock", copy.name]
    assert not verify(str(copy))


def test_attachments_come_along(tools, tmp_path):
    files = {"tensors.safetensors": b"x" * 1000}
    source = tmp_path / "source"
    writer = tools.examples_writer(source, attachments=files)
    writer.open()
    tools.write_shards(writer, tools.example_rows(12))
    writer.finish()
    (staged,) = bring(tmp_path / "local", source)
    with open_dataset(staged.path) as dataset:
        assert dataset.attachment("tensors.safetensors") == files["tensors.safetensors"]


def test_second_call_copies_nothing(masters, tmp_path, monkeypatch):
    sources = (masters / "examples", masters / "labels")
    first = bring(tmp_path, *sources)
    monkeypatch.setattr(staging_source._LocalSource, "pieces", None)
    again = bring(tmp_path, *sources)
    assert [(s.path, s.num_bytes) for s in again] == [(s.path, s.num_bytes) for s in first]
    assert [s.copied_bytes for s in again] == [0, 0]
    bring(tmp_path, *sources, budget=1)  # what is there needs no room


def test_same_source_twice_is_copied_once(masters, tmp_path):
    one, two = bring(tmp_path, masters / "examples", f"{masters / 'examples'}/")
    assert one.path == two.path
    assert (one.copied_bytes, two.copied_bytes) == (one.num_bytes, 0)


def test_sources_of_one_name_lie_side_by_side(masters, tmp_path):
    for name in ("train", "heldout"):
        shutil.copytree(
            masters / ("examples" if name == "train" else "other"), tmp_path / name / "x"
        )
    one, two = bring(tmp_path / "local", tmp_path / "train" / "x", tmp_path / "heldout" / "x")
    assert one.path != two.path
    assert os.path.basename(one.path).startswith("x-")


def test_budget_counts_everything_to_the_byte(masters, tmp_path):
    need = size(masters / "examples")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine").write_bytes(b"y" * 700)
    with pytest.raises(UsageError) as error:
        bring(tmp_path, masters / "examples", budget=need + 699)
    assert f"{need:,} are needed" in str(error.value)
    assert "700 are taken" in str(error.value)
    assert f": 1 too many; raise it to {need + 700:,}" in str(error.value)
    assert sorted(os.listdir(tmp_path)) == [".lock", "sub"]  # nothing was begun
    bring(tmp_path, masters / "examples", budget=need + 700)
    assert bytes_below(str(tmp_path)) == need + 700


def test_never_more_than_the_budget_lies_there(masters, tmp_path, monkeypatch):
    monkeypatch.setattr(staging_source, "PIECE_BYTES", 97)
    need = size(masters / "examples")
    seen = []
    bring(
        tmp_path,
        masters / "examples",
        budget=need,
        progress=lambda num_bytes, total: seen.append(bytes_below(str(tmp_path))),
    )
    assert len(seen) > 10
    assert max(seen) <= need


def test_several_datasets_fit_together_or_not_at_all(masters, tmp_path):
    need = size(masters / "examples") + size(masters / "labels")
    with pytest.raises(UsageError, match=r"examples \([\d,]+\), .*labels \([\d,]+\): 1 too many"):
        bring(tmp_path, masters / "examples", masters / "labels", budget=need - 1)
    assert nothing_visible(tmp_path)
    bring(tmp_path, masters / "examples", masters / "labels", budget=need)


def aged(staged, seconds):
    path = os.path.join(staged.path, "manifest.json")
    os.utime(path, (seconds, seconds))


def test_eviction_takes_what_was_asked_for_longest_ago(masters, tmp_path):
    said = []
    examples, other, labels = bring(
        tmp_path, masters / "examples", masters / "other", masters / "labels"
    )
    for staged, used in ((examples, 3000), (other, 1000), (labels, 2000)):
        aged(staged, used)
    budget = bytes_below(str(tmp_path)) + size(masters / "documents") - 1
    with pytest.raises(UsageError, match="or add --evict"):
        bring(tmp_path, masters / "documents", budget=budget)
    bring(tmp_path, masters / "documents", budget=budget, evict=True, say=said.append)
    assert [os.path.isdir(s.path) for s in (examples, other, labels)] == [True, False, True]
    assert said == [f"{other.path}: removed to make room ({other.num_bytes:,} bytes)"]


def test_being_asked_for_counts_as_use(masters, tmp_path):
    examples, other = bring(tmp_path, masters / "examples", masters / "other")
    aged(examples, 1000)
    aged(other, 2000)
    bring(tmp_path, masters / "examples")
    budget = bytes_below(str(tmp_path)) + size(masters / "documents") - 1
    bring(tmp_path, masters / "documents", budget=budget, evict=True)
    assert os.path.isdir(examples.path) and not os.path.isdir(other.path)


def test_eviction_that_would_not_do_removes_nothing(masters, tmp_path):
    (other,) = bring(tmp_path, masters / "other")
    (tmp_path / "mine").write_bytes(b"z" * 5000)
    budget = 4999 + size(masters / "examples")
    with pytest.raises(UsageError, match=r"bytes have to go, and only .* of datasets may"):
        bring(tmp_path, masters / "examples", budget=budget, evict=True)
    assert os.path.isdir(other.path)
    bring(tmp_path, masters / "examples", budget=budget + 1, evict=True)
    assert (tmp_path / "mine").exists() and not os.path.isdir(other.path)


def test_what_is_asked_for_is_never_evicted(masters, tmp_path):
    (examples,) = bring(tmp_path, masters / "examples")
    budget = size(masters / "examples") + size(masters / "labels") - 1
    with pytest.raises(UsageError, match="only 0 bytes of datasets may"):
        bring(tmp_path, masters / "examples", masters / "labels", budget=budget, evict=True)
    assert os.path.isdir(examples.path)


def test_half_copies_go_first(masters, tmp_path):
    (other,) = bring(tmp_path, masters / "other")
    half = tmp_path / "old-0123456789ab.partial"
    half.mkdir()
    (half / "part").write_bytes(b"0" * 100)
    budget = bytes_below(str(tmp_path)) + size(masters / "examples") - 100
    bring(tmp_path, masters / "examples", budget=budget, evict=True)
    assert os.path.isdir(other.path) and not half.exists()


def test_directories_of_other_people_are_left_alone(masters, tmp_path):
    mine = tmp_path / "mine-0123456789ab"
    shutil.copytree(masters / "other", mine)  # named alike, but its id is another
    with pytest.raises(UsageError, match="only 0 bytes"):
        bring(tmp_path, masters / "examples", budget=size(masters / "examples"), evict=True)
    assert contents(mine) == contents(masters / "other")


@pytest.mark.parametrize("part", ["data", "index", "summary"])
def test_damage_to_the_copy_is_found_and_mended(masters, tmp_path, part):
    (staged,) = bring(tmp_path, masters / "examples")
    shard = read_manifest(masters / "examples").content.shards[1]
    name = {"data": shard.name, "index": shard.index_name, "summary": shard.json_name}[part]
    copy = tmp_path / os.path.basename(staged.path)
    flip(copy / name)
    (quick,) = bring(tmp_path, masters / "examples")
    assert bool(quick.copied_bytes) == (part == "summary")  # sizes tell nothing of a flipped bit
    (full,) = bring(tmp_path, masters / "examples", verify="full")
    assert contents(copy) == contents(masters / "examples")
    if part != "summary":
        manifest = (masters / "examples" / "manifest.json").stat().st_size
        assert full.copied_bytes == (copy / name).stat().st_size + manifest  # and nothing else
    (copy / name).unlink()
    bring(tmp_path, masters / "examples")
    assert contents(copy) == contents(masters / "examples")


def test_damaged_manifest_of_the_copy_is_replaced(masters, tmp_path):
    (staged,) = bring(tmp_path, masters / "examples")
    copy = tmp_path / os.path.basename(staged.path)
    (copy / "manifest.json").write_bytes(b"{")
    bring(tmp_path, masters / "examples")
    assert contents(copy) == contents(masters / "examples")


def test_files_that_are_none_of_ours_in_a_copy_are_named(masters, tmp_path):
    (staged,) = bring(tmp_path, masters / "examples")
    (tmp_path / os.path.basename(staged.path) / "notes.txt").write_text("x")
    with pytest.raises(LimbeckError, match=r"notes.txt; move or delete them"):
        bring(tmp_path, masters / "examples")


@pytest.mark.parametrize("part", ["data", "index"])
def test_flipped_bit_in_the_source_is_refused_by_name(copies, tmp_path, part):
    shard = read_manifest(copies / "labels").content.shards[1]
    name = shard.name if part == "data" else shard.index_name
    flip(copies / "labels" / name)
    local = tmp_path / "local"
    with pytest.raises(LimbeckError, match=rf"labels/{name}: expected SHA-256 \w+, copied \w+"):
        bring(local, copies / "labels")
    assert nothing_visible(local)
    flip(copies / "labels" / name)
    (staged,) = bring(local, copies / "labels")
    assert 0 < staged.copied_bytes <= staged.num_bytes
    assert not verify(staged.path)


def test_bit_that_flips_on_the_way_is_refused(masters, tmp_path, monkeypatch):
    name = shard_of(masters / "examples")
    pieces = staging_source._LocalSource.pieces

    def flipped(self, file):
        for piece in pieces(self, file):
            yield piece[:-1] + bytes([piece[-1] ^ 1]) if file.name == name else piece

    with monkeypatch.context() as patch:
        patch.setattr(staging_source._LocalSource, "pieces", flipped)
        with pytest.raises(LimbeckError, match=f"{name}: expected SHA-256"):
            bring(tmp_path, masters / "examples")
    assert nothing_visible(tmp_path)
    bring(tmp_path, masters / "examples")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "its manifest says .* bytes, it is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "its manifest says .* found"),
        (lambda path: path.write_bytes(path.read_bytes() + b"0"), "its manifest says .* found"),
    ],
    ids=["missing", "short", "long"],
)
def test_source_that_is_not_whole_is_refused_before_anything_is_copied(
    copies, tmp_path, spoil, message
):
    spoil(copies / "examples" / shard_of(copies / "examples"))
    local = tmp_path / "local"
    with pytest.raises(LimbeckError, match=message):
        bring(local, copies / "examples")
    assert os.listdir(local) == [".lock"]


def test_source_that_grows_while_it_is_read_is_refused(masters, tmp_path, monkeypatch):
    pieces = staging_source._LocalSource.pieces

    def endless(self, file):
        yield from pieces(self, file)
        while file.name.endswith("tfrecord"):
            yield b"0" * 1000

    monkeypatch.setattr(staging_source._LocalSource, "pieces", endless)
    with pytest.raises(LimbeckError, match="tfrecord: its manifest says .* bytes, found"):
        bring(tmp_path, masters / "examples")


@pytest.mark.parametrize("when", ["first", "last"])
def test_source_that_is_replaced_meanwhile_is_refused(copies, tmp_path, monkeypatch, when):
    copy = staging_copy._copy
    files = []

    def replacing(source, file, *rest):
        if when == "first" and not files:
            replace()
        files.append(file.name)
        copy(source, file, *rest)
        if when == "last" and len(files) == 7:  # job.json, then three files of two shards
            replace()

    def replace():
        shutil.rmtree(copies / "examples")
        shutil.copytree(copies / "other", copies / "examples")

    monkeypatch.setattr(staging_copy, "_copy", replacing)
    monkeypatch.setattr(staging_copy, "FILES_AT_ONCE", 1)
    local = tmp_path / "local"
    with pytest.raises(LimbeckError, match=r"was replaced while it was copied \(id \w+ before"):
        bring(local, copies / "examples")
    assert os.listdir(local) == [".lock"]
    (staged,) = bring(local, copies / "examples")
    assert staged.id == read_manifest(copies / "other").id


def test_what_is_no_dataset_is_refused(copies, tmp_path):
    local = tmp_path / "local"
    with pytest.raises(UsageError, match="lost: no such directory"):
        bring(local, copies / "lost")
    (copies / "labels" / "manifest.json").unlink()
    with pytest.raises(LimbeckError, match="labels"):
        bring(local, copies / "labels")
    with pytest.raises(UsageError, match="only s3:// and local paths"):
        bring(local, "gs://bucket/x")
    (staged,) = bring(local, copies / "examples")
    with pytest.raises(UsageError, match="lies below .* already"):
        bring(local, staged.path)
    with pytest.raises(UsageError, match="Not a directory|File exists"):
        bring(copies / "examples" / "job.json", copies / "examples")


def test_disk_without_room_is_refused_before_copying(masters, tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(100, 90, 10)
    monkeypatch.setattr("limbeck.records.staging.shutil.disk_usage", lambda path: usage)
    with pytest.raises(UsageError, match="more bytes are needed for .* the disk has 10 free"):
        bring(tmp_path, masters / "examples")
    assert os.listdir(tmp_path) == [".lock"]


def test_dataset_that_is_read_is_neither_evicted_nor_mended(masters, tmp_path, monkeypatch):
    from limbeck.records import staging_store

    (other,) = bring(tmp_path, masters / "other")
    need = size(masters / "examples")
    # Our own process does not count: a notebook may stage what it has read. So stand for another.
    monkeypatch.setattr(staging_store.os, "getpid", lambda: -1)
    with open_dataset(other.path) as dataset:
        dataset.read(np.arange(3))
        with pytest.raises(UsageError, match=r"other-\w+ is read by process \d+"):
            bring(tmp_path, masters / "examples", budget=need, evict=True)
        os.unlink(os.path.join(other.path, shard_of(masters / "other")))
        with pytest.raises(LimbeckError, match="damaged, and read by process"):
            bring(tmp_path, masters / "other")
        del dataset
    import gc

    gc.collect()
    bring(tmp_path, masters / "examples", budget=need, evict=True)
