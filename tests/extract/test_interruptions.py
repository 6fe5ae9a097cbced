"""Faults of files and disks in the middle of a job that several workers share."""

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from extract.run import extract
from extract.settings import ExtractSettings
from extract.workers import CLAIMS
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels.signals import HiddenSignal, SparseSignal
from limbeck.records import open_dataset
from limbeck.records.directory import JOB
from limbeck.records.files import temporary_name
from limbeck.records.manifest import MANIFEST
from limbeck.records.verify import verify
from limbeck.teachers import LoadOptions, find_teacher

FAMILIES = {
    "sparse": SparseSignal(k=4, temperatures=(1.0, 2.0)),
    "hidden": HiddenSignal(layer=1, positions="masked"),
}


@pytest.fixture(scope="module")
def teacher(teacher_dir):
    return find_teacher(teacher_dir, backend="keras").load(LoadOptions())


def files(out):
    """Files of the families; of manifests that they are there."""
    found = {str(p.relative_to(out)): p for p in Path(out).rglob("*") if p.is_file()}
    return {
        name: b"" if name.endswith(MANIFEST) else path.read_bytes()
        for name, path in found.items()
        if not name.startswith("metrics/")
    }


@pytest.fixture
def settings(examples_dir, teacher_dir, tmp_path):
    return ExtractSettings(
        examples=examples_dir,
        teacher=teacher_dir,
        out=str(tmp_path / "out"),
        families=FAMILIES,
        batch_tokens=256,
        worker="0/2",
    )


@pytest.fixture(scope="module")
def whole(examples_dir, teacher_dir, teacher, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    made = ExtractSettings(
        examples=examples_dir,
        teacher=teacher_dir,
        out=str(out),
        families=FAMILIES,
        batch_tokens=256,
    )
    extract(made, teacher=teacher, say=lambda line: None)
    return out


def run(settings, teacher):
    return extract(settings, teacher=teacher, say=lambda line: None)


@pytest.mark.faults
@pytest.mark.parametrize("place", ["hidden", CLAIMS])
def test_disk_that_fills_up_ends_a_worker_and_the_next_one_goes_on(
    settings, teacher, whole, monkeypatch, place
):
    """The disk is full for new files of a family, or for claims; reading goes on."""
    real = os.open

    def full(path, flags, *rest, **options):
        where = Path(os.fsdecode(path))
        is_new = flags & os.O_CREAT and where.parent.name == place
        if is_new and where.name != "lock" and not where.name.startswith(JOB):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return real(path, flags, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        with pytest.raises(LimbeckError, match=r"could not be written: .*same command again"):
            run(settings, teacher)
    out = Path(settings.out)
    assert not list(out.rglob(MANIFEST)) and not list(out.rglob("*.tmp-*"))
    run(settings, teacher)
    assert files(out) == files(whole)


@pytest.mark.faults
def test_example_shard_that_fails_its_checksum_stops_before_its_labels(
    settings, teacher, whole, make_examples, tmp_path
):
    copy = tmp_path / "examples"
    shutil.copytree(settings.examples, copy)
    path = sorted(copy.glob("*.tfrecord"))[1]
    good = path.read_bytes()
    path.write_bytes(good[:200] + bytes([good[200] ^ 4]) + good[201:])
    damaged = dataclasses.replace(settings, examples=str(copy))
    with pytest.raises(LimbeckError, match=rf"{path}: row \d+ of the shard .*restore the file"):
        run(damaged, teacher)
    out = Path(settings.out)
    assert not list(out.rglob("*-00001-of-*.json")) and not list(out.rglob(MANIFEST))
    path.write_bytes(good)
    run(damaged, teacher)
    assert files(out) == files(whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": {"sparse": SparseSignal(k=5, temperatures=(1.0, 2.0))}}, "k is 4 there and"),
        ({"seed": 3}, "seed is 0 there and 3 here"),
        ({"batch_tokens": 512}, "batch_tokens is 256 there and 512 here"),
    ],
)
def test_settings_that_changed_between_restarts_are_refused_and_listed(
    settings, teacher, whole, tmp_path, changes, message
):
    out = tmp_path / "started"
    shutil.copytree(whole, out)
    for path in out.rglob(MANIFEST):  # stopped before its end
        path.unlink()
    before = files(out)
    changed = dataclasses.replace(settings, out=str(out), **changes)
    with pytest.raises(UsageError, match=message):
        run(changed, teacher)
    assert files(out) == before


def test_examples_that_changed_between_restarts_are_refused(
    settings, teacher, whole, make_examples, tmp_path
):
    out = tmp_path / "started"
    shutil.copytree(whole, out)
    other = make_examples(tmp_path / "other", num_rows=30, seed=6)
    changed = dataclasses.replace(settings, out=str(out), examples=other)
    with pytest.raises(UsageError, match="labels of other examples"):
        run(changed, teacher)


@pytest.mark.faults
def test_damaged_finished_shard_is_written_again_by_the_worker_that_reads_it(
    settings, teacher, whole, tmp_path, caplog
):
    out = tmp_path / "started"
    shutil.copytree(whole, out)
    for path in out.rglob(MANIFEST):
        path.unlink()
    path = sorted((out / "hidden").glob("*-00000-of-*.tfrecord"))[0]
    data = path.read_bytes()
    path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    run(dataclasses.replace(settings, out=str(out)), teacher)
    assert "will be written again" in caplog.text
    assert files(out) == files(whole)
    assert verify(str(out / "hidden")) == ()


@pytest.mark.faults
def test_what_a_worker_left_that_was_killed_at_the_very_end_is_cleared_up(
    settings, teacher, whole, tmp_path
):
    out = tmp_path / "done"
    shutil.copytree(whole, out)
    (out / CLAIMS).mkdir()
    (out / CLAIMS / "lock").write_bytes(b"")
    (out / CLAIMS / "00001").write_text("{}")
    shard = sorted((out / "hidden").glob("*.tfrecord"))[0]
    Path(f"{out / 'hidden' / temporary_name(shard.name)}").write_bytes(b"half")
    run(dataclasses.replace(settings, out=str(out)), teacher)
    assert files(out) == files(whole)
    with open_dataset(out / "hidden") as family:
        assert family.num_rows == 60


@pytest.mark.slow
def test_mpirun_starts_workers_that_share_the_shards(settings, whole, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "families:\n"
        "  sparse: {kind: sparse, k: 4, temperatures: [1.0, 2.0]}\n"
        "  hidden: {kind: hidden, layer: 1, positions: masked}\n"
        "batch_tokens: 256\n"
    )
    command = [sys.executable, "-m", "launch", "run", "-np", "2", "--", sys.executable, "-m"]
    command += ["extract", "run", str(recipe), "--examples", settings.examples]
    command += ["--teacher", settings.teacher, "--out", settings.out, "--worker", "auto"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    out = Path(settings.out)
    assert files(out) == files(whole)
    metrics = sorted(path.name for path in (out / "metrics").glob("*.jsonl"))
    assert metrics == ["worker-0-of-2.jsonl", "worker-1-of-2.jsonl"]
