import gzip
import json

import pytest

from beam_pipelines.text import TextSettings, text
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.dataset import open_dataset
from limbeck.records.documents import paragraphs_of
from limbeck.records.keys import split_key


def settings(paths, out, **options):
    options = {"corpus": "mine", "num_shards": 2, **options}
    return TextSettings(input=tuple(map(str, paths)), out=str(out), **options)


def documents_of(directory):
    with open_dataset(directory, kind="documents") as dataset:
        records = list(dataset.iterate())
    return sorted((split_key(r["key"]).page, r["title"], r["sentences"]) for r in records)


def test_files_become_documents_numbered_by_file_and_place(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        '{"text": "One. Two.", "title": "A"}\nnot json\n{"text": " "}\n{"text": "Three."}\n'
    )
    (tmp_path / "b.jsonl").write_text('{"text": "Four."}\n')
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    manifest = text(settings(paths, tmp_path / "out", format="jsonl"))
    assert documents_of(tmp_path / "out") == [
        (0, "A", ["One.", "Two."]),
        (3, "", ["Three."]),
        (1 << 32, "", ["Four."]),
    ]
    assert manifest.content.accounting == {
        "in": 5,
        "kept": 3,
        "filtered": {"empty": 1},
        "dead_letters": 1,
    }
    [letter] = (tmp_path / "out.dead-letters.jsonl").read_text().splitlines()
    assert json.loads(letter)["reason"] == "bad_json" and json.loads(letter)["number"] == 1


@pytest.mark.parametrize("format", ["plain", "blocks", "lines"])
def test_every_format_gives_the_same_dataset_in_any_way_it_is_run(tmp_path, tree, format):
    paths = [tmp_path / f"{n}.txt" for n in range(5)]
    for n, path in enumerate(paths):
        path.write_text(f"File {n} begins. It goes on.\n\nAnother paragraph {n}.\n")
    first = text(settings(paths, tmp_path / "a", format=format))
    assert text(settings(paths, tmp_path / "b", format=format), bundle_repeat=1).id == first.id
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert len(documents_of(tmp_path / "a")) == {"plain": 5, "blocks": 10, "lines": 10}[format]


def test_order_of_files_is_part_of_the_dataset_and_their_names_are_not(tmp_path):
    (tmp_path / "a").write_text("One.")
    (tmp_path / "b").write_text("Two.")
    (tmp_path / "c").write_text("One.")
    first = text(settings([tmp_path / "a", tmp_path / "b"], tmp_path / "1"))
    assert text(settings([tmp_path / "c", tmp_path / "b"], tmp_path / "2")).id == first.id
    assert text(settings([tmp_path / "b", tmp_path / "a"], tmp_path / "3")).id != first.id


def test_only_settings_that_matter_are_recorded(tmp_path):
    (tmp_path / "a").write_text("One.")
    lines = text(settings([tmp_path / "a"], tmp_path / "1", format="lines"))
    assert "language" not in lines.content.settings
    other = text(settings([tmp_path / "a"], tmp_path / "2", format="lines", language="de"))
    assert other.id == lines.id


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpus": ""}, "corpus is empty"),
        ({"num_shards": 0}, "num_shards is 0"),
        ({"num_shards": 100_000}, "num_shards is 100000"),
        ({"workers": 0}, "workers is 0"),
        ({"text_field": "body"}, "have no effect on --format plain"),
    ],
)
def test_impossible_options_are_refused(tmp_path, options, message):
    (tmp_path / "a").write_text("One.")
    with pytest.raises(UsageError, match=message):
        text(settings([tmp_path / "a"], tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()


def test_globs_are_files_by_name_and_paragraphs_are_kept(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.txt").write_text(f"{name} one. Two.\n\nThree {name}.\n")
    by_glob = text(settings([tmp_path / "[ab].txt", tmp_path / "c.txt"], tmp_path / "1"))
    by_name = text(settings([tmp_path / f"{n}.txt" for n in "abc"], tmp_path / "2"))
    assert by_glob.id == by_name.id
    with open_dataset(tmp_path / "1", kind="documents") as dataset:
        assert {paragraphs_of(record) for record in dataset.iterate()} == {(0, 2)}


def test_file_that_is_given_twice_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("One.")
    with pytest.raises(UsageError, match="a.txt: is given twice"):
        text(settings([tmp_path / "a.txt", tmp_path / "*.txt"], tmp_path / "out"))


def test_file_whose_name_is_a_pattern_is_that_file(tmp_path):
    (tmp_path / "a[1].txt").write_text("One.")
    assert text(settings([tmp_path / "a[1].txt"], tmp_path / "out")).content.totals["records"] == 1


def test_packed_files_are_read(tmp_path):
    (tmp_path / "a").write_text("One.\nTwo.\n" * 500)
    (tmp_path / "a.gz").write_bytes(gzip.compress((tmp_path / "a").read_bytes()))
    counts = [
        text(settings([tmp_path / name], tmp_path / f"{name}.out", format="lines"))
        for name in ("a", "a.gz")
    ]
    assert [manifest.content.totals["records"] for manifest in counts] == [1000, 1000]


def test_limit_of_dead_letters(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\nno\nno\n')
    given = {"format": "jsonl", "max_dead_letters": 1}
    with pytest.raises(
        LimbeckError, match=r"2 dead letters \(2 bad_json\).*--max-dead-letters is 1"
    ):
        text(settings([tmp_path / "a.jsonl"], tmp_path / "out", **given))
    given["max_dead_letters"] = 2
    assert text(settings([tmp_path / "a.jsonl"], tmp_path / "out", **given)).id


def test_missing_input_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match="nothing.txt: No such file"):
        text(settings([tmp_path / "nothing.txt"], tmp_path / "out"))
    with pytest.raises(UsageError, match="0 input files"):
        text(settings([], tmp_path / "out"))
    with pytest.raises(UsageError, match=r"\*.none: no such file"):
        text(settings([tmp_path / "*.none"], tmp_path / "out"))
    with pytest.raises(UsageError, match="is a directory; give files, or a glob"):
        text(settings([tmp_path], tmp_path / "out"))
    assert not (tmp_path / "out").exists()
