"""Dumps on a remote file system: a local server that speaks S3."""

import bz2
import random

import pytest

from beam_pipelines import dumps
from beam_pipelines.dumps import find_dumps
from beam_pipelines.storage import write_bytes
from beam_pipelines.wikipedia import WikipediaSettings, wikipedia
from limbeck.config.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def parts(page_xml, export_xml, tmp_path):
    """Two parts of a dump, one of them with a damaged block."""
    rng = random.Random(11)
    paths = []
    for part in range(2):
        pages = []
        for number in range(60):
            words = (f"{rng.getrandbits(40):x}" for _ in range(rng.randint(1, 900)))
            text = " ".join(words).capitalize() + "."
            pages.append(page_xml(100 * part + number, f"Page {number}", text))
        data = bytearray(bz2.compress(export_xml(pages).encode(), 1))
        data[len(data) // 2] ^= part
        paths.append(tmp_path / f"part{part}.xml.bz2")
        paths[-1].write_bytes(data)
    return paths


def settings(dump, out, **options):
    return WikipediaSettings(dump=(str(dump),), out=str(out), num_shards=2, **options)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_remote_dump_gives_the_same_documents(bucket, parts, tmp_path, monkeypatch, workers):
    monkeypatch.setattr(dumps, "MOST_SPLIT_BYTES", 50_000)
    monkeypatch.setattr(dumps, "LEAST_SPLIT_BYTES", 1)
    for path in parts:
        write_bytes(f"{bucket}/{path.name}", path.read_bytes())
    local = wikipedia(settings(tmp_path / "part*.bz2", tmp_path / "local"))
    remote = wikipedia(settings(f"{bucket}/part*.bz2", tmp_path / "remote", workers=workers))
    assert remote.id == local.id
    accounting = remote.content.accounting
    assert accounting["dead_letters"] == 2 and accounting["in"] == accounting["kept"] + 2 > 90


def test_missing_remote_dump_is_named(bucket):
    with pytest.raises(UsageError, match="s3://limbeck-test/nothing"):
        find_dumps([f"{bucket}/nothing*"])
