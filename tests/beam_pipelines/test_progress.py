import io
import re
import threading
import time

import pytest

from beam_pipelines import progress as progress_module
from beam_pipelines.progress import Counts, Progress, found, tick


@pytest.fixture
def terminal(monkeypatch):
    """Makes stderr a terminal when called, in the test itself; returns what is written there."""

    def terminal():
        stream = io.StringIO()
        stream.isatty = lambda: True
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return terminal


def test_counts_of_all_threads_are_added_up(tmp_path, terminal):
    terminal()
    progress = Progress(str(tmp_path), what="pages", total=100)

    def work():
        for _ in range(10):
            found(progress.directory, 2, read=7)
            tick(progress.directory)

    with progress:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert progress.counts() == Counts(done=30, found=60, read=210)


@pytest.mark.parametrize(
    ("total", "total_bytes", "counts", "expected"),
    [
        (50, None, Counts(done=1), 50),  # known
        (None, None, Counts(found=5, read=10), None),  # nothing tells
        (None, 100, Counts(), None),  # nothing read yet
        (None, 100, Counts(found=5, read=10), 50),  # ten times what a tenth held
        (None, 100, Counts(found=60, read=100), 60),  # all read: exact
        (None, 100, Counts(found=60, read=120), 60),  # a repeated bundle reads twice
    ],
)
def test_total_is_estimated_from_the_bytes_read(tmp_path, total, total_bytes, counts, expected):
    progress = Progress(str(tmp_path), what="pages", total=total, total_bytes=total_bytes)
    assert progress.estimate(counts) == expected


def test_bar_shows_rate_and_estimate(tmp_path, terminal, monkeypatch):
    monkeypatch.setattr(progress_module, "_EVERY_S", 0.02)
    shown = terminal()
    with Progress(str(tmp_path), what="pages", total_bytes=1000) as progress:
        found(progress.directory, 10, read=100)
        tick(progress.directory, 5)
        deadline = time.monotonic() + 5
        while "5/100" not in shown.getvalue():
            assert time.monotonic() < deadline, shown.getvalue()
            time.sleep(0.02)
    assert re.search(r"5/100 \[.*pages/s\]", shown.getvalue())


def test_without_a_terminal_nothing_is_written(tmp_path):
    with Progress(str(tmp_path), what="pages") as progress:
        assert progress.directory == ""
        tick(progress.directory)
        found(progress.directory)
    assert list(tmp_path.iterdir()) == []
