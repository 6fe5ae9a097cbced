import bz2
import gzip
import json
import os
import shutil

import pytest

from beam_pipelines.wikipedia import WikipediaSettings, wikipedia
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.dataset import open_dataset
from limbeck.records.keys import make_key
from prep.article import clean_page
from prep.guard import Guard, Verdict


def settings(dump, out, **options):
    return WikipediaSettings(dump=str(dump), out=str(out), **{"num_shards": 3, **options})


def sentences_by_title(directory):
    with open_dataset(directory, kind="documents") as dataset:
        return {record["title"]: record["sentences"] for record in dataset.iterate()}


def test_dump_becomes_documents_and_every_page_is_accounted_for(
    small_dump, small_accounting, articles, tmp_path
):
    manifest = wikipedia(settings(small_dump, tmp_path / "out"))
    assert manifest.content.accounting == small_accounting
    found = sentences_by_title(tmp_path / "out")
    assert sorted(found) == sorted(articles)
    assert found["Lighthouse"] == [
        "A lighthouse is a tower that emits light.",
        "It helps ships at sea.",
        "Keepers lived in it for months.",
        "The first ones were fires on hills.",
        "Later they were built of stone.",
        "The Pharos of the old city was famous.",
        "It stood for a thousand years.",
        "Harbour",
        "Ships and their crews were saved by it.",
    ]
    assert found["Bread"][0].startswith("Bread is made of flour and water")
    assert not (tmp_path / "out.dead-letters.jsonl").exists()


def test_keys_are_corpus_and_page(small_dump, tmp_path):
    wikipedia(settings(small_dump, tmp_path / "out"))
    wikipedia(settings(small_dump, tmp_path / "other", corpus="mine"))
    for directory, corpus in (("out", "testwiki"), ("other", "mine")):
        with open_dataset(tmp_path / directory) as dataset:
            found = {
                bytes(record["key"].tobytes()): record["title"] for record in dataset.iterate()
            }
        assert found[make_key(corpus=corpus, page=1)] == "Lighthouse"
        assert found[make_key(corpus=corpus, page=15)] == "Bread"


def test_same_bytes_however_often_and_wherever(small_dump, tmp_path, tree):
    """Another directory, another packing order of bundles, two workers, doubled bundles."""
    first = wikipedia(settings(small_dump, tmp_path / "a"))
    shutil.copy(small_dump, tmp_path / "renamed")
    os.makedirs(tmp_path / "deep" / "er")
    others = {
        "deep/er/b": {"dump": tmp_path / "renamed"},
        "c": {"workers": 2},
        "d": {"bundle_repeat": 2},
    }
    for name, options in others.items():
        repeat = options.pop("bundle_repeat", 0)
        dump = options.pop("dump", small_dump)
        again = wikipedia(settings(dump, tmp_path / name, **options), bundle_repeat=repeat)
        assert again.id == first.id, name
        assert tree(tmp_path / name) == tree(tmp_path / "a"), name


@pytest.mark.parametrize(
    "change",
    [
        {"corpus": "other"},
        {"language": "de"},
        {"keep_lists": False},
        {"num_shards": 4},
        {"page_seconds": 30.0},
        {"page_megabytes": 512},
    ],
)
def test_every_setting_that_matters_changes_the_id_and_is_refused(small_dump, tmp_path, change):
    first = wikipedia(settings(small_dump, tmp_path / "a"))
    assert wikipedia(settings(small_dump, tmp_path / "b", **change)).id != first.id
    with pytest.raises(UsageError, match="holds another run's output: .*" + next(iter(change))):
        wikipedia(settings(small_dump, tmp_path / "a", **change))
    assert wikipedia(settings(small_dump, tmp_path / "a")).id == first.id


def test_another_dump_is_refused(small_dump, tmp_path):
    wikipedia(settings(small_dump, tmp_path / "a"))
    small_dump.write_text(small_dump.read_text().replace("soft", "hard"))
    with pytest.raises(UsageError, match="another run's output: settings.source.files"):
        wikipedia(settings(small_dump, tmp_path / "a"))


def test_complete_output_is_left_alone(small_dump, tmp_path):
    wikipedia(settings(small_dump, tmp_path / "a"))
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()}
    wikipedia(settings(small_dump, tmp_path / "a"))
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a").iterdir()} == before


def test_lost_shard_is_made_again_and_the_others_are_not(small_dump, tmp_path, tree):
    wikipedia(settings(small_dump, tmp_path / "a"))
    expected = tree(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").unlink()
    for end in ("json", "tfrecord", "index"):
        (tmp_path / "a" / f"documents-00001-of-00003.{end}").unlink()
    kept = tmp_path / "a" / "documents-00000-of-00003.tfrecord"
    before = kept.stat().st_mtime_ns
    wikipedia(settings(small_dump, tmp_path / "a"))
    assert tree(tmp_path / "a") == expected
    assert kept.stat().st_mtime_ns == before


def test_damaged_shard_of_a_killed_run_is_made_again(small_dump, tmp_path, tree):
    wikipedia(settings(small_dump, tmp_path / "a"))
    expected = tree(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").unlink()
    shard = tmp_path / "a" / "documents-00002-of-00003.tfrecord"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(bytes(data))
    wikipedia(settings(small_dump, tmp_path / "a"))
    assert tree(tmp_path / "a") == expected


def test_hostile_pages_end_where_they_belong(page_xml, export_xml, tmp_path):
    pages = [
        page_xml(1, "Good", "One sentence. Another."),
        page_xml(2, "Nested", "{{a|" * 20_000),
        page_xml(3, "Bullets", "*" * 6_000_000),
        page_xml(4, "Long line", "A word and more. " * 20_000),
        page_xml(5, "Bad bytes", "caf~ here."),
        page_xml(6, "No text", "x").replace("<text>x</text>", "<text deleted='deleted'/>"),
        page_xml(7, "Tags", "<b>" * 2_000 + "Deep." + "</b>" * 2_000),
        page_xml(8, "Bad XML", "x").replace("</title>", "</titel>"),
        page_xml(9, "Last", "The end."),
        page_xml(10, "No id", "x").replace("<id>10</id>", "<id>?</id>"),
    ]
    dump = tmp_path / "hostile.xml.bz2"
    dump.write_bytes(bz2.compress(export_xml(pages).encode().replace(b"~", b"\xe9")))
    manifest = wikipedia(settings(dump, tmp_path / "out", page_seconds=5.0, page_megabytes=300))
    assert manifest.content.accounting["in"] == 10
    assert manifest.content.accounting["filtered"]["missing_text"] == 1
    found = sentences_by_title(tmp_path / "out")
    assert found["Good"] == ["One sentence.", "Another."] and found["Last"] == ["The end."]
    assert len(found["Long line"]) == 20_000
    letters = (tmp_path / "out.dead-letters.jsonl").read_text().splitlines()
    reasons = {(letter["page"], letter["reason"]) for letter in map(json.loads, letters)}
    # What the cleaner cannot do within its limits is its own affair.
    assert {one for one in reasons if one[0] not in (2, 3, 7)} == {
        (5, "bad_characters"),
        (-1, "bad_xml"),
        (-1, "bad_id"),
    }


def test_pages_beyond_a_limit_are_dead_letters(small_dump, tmp_path, monkeypatch, articles):
    def verdicts(self, items):
        for number, item in enumerate(items):
            kind = ("timeout", "memory", "")[number % 3]
            yield Verdict(value=None if kind else clean_page(item), reason=kind, detail="a test")

    monkeypatch.setattr(Guard, "map", verdicts)
    manifest = wikipedia(settings(small_dump, tmp_path / "out"))
    accounting = manifest.content.accounting
    assert accounting["in"] == 19 and accounting["dead_letters"] == 9
    letters = map(json.loads, (tmp_path / "out.dead-letters.jsonl").read_text().splitlines())
    for letter in letters:
        assert letter["title"] in {*articles, "Only a table"} and letter["detail"] == "a test"
        assert letter["file"] == str(small_dump) and letter["reason"] in ("timeout", "memory")


def test_dead_letters_of_an_earlier_run_do_not_stay(small_dump, tmp_path):
    (tmp_path / "out.dead-letters.jsonl").write_text("{}\n")
    wikipedia(settings(small_dump, tmp_path / "out"))
    assert not (tmp_path / "out.dead-letters.jsonl").exists()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_page_that_occurs_twice_is_an_error_that_names_it(page_xml, export_xml, tmp_path, workers):
    dump = tmp_path / "twice.xml"
    dump.write_text(export_xml([page_xml(5, "A", "One."), page_xml(5, "A", "Two.")]))
    with pytest.raises(LimbeckError, match=r"occur twice.*page 5.*--duplicates latest") as error:
        wikipedia(settings(dump, tmp_path / "out", workers=workers))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_dump_that_turns_out_damaged_is_one_error_and_no_dataset(small_dump, tmp_path, workers):
    dump = tmp_path / "cut.xml.gz"  # the end of a gzip file is only seen when it is read
    dump.write_bytes(gzip.compress(small_dump.read_bytes().replace(b"</mediawiki>", b"")))
    with pytest.raises(LimbeckError) as error:
        wikipedia(settings(dump, tmp_path / "out", workers=workers))
    assert str(error.value).startswith(f"{dump}: cut off: its end tag </mediawiki> is missing")
    assert "while running" not in str(error.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("pack", [bytes, bz2.compress])
def test_dump_that_is_cut_off_is_refused_before_work(small_dump, tmp_path, pack):
    dump = tmp_path / "cut.xml"
    dump.write_bytes(pack(small_dump.read_bytes())[:-30])
    with pytest.raises(UsageError, match=f"{dump}: cut off"):
        wikipedia(settings(dump, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_dump_that_does_not_name_its_wiki_needs_the_options(small_dump, tmp_path):
    text = small_dump.read_text()
    small_dump.write_text(text.replace("<dbname>testwiki</dbname>", ""))
    with pytest.raises(UsageError, match="does not name its wiki; give --corpus"):
        wikipedia(settings(small_dump, tmp_path / "out"))
    small_dump.write_text(text.replace(' xml:lang="en"', ""))
    with pytest.raises(UsageError, match="does not name its language; give --language"):
        wikipedia(settings(small_dump, tmp_path / "out"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_shards": 0}, "num_shards is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"page_seconds": 0.0}, "time limit is 0"),
        ({"page_megabytes": 1}, "memory limit is 1 MB"),
    ],
)
def test_impossible_options_are_refused(small_dump, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        wikipedia(settings(small_dump, tmp_path / "out", **options))
