import dataclasses
import shutil

import numpy as np
import pytest

from beam_pipelines.examples import ExamplesSettings, examples
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.dataset import open_dataset
from limbeck.records.examples import check_examples
from limbeck.records.keys import split_key
from limbeck.tokens import load_tokenizer


@pytest.fixture
def settings(documents, vocab):
    def settings(out, **options):
        defaults = {
            "documents": str(documents),
            "vocab": str(vocab),
            "max_seq_length": 48,
            "max_predictions_per_seq": 6,
            "dupe_factor": 2,
            "heldout_fraction": 0.3,
            "num_shards": 3,
        }
        return ExamplesSettings(out=str(out), **{**defaults, **options})

    return settings


def rows_of(directory):
    with open_dataset(directory, kind="examples") as dataset:
        return dataset.read(np.arange(dataset.num_rows)), dataset.lengths()


def pages_of(rows):
    return {split_key(key).page for key in rows["key"]}


def test_documents_become_train_and_heldout_examples(settings, vocab, tmp_path):
    manifests = examples(settings(tmp_path / "out"))
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer")
    pages = {}
    for split, manifest in manifests.items():
        rows, lengths = rows_of(tmp_path / "out" / split)
        check_examples(rows, vocab_size=tokenizer.vocab_size)
        assert lengths.tolist() == rows["num_tokens"].tolist()
        totals = manifest.content.totals
        assert totals["labelled_positions"] == rows["num_masked"].sum()
        assert totals["tokens"] == rows["num_tokens"].sum()
        assert manifest.content.tokenizer == tokenizer.info()
        assert {split_key(key).duplicate for key in rows["key"]} == {0, 1}
        assert {0, 1} == set(rows["is_random_next"].tolist())
        pages[split] = pages_of(rows)
    assert not pages["train"] & pages["heldout"]
    assert len(pages["train"] | pages["heldout"]) == 12
    for split, other in (("train", "heldout"), ("heldout", "train")):
        assert manifests[split].content.accounting == {
            "in": 12,
            "kept": len(pages[split]),
            "filtered": {other: len(pages[other])},
            "dead_letters": 0,
        }


def test_random_next_segments_come_from_the_same_split(settings, tmp_path):
    """Each document ends with "This is page N.": where it shows up as B, N is of the split."""
    examples(settings(tmp_path / "out", dupe_factor=20, masked_lm_prob=0.02))
    tokenizer = load_tokenizer(tmp_path / "out" / "tokenizer")
    [page_word] = tokenizer.encode(["page"])
    seen = {"train": set(), "heldout": set()}
    own = {}
    for split in seen:
        rows, _ = rows_of(tmp_path / "out" / split)
        own[split] = pages_of(rows)
        for number in np.flatnonzero(rows["is_random_next"] == 1):
            ids = rows["ids"][number].astype(int)
            count = rows["num_masked"][number]
            ids[rows["mask_positions"][number][:count]] = rows["mask_ids"][number][:count]
            second = ids[rows["segment_split"][number] : rows["num_tokens"][number] - 1].tolist()
            text = tokenizer.decode(second).replace(" ", "")
            _, found, rest = text.partition("Thisispage".lower())
            if found and rest.rstrip(".").isdigit() and rest.endswith("."):
                page = int(rest.rstrip("."))
                assert page != split_key(rows["key"][number]).page
                seen[split].add(page)
    assert page_word and len(seen["train"]) >= 4 and len(seen["heldout"]) >= 2
    for split, pages in seen.items():
        assert pages <= own[split]


# First halves of the SHA-256 of the shards.
GOLDEN = {
    "train": [
        "6832416457be9ad4d42b581442c72bb3",
        "ab24bb23f01d100c49b38dcb2c5c5122",
        "7e8bba68a23c7a359f0249786c3e775b",
    ],
    "heldout": [
        "46b98f68017b5cd3b490ef9f335ba764",
        "4b570563f916eeb59431b0f5da4060a0",
        "1700aee63d4b003ee5bcbed274042099",
    ],
}


def test_golden_shards_freeze_the_bytes_of_pairs(settings, tmp_path):
    # No library decides these: documents, vocabulary and draws are ours, ids are words and letters.
    manifests = examples(settings(tmp_path / "out"))
    for split, manifest in manifests.items():
        assert [shard.sha256[:32] for shard in manifest.content.shards] == GOLDEN[split]


def test_same_bytes_however_often_and_wherever(settings, documents, vocab, tmp_path, tree):
    """Other directories, two workers, doubled bundles."""
    first = examples(settings(tmp_path / "a"))
    shutil.copytree(documents, tmp_path / "moved")
    shutil.copy(vocab, tmp_path / "other-name.txt")
    moved = {"documents": str(tmp_path / "moved"), "vocab": str(tmp_path / "other-name.txt")}
    for name, options, repeat in (("b", moved, 0), ("c", {"workers": 2}, 0), ("d", {}, 2)):
        again = examples(settings(tmp_path / name, **options), bundle_repeat=repeat)
        assert {s: m.id for s, m in again.items()} == {s: m.id for s, m in first.items()}, name
        assert tree(tmp_path / name) == tree(tmp_path / "a"), name


def test_number_of_shards_moves_rows_and_changes_none(settings, tmp_path):
    examples(settings(tmp_path / "a", num_shards=1))
    examples(settings(tmp_path / "b", num_shards=7))
    (one, _), (many, _) = rows_of(tmp_path / "a" / "train"), rows_of(tmp_path / "b" / "train")
    # Rows are ordered by their hash over the whole dataset, so not even the order differs.
    assert all(np.array_equal(one[name], many[name]) for name in one)


def test_shards_of_the_documents_do_not_matter(settings, write_documents, tmp_path):
    write_documents(tmp_path / "resharded", num_shards=5)
    first = examples(settings(tmp_path / "a"))
    other = examples(settings(tmp_path / "b", documents=str(tmp_path / "resharded")))
    assert first["train"].id != other["train"].id  # another parent, but the same rows
    for split in ("train", "heldout"):
        (one, _), (two, _) = rows_of(tmp_path / "a" / split), rows_of(tmp_path / "b" / split)
        assert all(np.array_equal(one[name], two[name]) for name in one)


def test_without_heldout_there_is_no_such_directory(settings, tmp_path):
    assert list(examples(settings(tmp_path / "out", heldout_fraction=0.0))) == ["train"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["tokenizer", "train"]


@pytest.mark.parametrize(
    "change",
    [
        {"max_seq_length": 40},
        {"max_predictions_per_seq": 5},
        {"short_seq_prob": 0.2},
        {"masked_lm_prob": 0.2},
        {"dupe_factor": 3},
        {"seed": 1},
        {"heldout_fraction": 0.25},
        {"num_shards": 2},
    ],
)
def test_output_of_other_settings_is_refused_naming_them(settings, tmp_path, change):
    first = examples(settings(tmp_path / "a", dupe_factor=1))
    with pytest.raises(UsageError, match="holds another run's output: .*" + next(iter(change))):
        examples(settings(tmp_path / "a", **{"dupe_factor": 1, **change}))
    again = examples(settings(tmp_path / "a", dupe_factor=1))
    assert {s: m.id for s, m in again.items()} == {s: m.id for s, m in first.items()}


def test_another_vocabulary_or_case_is_refused(settings, vocab, tmp_path):
    examples(settings(tmp_path / "a", dupe_factor=1))
    with pytest.raises(UsageError, match="tokenizer_config.json: belongs to another tokenizer"):
        examples(settings(tmp_path / "a", dupe_factor=1, lower_case="no"))
    vocab.write_text(vocab.read_text() + "zzz\n")
    with pytest.raises(UsageError, match="vocab.txt: belongs to another tokenizer"):
        examples(settings(tmp_path / "a", dupe_factor=1))


def test_one_lost_split_is_made_again_and_the_other_is_left(settings, tmp_path, tree):
    examples(settings(tmp_path / "a"))
    expected = tree(tmp_path / "a")
    shutil.rmtree(tmp_path / "a" / "heldout")
    before = (tmp_path / "a" / "train" / "manifest.json").stat().st_mtime_ns
    examples(settings(tmp_path / "a"))
    assert tree(tmp_path / "a") == expected
    assert (tmp_path / "a" / "train" / "manifest.json").stat().st_mtime_ns == before


def test_document_that_tokenises_to_nothing_is_counted(settings, documents, tmp_path, vocab):
    # Without a [UNK] for it, a document of control characters has no tokens at all.
    from limbeck.records.documents import document_row, documents_layout
    from limbeck.records.keys import make_key
    from limbeck.records.writer import DatasetWriter

    writer = DatasetWriter(
        str(tmp_path / "odd"),
        name="documents",
        kind="documents",
        layout=documents_layout(),
        num_shards=1,
        settings={},
    )
    writer.open()
    writer.write_shard(
        0,
        [
            document_row(key=make_key(corpus="t", page=n), title="", sentences=sentences)
            for n, sentences in enumerate([["\x01\x02"], ["One here."], ["Two there.", "\x01"]])
        ],
    )
    writer.finish()
    manifests = examples(
        settings(tmp_path / "out", documents=str(tmp_path / "odd"), heldout_fraction=0.0)
    )
    assert manifests["train"].content.accounting == {
        "in": 3,
        "kept": 2,
        "filtered": {"no_tokens": 1},
        "dead_letters": 0,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heldout_fraction": 0.0001}, "0 of 12 documents fall into the heldout split"),
        ({"heldout_fraction": 0.9999}, "0 of 12 documents fall into the train split"),
        ({"heldout_fraction": 1.0}, "heldout_fraction is 1.0; it must be from 0 to below 1"),
        ({"heldout_fraction": -0.1}, "heldout_fraction is -0.1"),
        ({"max_seq_length": 4}, "max_seq_length is 4"),
        ({"num_shards": 0}, "num_shards is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"documents": "/no/such"}, "/no/such: no such directory"),
        ({"vocab": "/no/such"}, "/no/such: No such file"),
    ],
)
def test_impossible_options_are_refused(settings, tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        examples(settings(tmp_path / "out", **change))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_damaged_documents_are_one_error_that_names_the_file(
    settings, documents, tmp_path, workers
):
    shard = documents / "documents-00001-of-00003.tfrecord"
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(bytes(data))
    with pytest.raises(LimbeckError) as error:
        examples(settings(tmp_path / "out", workers=workers))
    assert str(shard) in str(error.value) and "while running" not in str(error.value)
    assert not (tmp_path / "out" / "train" / "manifest.json").exists()


def test_output_inside_a_dataset_is_refused(settings, documents, tree):
    before = tree(documents)
    with pytest.raises(UsageError, match="documents: is a dataset itself"):
        examples(settings(documents))
    assert tree(documents) == before


def test_settings_are_those_of_preparation(settings, tmp_path):
    from prep.kinds.settings import ExampleSettings

    ours = {field.name: field.default for field in dataclasses.fields(ExamplesSettings)}
    for field in dataclasses.fields(ExampleSettings):
        assert ours[field.name] == field.default
