"""Fetching data, with a small wheel made here in place of the downloaded one."""

import hashlib
import zipfile

import pytest

from launch import data
from launch.pins import lock_entry

CONTENT = b"pages"


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """Replaces the items by one small one and the download by a local wheel; counts downloads."""
    item = data.Item(
        wheel="gensim",
        member="gensim/sample",
        path="deep/sample.bz2",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    monkeypatch.setattr(data, "ITEMS", (item,))
    wheel = tmp_path / "gensim-0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("gensim/sample", CONTENT)
    calls = []

    def download(name, scratch, *, python):
        calls.append(name)
        return wheel

    monkeypatch.setattr(data, "_download", download)
    return calls


def test_fetches_once(tmp_path, downloads):
    directory = tmp_path / "data"
    assert data.fetch_missing(directory) == [directory / "deep" / "sample.bz2"]
    assert (directory / "deep" / "sample.bz2").read_bytes() == CONTENT
    assert data.fetch_missing(directory) == []
    assert downloads == ["gensim"]
    assert [path.name for path in (directory / "deep").iterdir()] == ["sample.bz2"]


def test_damaged_file_is_fetched_again(tmp_path, downloads):
    path = data.fetch_missing(tmp_path)[0]
    path.write_bytes(b"pagex")
    assert data.fetch_missing(tmp_path) == [path]
    assert path.read_bytes() == CONTENT


def test_wheel_with_other_bytes_is_refused(tmp_path, downloads, monkeypatch):
    other = data.dataclasses.replace(data.ITEMS[0], sha256="0" * 64)
    monkeypatch.setattr(data, "ITEMS", (other,))
    with pytest.raises(data.DataError, match=r"deep/sample\.bz2: not the bytes we know"):
        data.fetch_missing(tmp_path / "data")
    assert not (tmp_path / "data" / "deep" / "sample.bz2").exists()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LIMBECK_DATA": "/d", "XDG_CACHE_HOME": "/c"}, "/d"),
        ({"XDG_CACHE_HOME": "/c", "HOME": "/home/ada"}, "/c/limbeck/data"),
        ({"HOME": "/home/ada"}, "/home/ada/.cache/limbeck/data"),
    ],
)
def test_data_dir(monkeypatch, variables, expected):
    for name in ("LIMBECK_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(data.data_dir()) == expected


def test_setup_left_the_real_data_here():
    assert data.missing_items(data.data_dir()) == []


@pytest.mark.parametrize("wheel", sorted({item.wheel for item in data.ITEMS}))
def test_every_wheel_is_pinned(wheel):
    lock = data.project_root() / "requirements" / "data.lock"
    assert "--hash=sha256:" in lock_entry(lock, wheel.replace("_", "-"))


def test_a_group_is_fetched_alone(tmp_path, downloads, monkeypatch):
    (demo,) = data.ITEMS
    other = data.dataclasses.replace(demo, path="other", group="newsgroups")
    monkeypatch.setattr(data, "ITEMS", (demo, other))
    assert data.fetch_missing(tmp_path, group="newsgroups") == [tmp_path / "other"]
    assert data.missing_items(tmp_path) == [demo]
    assert data.missing_items(tmp_path, group="newsgroups") == []
