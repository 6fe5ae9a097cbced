"""The source of the wikipedia pipeline: which files, which ranges, each page once."""

import bz2
import gzip
import json
import lzma
import random
import re

import apache_beam as beam
import pytest
from apache_beam.io.restriction_trackers import OffsetRestrictionTracker
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from beam_pipelines import dumps
from beam_pipelines.dumps import ReadDumps, find_dumps
from beam_pipelines.wikipedia import WikipediaSettings, wikipedia
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.dataset import open_dataset
from prep.dumps.reading import read_pages


def settings(dump, out, **options):
    paths = (dump,) if isinstance(dump, str) else tuple(map(str, dump))
    return WikipediaSettings(dump=paths, out=str(out), **{"num_shards": 3, **options})


def titles(directory):
    with open_dataset(directory, kind="documents") as dataset:
        return sorted(record["title"] for record in dataset.iterate())


@pytest.fixture
def big_xml(page_xml, export_xml):
    """An export of 120 pages of words that pack badly, so that it has many blocks of bzip2."""
    rng = random.Random(7)
    pages = []
    for number in range(120):
        words = (f"{rng.getrandbits(40):x}" for _ in range(rng.randint(1, 900)))
        pages.append(page_xml(number, f"Page {number}", " ".join(words).capitalize() + "."))
    return export_xml(pages).encode()


@pytest.fixture
def big_dump(big_xml, tmp_path):
    path = tmp_path / "big.xml.bz2"
    path.write_bytes(bz2.compress(big_xml, 1))
    return path


def shares(found, **options):
    return ReadDumps(found, **options)._shares


# -------------------------------------------------------------------------------- which files


def test_globs_and_lists_are_found_and_indexes_left_out(small_dump, tmp_path):
    for name in ("p2.xml", "p1.xml"):
        (tmp_path / name).write_bytes(small_dump.read_bytes())
    for name in ("w-multistream-index.txt.bz2", "w-multistream-index1.txt-p1p9.bz2"):
        (tmp_path / name).write_bytes(bz2.compress(b"600:1:A"))
    files, found = find_dumps([str(tmp_path / "p*"), str(tmp_path / "w*"), str(small_dump)])
    assert [file.path for file in files] == [
        str(tmp_path / "p1.xml"),
        str(tmp_path / "p2.xml"),
        str(small_dump),
    ]
    assert [dump.path for dump in found] == [file.path for file in files]
    with pytest.raises(UsageError, match="no export among the files"):
        find_dumps([str(tmp_path / "w*")])


def test_files_of_different_wikis_are_refused(small_dump, tmp_path):
    other = tmp_path / "other.xml"
    other.write_text(small_dump.read_text().replace("testwiki", "dewiki"))
    with pytest.raises(UsageError, match="is of the database 'testwiki' and .* of 'dewiki'"):
        find_dumps([str(small_dump), str(other)])


def test_same_file_twice_is_refused(small_dump, tmp_path):
    (tmp_path / "copy.xml").write_bytes(small_dump.read_bytes())
    with pytest.raises(UsageError, match="two of the dump's files are the same"):
        wikipedia(settings([small_dump, tmp_path / "copy.xml"], tmp_path / "out"))


def test_parts_give_what_the_whole_gives_in_any_order(small_dump, tmp_path, tree):
    text = small_dump.read_text()
    head, first = re.match(r"(.*?)(<page>.*)", text, re.DOTALL).groups()
    pages = re.findall(r"<page>.*?</page>", first, re.DOTALL)
    parts = []
    for number, pack in enumerate((bytes, bz2.compress, gzip.compress, lzma.compress)):
        part = head + "".join(pages[number::4]) + "</mediawiki>"
        parts.append(tmp_path / f"part{number}")
        parts[-1].write_bytes(pack(part.encode()))
    whole = wikipedia(settings(str(small_dump), tmp_path / "whole"))
    one = wikipedia(settings(parts, tmp_path / "one"))
    other = wikipedia(settings(parts[::-1], tmp_path / "other", workers=2))
    assert one.id == other.id and one.content.accounting == whole.content.accounting
    assert [shard.sha256 for shard in one.content.shards] == [
        shard.sha256 for shard in whole.content.shards
    ]


# -------------------------------------------------------------------------------- which ranges


def read_restriction(source, share, tracker, splits=()):
    """Reads what a tracker allows; splits it after so many batches. Returns pages and the rest."""
    pages, rest = [], []
    for number, batch in enumerate(source.process(share, tracker)):
        pages += batch.items
        if number in splits and (split := tracker.try_split(0.4)) is not None:
            rest.append(split[1])
    tracker.check_done()
    return pages, rest


@pytest.mark.parametrize("pack", [bytes, lambda data: bz2.compress(data, 1), gzip.compress])
def test_splitting_while_reading_loses_and_doubles_nothing(big_xml, tmp_path, monkeypatch, pack):
    monkeypatch.setattr(dumps, "_BATCH_CHARACTERS", 1)
    monkeypatch.setattr("prep.dumps.units.PLAIN_BYTES", 10_000)
    path = tmp_path / "dump"
    path.write_bytes(pack(big_xml))
    _, found = find_dumps([str(path)])
    source = dumps._ReadRange("")
    pages = []
    for share in shares(found):
        waiting = list(source.split(share, source.initial_restriction(share)))
        while waiting:
            tracker = OffsetRestrictionTracker(waiting.pop())
            some, rest = read_restriction(source, share, tracker, splits=(0, 3, 4))
            pages += some
            waiting += rest
    assert sorted(page.page_id for page in pages) == list(range(120))
    assert sorted(pages, key=lambda page: page.page_id) == list(read_pages(str(path)))


@pytest.mark.parametrize("pack", [lambda data: bz2.compress(data, 1), gzip.compress])
def test_progress_says_pages_and_bytes(big_xml, tmp_path, monkeypatch, pack):
    said = []
    monkeypatch.setattr(dumps, "found", lambda _, count, *, read: said.append((count, read)))
    path = tmp_path / "dump"
    path.write_bytes(pack(big_xml))
    _, found = find_dumps([str(path)])
    source = dumps._ReadRange("")
    for share in shares(found):
        for one in source.split(share, source.initial_restriction(share)):
            list(source.process(share, OffsetRestrictionTracker(one)))
    assert sum(count for count, _ in said) == 120
    assert abs(sum(read for _, read in said) - path.stat().st_size) < 100  # rounded per share


def test_large_file_is_split_into_ranges_that_cover_it(big_dump, monkeypatch):
    monkeypatch.setattr(dumps, "MOST_SPLIT_BYTES", 10_000)
    monkeypatch.setattr(dumps, "LEAST_SPLIT_BYTES", 1_000)
    _, found = find_dumps([str(big_dump)])
    [share] = shares(found)
    source = dumps._ReadRange("")
    ranges = list(source.split(share, source.initial_restriction(share)))
    assert len(ranges) > 15
    assert ranges[0].start == 0 and ranges[-1].stop == big_dump.stat().st_size
    assert all(a.stop == b.start for a, b in zip(ranges, ranges[1:], strict=False))
    assert sum(source.restriction_size(share, one) for one in ranges) == big_dump.stat().st_size


def _ids(batch):
    return [page.page_id for page in batch.items]


@pytest.mark.parametrize("can_split", [True, False])
@pytest.mark.parametrize("most", [2_000, 40_000, 1 << 30])
def test_pipeline_reads_each_page_once(big_dump, monkeypatch, most, can_split):
    monkeypatch.setattr(dumps, "MOST_SPLIT_BYTES", most)
    monkeypatch.setattr(dumps, "LEAST_SPLIT_BYTES", 1)
    monkeypatch.setattr(dumps, "_RANGES", 1)
    _, found = find_dumps([str(big_dump)])
    with beam.Pipeline(FnApiRunner()) as pipeline:
        ids = pipeline | ReadDumps(found, can_split=can_split) | beam.FlatMap(_ids)
        assert_that(ids, equal_to(list(range(120))))


# -------------------------------------------------------------------------------- the command


def flipped(data):
    """Damages a block in the middle of packed data."""
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 4
    return bytes(damaged)


def test_damage_is_accounted_for_however_the_file_is_split(big_xml, tmp_path, monkeypatch, tree):
    dump = tmp_path / "damaged.xml.bz2"
    dump.write_bytes(flipped(bz2.compress(big_xml, 1)))
    first = wikipedia(settings(str(dump), tmp_path / "a"))
    letters = (tmp_path / "a.dead-letters.jsonl").read_text()
    block, page = sorted(map(json.loads, letters.splitlines()), key=lambda one: "page" in one)
    assert block["reason"] == page["reason"] == "bad_block"
    assert block["file"] == str(dump) and block["byte"] < dump.stat().st_size // 2 < block["end"]
    accounting = first.content.accounting
    assert accounting["dead_letters"] == 2 and 80 < accounting["kept"] < 120
    assert accounting["in"] == accounting["kept"] + 2
    for number, (most, workers) in enumerate([(3_000, 1), (50_000, 1), (0, 2)]):
        if most:
            monkeypatch.setattr(dumps, "MOST_SPLIT_BYTES", most)
            monkeypatch.setattr(dumps, "LEAST_SPLIT_BYTES", 1)
        again = wikipedia(settings(str(dump), tmp_path / f"b{number}", workers=workers))
        assert again.id == first.id
        assert tree(tmp_path / f"b{number}") == tree(tmp_path / "a")
        assert (tmp_path / f"b{number}.dead-letters.jsonl").read_text() == letters


def test_too_many_dead_letters_end_the_job_and_are_listed(big_xml, tmp_path, run):
    dump = tmp_path / "damaged.xml.bz2"
    dump.write_bytes(flipped(bz2.compress(big_xml, 1)))
    command = ["--dump", dump, "--out", tmp_path / "out", "--num-shards", 2]
    done = run("beam_pipelines.wikipedia", *command, "--max-dead-letters", 1)
    assert done.code == 1
    assert re.fullmatch(r"beam_pipelines.wikipedia: error: .*dead letters.*\n", done.err)
    assert not (tmp_path / "out" / "manifest.json").exists()
    done = run("beam_pipelines.wikipedia", *command, "--max-dead-letters", 2)
    assert done.code == 0, done.err
    assert f"2 dead letters are listed in {tmp_path}/out.dead-letters.jsonl" in done.out


def dated(page, timestamp):
    return page.replace("<revision>", f"<revision><timestamp>{timestamp}</timestamp>")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_latest_of_duplicates_is_kept_and_the_others_counted(
    page_xml, export_xml, tmp_path, workers
):
    old, new = "2001-01-01T00:00:00Z", "2002-01-01T00:00:00Z"
    same = page_xml(3, "Same", "One and the same.")
    (tmp_path / "a.xml").write_text(
        export_xml(
            [
                dated(page_xml(1, "New", "This is new."), new),
                dated(page_xml(2, "Old", "This is old."), old),
                same,
                same,
                page_xml(4, "Alone", "Only here."),
                page_xml(4, "Redirect", "#REDIRECT [[X]]"),  # filtered before
            ]
        )
    )
    (tmp_path / "b.xml").write_text(
        export_xml(
            [
                same,
                dated(page_xml(2, "New", "This is new, too."), new),
                dated(page_xml(1, "Old", "This is old, too."), old),
            ]
        )
    )
    for number, parts in enumerate((["a.xml", "b.xml"], ["b.xml", "a.xml"])):
        out = tmp_path / f"out{number}"
        paths = [tmp_path / part for part in parts]
        manifest = wikipedia(settings(paths, out, duplicates="latest", workers=workers))
        assert manifest.content.accounting == {
            "in": 9,
            "kept": 4,
            "filtered": {"duplicate": 4, "redirect": 1},
            "dead_letters": 0,
        }
        assert titles(out) == ["Alone", "New", "New", "Same"]


def test_memory_limit_page_of_50_megabytes_is_a_dead_letter(page_xml, export_xml, tmp_path):
    dump = tmp_path / "long.xml"
    dump.write_text(
        export_xml([page_xml(1, "Long", "word " * 10_000_000), page_xml(2, "B", "Hi.")])
    )
    manifest = wikipedia(settings(str(dump), tmp_path / "out"))
    assert manifest.content.accounting == {
        "in": 2,
        "kept": 1,
        "filtered": {},
        "dead_letters": 1,
    }
    [letter] = (tmp_path / "out.dead-letters.jsonl").read_text().splitlines()
    assert json.loads(letter)["reason"] == "too_large"


@pytest.mark.parametrize("content", [b"", b"no dump", b"<html/>"])
def test_file_that_is_no_dump_is_a_usage_error(tmp_path, inside, content):
    (tmp_path / "x.xml").write_bytes(content)
    arguments = ("--dump", tmp_path / "x.xml", "--out", tmp_path / "out")
    done = inside("beam_pipelines.wikipedia", *arguments)
    assert done.code == 2 and str(tmp_path / "x.xml") in done.err and done.err.count("\n") == 1


def test_missing_file_is_named(tmp_path):
    with pytest.raises(LimbeckError, match="nothing.xml"):
        wikipedia(settings(str(tmp_path / "nothing.xml"), tmp_path / "out"))
