"""Labelled files through their pipeline, as functions and as a user runs it."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from beam_pipelines.tasks import TasksSettings, tasks
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.dataset import open_dataset
from limbeck.records.examples import check_examples
from limbeck.records.keys import make_key

TRAIN = "text\tlabel\nShips come in.\tharbour\nBread is old.\tbread\nbroken\nIt keeps.\tbread\n"
DEV = "text\tlabel\nOld bread.\tbread\nMany ships.\tharbour\n\t\n"


@pytest.fixture
def files(tmp_path):
    """Writes one file of each format."""
    contents = {
        "train.tsv": TRAIN,
        "dev.tsv": DEV,
        "test.tsv": "text\nShips.\n",
        "pairs.csv": 'a,b,score\n"Ships, many",boats,0.5\nbread,salt,2\n',
        "many.jsonl": "".join(
            json.dumps({"text": f"page {n} of bread", "label": ["b"] * (n % 2)}) + "\n"
            for n in range(200)
        ),
        "tags.conll": "Ships NNS O\ncome VB O\n\nPharos NNP B\n",
        "qa.json": json.dumps(
            {
                "data": [
                    {
                        "paragraphs": [
                            {
                                "context": "Ships come in a storm. " * 5,
                                "qas": [
                                    {
                                        "question": "What?",
                                        "answers": [{"text": "Ships", "answer_start": 0}],
                                    },
                                    {"question": "Who?", "answers": [], "is_impossible": True},
                                ],
                            }
                        ]
                    }
                ]
            }
        ),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.fixture
def settings(files, vocab):
    def settings(*entries, out="out", **options):
        given = {"task": "classification", "max_seq_length": 32, "num_shards": 2, **options}
        return TasksSettings(
            input=tuple(f"{split}={files / name}" for split, name in entries),
            vocab=str(vocab),
            corpus="toy",
            out=str(files / out),
            **given,
        )

    return settings


def read(directory):
    with open_dataset(directory, kind="examples") as dataset:
        return dataset.read(np.arange(dataset.num_rows))


def test_splits_stay_as_they_are_given_and_labels_stand_in_the_manifest(settings, files):
    manifests = tasks(
        settings(
            ("train", "train.tsv"), ("dev", "dev.tsv"), ("test", "test.tsv"), unlabelled=("test",)
        )
    )
    accounts = {split: m.content.accounting for split, m in manifests.items()}
    assert accounts["train"] == {"in": 4, "kept": 3, "filtered": {}, "dead_letters": 1}
    assert accounts["dev"] == {"in": 3, "kept": 2, "filtered": {"empty": 1}, "dead_letters": 0}
    for split, manifest in manifests.items():
        content = manifest.content
        assert content.settings["labels"] == ["bread", "harbour"]
        assert content.settings["example_kind"] == "classification"
        assert content.settings["split"] == split
        rows = read(files / "out" / split)
        check_examples(rows, vocab_size=content.tokenizer["vocab_size"], num_labels=2)
        by_key = {
            key.tobytes(): label for key, label in zip(rows["key"], rows["class_id"], strict=True)
        }
        expected = {"train": {0: 1, 1: 0, 3: 0}, "dev": {0: 0, 1: 1}, "test": {0: -1}}[split]
        assert by_key == {
            make_key(corpus=f"toy/{split}", page=page): label for page, label in expected.items()
        }
        assert content.totals["labelled_positions"] == (0 if split == "test" else len(expected))


def test_rows_that_cannot_be_used_are_listed_with_line_and_reason(settings, files):
    tasks(settings(("train", "train.tsv")))
    [letter] = (files / "out.dead-letters.jsonl").read_text().splitlines()
    assert json.loads(letter) == {
        "detail": "1 columns; expected 2",
        "file": str(files / "train.tsv"),
        "reason": "columns",
        "row": 2,
        "where": "line 4",
    }


def test_what_is_cut_off_is_told_in_the_manifest(settings, files):
    manifests = tasks(settings(("train", "train.tsv"), max_seq_length=5))
    notes = manifests["train"].content.accounting["notes"]
    assert 0 < notes["truncated_rows"] <= 3 and notes["truncated_tokens"] > 0


def test_more_dead_letters_than_allowed_stop_the_run(settings, files):
    with pytest.raises(LimbeckError, match="1 dead letters .*1 columns.*--max-dead-letters is 0"):
        tasks(settings(("train", "train.tsv"), max_dead_letters=0))
    assert not (files / "out" / "train" / "manifest.json").exists()
    tasks(settings(("train", "train.tsv"), max_dead_letters=1))


CASES = {
    "classification": ([("train", "train.tsv"), ("dev", "dev.tsv")], {}),
    "regression": (
        [("train", "pairs.csv")],
        {"format": "csv", "text": "a", "text_pair": "b", "label": "score"},
    ),
    "multi-label": ([("train", "many.jsonl")], {"format": "jsonl"}),
    "tagging": ([("train", "tags.conll")], {"format": "conll"}),
    "qa": ([("train", "qa.json")], {"format": "squad", "max_query_length": 8, "doc_stride": 5}),
}
# First digits of the SHA-256 of the shards' SHA-256.
GOLDEN = {
    "classification": "c06cd5b353819046",
    "regression": "c48ae3b6dd6196f2",
    "multi-label": "cfeec95ca4c0b58a",
    "tagging": "42d40ac6fae99368",
    "qa": "66381fe243b652ac",
}


@pytest.mark.parametrize("task", CASES)
def test_golden_shards_freeze_the_bytes_of_every_task(settings, files, tree, task):
    entries, options = CASES[task]
    manifests = tasks(settings(*entries, task=task, **options))
    shards = [s.sha256 for m in manifests.values() for s in m.content.shards]
    for split, manifest in manifests.items():
        rows = read(files / "out" / split)
        check_examples(rows, vocab_size=manifest.content.tokenizer["vocab_size"])
        assert manifest.content.settings["example_kind"] == task
        assert manifest.content.totals["labelled_positions"] > 0
    assert hashlib.sha256(" ".join(shards).encode()).hexdigest()[:16] == GOLDEN[task]
    expected = tree(files / "out")
    tasks(settings(*entries, task=task, out="again", **options), bundle_repeat=2)
    assert tree(files / "again") == expected


def test_same_bytes_with_two_workers_and_other_paths(settings, files, tree):
    options = {"task": "multi-label", "format": "jsonl"}
    tasks(settings(("train", "many.jsonl"), **options))
    (files / "moved.jsonl").write_bytes((files / "many.jsonl").read_bytes())
    tasks(settings(("train", "moved.jsonl"), out="two", workers=2, **options))
    assert tree(files / "two") == tree(files / "out")


def test_files_of_a_split_go_on_in_their_order(settings, files):
    tasks(settings(("train", "dev.tsv"), ("train", "train.tsv")))
    keys = {key.tobytes() for key in read(files / "out" / "train")["key"]}
    pages = [0, 1, 1 << 32, (1 << 32) + 1, (1 << 32) + 3]
    assert keys == {make_key(corpus="toy/train", page=page) for page in pages}


@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        ([("Train", "train.tsv")], {}, "--input Train=.*: expected SPLIT=FILE"),
        ([("tokenizer", "train.tsv")], {}, "expected SPLIT=FILE"),
        ([], {}, "0 input files"),
        ([("train", "none.tsv")], {}, "none.tsv: No such file"),
        ([("train", "train.tsv")], {"unlabelled": ("dev",)}, "--unlabelled dev: --input names no"),
        ([("train", "train.tsv")], {"label": "x"}, "--label x: no column of that name"),
        ([("train", "train.tsv")], {"doc_stride": 3}, "--doc-stride has no effect"),
        ([("train", "train.tsv")], {"num_shards": 0}, "num_shards is 0"),
        ([("test", "test.tsv")], {"unlabelled": ("test",)}, "no row bears a label"),
        ([("train", "empty.tsv")], {}, "empty.tsv: no rows in it"),
    ],
)
def test_what_cannot_be_made_is_refused_before_work(settings, files, entries, options, message):
    (files / "empty.tsv").write_text("text\tlabel\n")
    with pytest.raises(UsageError, match=message):
        tasks(settings(*entries, **options))
    assert not (files / "out" / "train").exists()


def test_labels_that_are_given_number_the_rows_and_others_are_not_used(settings, files):
    given = settings(("train", "train.tsv"), labels=("bread",))
    manifests = tasks(given)
    assert manifests["train"].content.accounting["dead_letters"] == 2
    with pytest.raises(UsageError, match="holds another run's output: .*labels"):
        tasks(dataclasses.replace(given, labels=("harbour", "bread")))


def test_command_prints_the_account_and_where_dead_letters_are(run, files, vocab):
    arguments = ["--input", f"train={files / 'train.tsv'}", "--task", "classification"]
    arguments += ["--vocab", vocab, "--corpus", "toy", "--out", files / "out"]
    done = run("beam_pipelines.tasks", *arguments)
    assert done.code == 0 and done.err == ""
    assert "rows in" in done.out and "dead letters: columns" in done.out
    assert f"1 dead letters are listed in {files / 'out'}.dead-letters.jsonl" in done.out
    done = run("beam_pipelines.tasks", *arguments, "--doc-stride", "3")
    assert done.code == 2 and done.err.count("\n") == 1
    assert "--doc-stride has no effect with --task classification" in done.err
