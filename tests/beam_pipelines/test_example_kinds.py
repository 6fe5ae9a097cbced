"""Every kind of examples through its pipeline: bytes, accounts, and independence of the workers."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from beam_pipelines.examples import ExamplesSettings, examples
from limbeck.config.errors import UsageError
from limbeck.records.dataset import open_dataset
from limbeck.records.examples import check_examples
from limbeck.records.keys import split_key
from limbeck.tokens import load_tokenizer
from prep.counts import write_counts

KINDS = {
    "pairs-whole-word": {"kind": "pairs", "masking": "whole-word"},
    "pairs-interleaved": {"kind": "pairs", "interleaved": True, "dupe_factor": 8},
    "mlm": {"kind": "mlm"},
    "mlm-within": {"kind": "mlm", "within_documents": True, "masking": "ngram"},
    "mlm-span": {"kind": "mlm", "masking": "span"},
    "mlm-weighted": {"kind": "mlm", "masking": "weighted"},
    "unmasked-pairs": {"kind": "unmasked-pairs"},
    "unmasked-next": {"kind": "unmasked-pairs", "second_segment": "next"},
    "unmasked-single": {"kind": "unmasked-pairs", "second_segment": "none", "dupe_factor": 10},
    "clm": {"kind": "clm"},
    "clm-full": {"kind": "clm", "drop_tails": True},
    "lines": {"kind": "lines"},
    "lines-plain": {"kind": "lines", "masking": "none", "dupe_factor": 10},
}
UNMASKED = ("unmasked", "clm", "lines-plain")


def write_byte_bpe(folder, *, special, config):
    """Writes a byte-level BPE of letters, two merges and special tokens."""
    folder.mkdir()
    letters = [chr(n) for n in range(33, 127)] + ["\u0120", "\u010a"]  # space and line feed
    tokens = [*special, *letters, "\u0120t", "\u0120th"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n\u0120 t\n\u0120t h\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def gpt2(tmp_path):
    config = {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"}
    config |= {"bos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    return write_byte_bpe(tmp_path / "gpt2", special=["<|endoftext|>"], config=config)


@pytest.fixture
def roberta(tmp_path):
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    config = {"tokenizer_class": "RobertaTokenizer", "bos_token": "<s>", "eos_token": "</s>"}
    config |= {"cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>"}
    config |= {"pad_token": "<pad>", "unk_token": "<unk>"}
    return write_byte_bpe(tmp_path / "roberta", special=special, config=config)


@pytest.fixture
def settings(documents, vocab, gpt2, tmp_path):
    counts = tmp_path / "counts.json"
    tokenizer = load_tokenizer(vocab)
    numbers = np.arange(tokenizer.vocab_size, dtype=np.int64) ** 2
    write_counts(counts, numbers, tokenizer=tokenizer.info(), source={})

    def settings(out, name, **options):
        given = {"dupe_factor": 2, "heldout_fraction": 0.3, **KINDS[name], **options}
        if name.startswith("clm"):
            given["dupe_factor"] = 10  # of no effect: left alone
        if not name.startswith(UNMASKED):
            given |= {"max_predictions_per_seq": 6}
        if given.get("masking") == "weighted":
            given |= {"token_counts": str(counts)}
        return ExamplesSettings(
            out=str(out),
            documents=str(documents),
            vocab=str(gpt2 if name.startswith("clm") else vocab),
            max_seq_length=48,
            num_shards=2,
            **given,
        )

    return settings


def read(directory):
    with open_dataset(directory, kind="examples") as dataset:
        return dataset.read(np.arange(dataset.num_rows))


# First digits of the SHA-256 of the shards' SHA-256, train and then held-out.
GOLDEN = {
    "pairs-whole-word": "19bd96447a858934",
    "pairs-interleaved": "e6817a5c51459fea",
    "mlm": "4c6c0dcfb15aac51",
    "mlm-within": "1c9495d9a5380c13",
    "mlm-span": "d4e89527b8155b32",
    "mlm-weighted": "c5c0728e5fa99353",
    "unmasked-pairs": "fbac4e62065fa314",
    "unmasked-next": "8de01e8cf4ad9746",
    "unmasked-single": "6958e49f28dbcc3d",
    "clm": "8cc3496106129688",
    "clm-full": "7ce7c1f8647a723d",
    "lines": "7194eecd044925fb",
    "lines-plain": "c73b07d7261d9860",
}


@pytest.mark.parametrize("name", KINDS)
def test_golden_shards_freeze_the_bytes_of_every_kind(settings, tmp_path, name):
    manifests = examples(settings(tmp_path / "out", name))
    shards = [s.sha256 for m in manifests.values() for s in m.content.shards]
    for split, manifest in manifests.items():
        rows = read(tmp_path / "out" / split)
        size = manifest.content.tokenizer["vocab_size"]
        check_examples(rows, vocab_size=size)
        assert manifest.content.settings["example_kind"] == KINDS[name]["kind"]
        assert manifest.content.totals["tokens"] == rows["num_tokens"].sum()
        account = manifest.content.accounting
        assert account["in"] == 12 and account["dead_letters"] == 0
        assert ("mask_positions" in rows) != name.startswith(UNMASKED)
    assert hashlib.sha256(" ".join(shards).encode()).hexdigest()[:16] == GOLDEN[name]


@pytest.mark.parametrize("name", ["mlm", pytest.param("clm-full", marks=pytest.mark.slow)])
def test_rows_across_documents_do_not_depend_on_the_workers(settings, tmp_path, tree, name):
    examples(settings(tmp_path / "a", name))
    expected = tree(tmp_path / "a")
    examples(settings(tmp_path / "b", name, workers=2))
    examples(settings(tmp_path / "c", name), bundle_repeat=2)
    assert tree(tmp_path / "b") == tree(tmp_path / "c") == expected


def test_rows_of_a_page_within_documents_depend_on_the_page_alone(
    settings, documents, write_documents, tmp_path
):
    name = "mlm-within"
    examples(settings(tmp_path / "a", name, heldout_fraction=0.0))
    write_documents(tmp_path / "fewer", num_documents=5)
    how = settings(tmp_path / "b", name, heldout_fraction=0.0)
    examples(dataclasses.replace(how, documents=str(tmp_path / "fewer")))
    whole, part = read(tmp_path / "a" / "train"), read(tmp_path / "b" / "train")
    keep = np.array([split_key(key).page < 5 for key in whole["key"]])
    assert keep.sum() == len(part["key"])
    assert all(np.array_equal(whole[field][keep], part[field]) for field in whole)


@pytest.mark.parametrize("name", ["mlm", "clm", "unmasked-single"])
def test_every_token_of_a_split_is_in_its_rows_exactly_once(settings, documents, tmp_path, name):
    out = tmp_path / "out"
    manifests = examples(settings(out, name, heldout_fraction=0.0))
    tokenizer = load_tokenizer(out / "tokenizer")
    rows = read(out / "train")
    first = np.array([split_key(key).duplicate == 0 for key in rows["key"]])
    found = []
    for row in np.flatnonzero(first):
        ids = rows["ids"][row].astype(int)
        if "num_masked" in rows:
            count = rows["num_masked"][row]
            ids[rows["mask_positions"][row][:count]] = rows["mask_ids"][row][:count]
        found += ids[: rows["num_tokens"][row]].tolist()
    expected = []
    with open_dataset(documents, kind="documents") as dataset:
        for record in dataset.iterate():
            texts = record["sentences"]
            if name == "clm":
                texts = [" ".join(texts)]
                expected.append(tokenizer.special.eos)
            expected += [token for tokens in tokenizer.encode(texts) for token in tokens]
    special = {tokenizer.special.cls, tokenizer.special.sep} if name != "clm" else set()
    assert sorted(t for t in found if t not in special) == sorted(expected)
    assert manifests["train"].content.accounting["kept"] == 12


def test_weights_without_counts_and_counts_without_weights_are_refused(settings, tmp_path):
    weighted = settings(tmp_path / "a", "mlm-weighted")
    with pytest.raises(UsageError, match="--masking weighted needs --token-counts FILE"):
        examples(dataclasses.replace(weighted, token_counts=""))
    with pytest.raises(UsageError, match="--token-counts has no effect with --kind mlm"):
        examples(dataclasses.replace(weighted, masking="token"))
    with pytest.raises(UsageError, match="counts of tokenizer"):
        examples(dataclasses.replace(weighted, lower_case="no"))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mlm", {"vocab": "gpt2"}, "--kind mlm needs a tokenizer with a mask token"),
        ("pairs-whole-word", {"vocab": "gpt2"}, "--kind pairs needs a tokenizer with a mask token"),
        ("clm", {"vocab": "vocab.txt"}, "--kind clm needs a tokenizer with an end-of-text token"),
        ("clm", {"masking": "span"}, "--masking has no effect with --kind clm"),
        ("mlm", {"short_seq_prob": 0.5}, "--short-seq-prob has no effect with --kind mlm"),
        ("mlm", {"heldout_fraction": 0.0001}, "0 of 12 documents fall into the heldout split"),
    ],
)
def test_what_cannot_be_made_is_refused_before_work(settings, tmp_path, name, options, message):
    if "vocab" in options:
        options = {"vocab": str(tmp_path / options["vocab"])}
    with pytest.raises(UsageError, match=message):
        examples(dataclasses.replace(settings(tmp_path / "a", name), **options))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("name", "note"), [("clm-full", "dropped_tokens"), ("lines", "truncated_tokens")]
)
def test_tokens_that_are_left_out_are_told_in_the_manifest(settings, tmp_path, name, note):
    manifests = examples(settings(tmp_path / "out", name, heldout_fraction=0.0))
    assert manifests["train"].content.accounting["notes"][note] > 0


def true_tokens(rows, row):
    ids = rows["ids"][row].astype(int)
    count = rows["num_masked"][row]
    ids[rows["mask_positions"][row][:count]] = rows["mask_ids"][row][:count]
    return ids[: rows["num_tokens"][row]].tolist()


def test_roberta_rows_read_as_the_text_does_spaces_and_all(settings, documents, roberta, tmp_path):
    out = tmp_path / "out"
    how = settings(out, "mlm-within", heldout_fraction=0.0, dupe_factor=1)
    examples(dataclasses.replace(how, vocab=str(roberta)))
    tokenizer = load_tokenizer(out / "tokenizer")
    rows = read(out / "train")
    assert (rows["segment_split"] == rows["num_tokens"]).all()
    texts = {}
    for row in np.argsort([split_key(key).sequence for key in rows["key"]], kind="stable"):
        ids = true_tokens(rows, row)
        assert (ids[0], ids[-1]) == (tokenizer.special.cls, tokenizer.special.sep)
        page = split_key(rows["key"][row]).page
        pieces = "".join(tokenizer.token(n) for n in ids[1:-1])
        texts[page] = texts.get(page, "") + pieces.replace("\u0120", " ")
    with open_dataset(documents, kind="documents") as dataset:
        expected = {
            split_key(record["key"]).page: " ".join(record["sentences"])
            for record in dataset.iterate()
        }
    assert texts == expected


def test_roberta_pairs_have_two_separators_and_one_segment(settings, roberta, tmp_path):
    out = tmp_path / "out"
    how = settings(out, "pairs-whole-word", heldout_fraction=0.0, dupe_factor=1)
    examples(dataclasses.replace(how, vocab=str(roberta)))
    rows = read(out / "train")
    assert (rows["segment_split"] == rows["num_tokens"]).all()
    for row in range(len(rows["key"])):
        ids = true_tokens(rows, row)
        assert ids[0] == 0 and ids[-1] == 2 and ids.count(2) == 3
        assert ids[ids.index(2) + 1] == 2
