"""Files are whole or not there, whatever happens while they are written."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.files import (
    allow_open_files,
    atomic_file,
    atomic_write,
    create_once,
    final_name,
    is_temporary,
    locked_file,
    remove_leftovers,
    scratch_file,
    temporary_name,
)

# Writes a shard's worth of bytes and reports, as one line, what came of it.
WRITE = """
import os, resource, signal, sys
from limbeck.config.errors import LimbeckError
from limbeck.records.files import atomic_write
path, limit = sys.argv[1], int(sys.argv[2])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
atomic_write(path, b"old")
try:
    atomic_write(path, bytes(1 << 20))
except LimbeckError as error:
    print("ERROR", error)
print("LEFT", sorted(os.listdir(os.path.dirname(path))), os.path.getsize(path))
"""


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def can_mount() -> bool:
    """Whether this user may mount a small disk in a namespace of its own."""
    if shutil.which("unshare") is None:
        return False
    line = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /mnt"]
    return subprocess.run(line, capture_output=True, timeout=60).returncode == 0


def test_file_appears_whole_with_ordinary_permissions(tmp_path):
    path = tmp_path / "a"
    old = os.umask(0o027)
    try:
        with atomic_file(path) as file:
            file.write(b"half")
            file.flush()
            assert not path.exists()
            assert [is_temporary(name) for name in os.listdir(tmp_path)] == [True]
            file.write(b" whole")
    finally:
        os.umask(old)
    assert path.read_bytes() == b"half whole"
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
def test_failed_block_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a"
    atomic_write(path, b"old")
    with pytest.raises(type(error)), atomic_file(path) as file:
        file.write(b"new")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_relative_path_is_written_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    atomic_write("a", b"x")
    assert Path("a").read_bytes() == b"x"


def test_missing_directory_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as found:
        atomic_write(tmp_path / "no" / "a", b"x")
    assert found.value.filename == str(tmp_path / "no" / "a")


def test_temporary_file_taken_away_is_explained(tmp_path):
    with (
        pytest.raises(LimbeckError, match="is another process writing to the same directory"),
        atomic_file(tmp_path / "a"),
    ):
        for name in os.listdir(tmp_path):
            os.unlink(tmp_path / name)


@pytest.mark.faults
def test_file_size_limit_leaves_no_half_file_and_one_clear_error(tmp_path):
    path = tmp_path / "a"
    out = run([sys.executable, "-c", WRITE, str(path), "65536"])
    assert out.startswith(f"ERROR {path}: could not be written: File too large; no half file")
    assert out.endswith("LEFT ['a'] 3\n")


@pytest.mark.faults
@pytest.mark.skipif(not can_mount(), reason="no mount namespaces here")
def test_full_disk_leaves_no_half_file_and_one_clear_error(tmp_path):
    script = tmp_path / "write.py"
    script.write_text(WRITE)
    disk = tmp_path / "disk"
    disk.mkdir()
    line = textwrap.dedent(f"""
        mount -t tmpfs -o size=256k none {disk}
        {sys.executable} {script} {disk}/a 0
    """)
    out = run(["unshare", "-rm", "sh", "-e", "-c", line])
    assert out.startswith(
        f"ERROR {disk}/a: could not be written: No space left on device; no half file was left"
    )
    assert "free some space" in out
    assert out.endswith("LEFT ['a'] 3\n")


def test_leftovers_of_our_names_only_are_removed(tmp_path):
    mine, theirs = temporary_name("a"), temporary_name("b")
    assert final_name(mine) == "a" and final_name("a") == "a"
    for name in (mine, theirs, "a", "a.tmp-x-00000000"):
        (tmp_path / name).touch()
    assert remove_leftovers(tmp_path, {"a"}) == [mine]
    assert sorted(os.listdir(tmp_path)) == sorted([theirs, "a", "a.tmp-x-00000000"])


def test_limit_of_open_files_is_raised_or_refused():
    program = """
        import resource
        from limbeck.config.errors import UsageError
        from limbeck.records.files import allow_open_files
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 400))
        allow_open_files(10, "x")
        print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        allow_open_files(300, "x")
        print(resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 300)
        try:
            allow_open_files(1000, "x")
        except UsageError as error:
            print(error)
    """
    lines = run([sys.executable, "-c", textwrap.dedent(program)]).splitlines()
    assert lines == [
        "100",
        "True",
        "x: needs 1000 open files and the limit is 400; "
        "raise it (ulimit -Hn) or write fewer shards",
    ]
    assert issubclass(UsageError, LimbeckError)
    allow_open_files(0, "x")


def test_scratch_file_has_no_name_and_can_be_read_back(tmp_path):
    with scratch_file(tmp_path / "data") as file:
        assert list(tmp_path.iterdir()) == []
        file.write(b"abc")
        file.seek(1)
        assert file.read() == b"bc"


def test_scratch_file_on_a_full_disk_names_the_file_it_is_for(tmp_path):
    with (
        pytest.raises(LimbeckError, match="data: could not be written: No space left"),
        scratch_file(tmp_path / "data"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("links", [True, False])
def test_file_is_created_once_and_the_first_stays(tmp_path, monkeypatch, links):
    path = tmp_path / "job.json"
    if not links:
        monkeypatch.setattr(os, "link", lambda *paths: os.readlink("no such link"))
    create_once(path, b"first")
    before = path.stat().st_ino
    create_once(path, b"second")
    assert (path.read_bytes(), path.stat().st_ino) == (b"first", before)
    assert list(tmp_path.iterdir()) == [path]


def test_leftover_directory_goes_with_all_that_is_in_it(tmp_path):
    directory = tmp_path / temporary_name("job.json")
    (directory / "spill").mkdir(parents=True)
    (directory / "spill" / "1").write_text("x")
    assert remove_leftovers(tmp_path, {"job.json"}) == [directory.name]
    assert list(tmp_path.iterdir()) == []


def test_lock_is_refused_to_another_process_which_is_told_whose_it_is(tmp_path):
    path = tmp_path / "job.json"
    path.write_text("{}")
    code = (
        "import sys; from limbeck.records.files import locked_file\n"
        "with locked_file(sys.argv[1], what='out'): pass"
    )
    command = [sys.executable, "-c", code, str(path)]
    with locked_file(path, what="out"):
        done = subprocess.run(command, capture_output=True, text=True)
    assert f"UsageError: out is in use by process {os.getpid()} (" in done.stderr
    assert subprocess.run(command).returncode == 0  # free again


def test_lock_of_a_file_that_was_replaced_is_taken_anew(tmp_path, monkeypatch):
    path = tmp_path / "job.json"
    path.write_text("{}")
    taken = []

    def flock(file, how):
        taken.append(os.fstat(file.fileno()).st_ino)
        if len(taken) == 1:
            os.replace(_file(tmp_path / "other"), path)

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked_file(path, what="out"):
        assert taken[-1] == path.stat().st_ino and len(taken) == 2


def test_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch, caplog):
    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked_file(_file(tmp_path / "job.json"), what="out"):
        assert "out: cannot be locked" in caplog.text


def _file(path):
    path.write_text("{}")
    return path
