"""Import and export against TensorFlow's own records, and what the command says about bad ones."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.interop import ExportSettings, ImportSettings, export_records, import_records
from limbeck.labels.family import read_fitted
from limbeck.labels.sparse import decode, target
from limbeck.records import check_rows_match, open_dataset, split_key
from limbeck.records.tfrecord import read_frames

S, P, K, V = 16, 4, 3, 90  # sequence, slots, kept ids, vocabulary

Record = dict[str, np.ndarray]


def make_record(rng: np.random.Generator, *, labelled: bool) -> Record:
    """One record as the first seed writes it: sorted masks, teacher rows also for padding slots."""
    tokens, masked = int(rng.integers(3, S + 1)), int(rng.integers(0, P))
    split = int(rng.integers(1, tokens + 1))
    slot = np.arange(S)
    positions = np.sort(rng.choice(tokens, size=min(masked, tokens), replace=False))
    real = (np.arange(P) < len(positions)).astype(np.float32)
    padded = np.zeros(P, np.int64)
    padded[: len(positions)] = positions
    record = {
        "input_ids": np.where(slot < tokens, rng.integers(1, V, S), 0),
        "input_mask": (slot < tokens).astype(np.int64),
        "segment_ids": ((slot >= split) & (slot < tokens)).astype(np.int64),
        "masked_lm_positions": padded,
        "masked_lm_ids": np.where(real > 0, rng.integers(1, V, P), 0),
        "masked_lm_weights": real,
        "next_sentence_labels": rng.integers(0, 2, 1),
    }
    if labelled:
        logits = rng.normal(size=(P, V)) * 3
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        top = np.argsort(-p, axis=1)[:, :K]
        top = rng.permuted(top, axis=1)  # `sorted=False`
        record["top_k_indices"] = top.reshape(-1)
        record["truncated_masked_lm_probs"] = (
            np.take_along_axis(p, top, axis=1).reshape(-1).astype(np.float32)
        )
    return record


def make_records(count: int, *, labelled: bool, seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    return [make_record(rng, labelled=labelled) for _ in range(count)]


def write_with_tensorflow(path: Path, records: Iterable[Record]) -> Path:
    import tensorflow as tf

    def feature(values: np.ndarray) -> Any:
        if values.dtype == np.float32:
            return tf.train.Feature(float_list=tf.train.FloatList(value=values.tolist()))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values.tolist()))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            features = tf.train.Features(feature={n: feature(v) for n, v in record.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())
    return path


def read_with_tensorflow(path: Path, *, labelled: bool) -> list[Record]:
    """As the systems that the records are for read them: fixed lengths, nothing optional."""
    import tensorflow as tf

    spec = {
        "input_ids": tf.io.FixedLenFeature([S], tf.int64),
        "input_mask": tf.io.FixedLenFeature([S], tf.int64),
        "segment_ids": tf.io.FixedLenFeature([S], tf.int64),
        "masked_lm_positions": tf.io.FixedLenFeature([P], tf.int64),
        "masked_lm_ids": tf.io.FixedLenFeature([P], tf.int64),
        "masked_lm_weights": tf.io.FixedLenFeature([P], tf.float32),
        "next_sentence_labels": tf.io.FixedLenFeature([1], tf.int64),
    }
    if labelled:
        spec["truncated_masked_lm_probs"] = tf.io.FixedLenFeature([P * K], tf.float32)
        spec["top_k_indices"] = tf.io.FixedLenFeature([P * K], tf.int64)
    return [
        {n: v.numpy() for n, v in tf.io.parse_single_example(raw, spec).items()}
        for raw in tf.data.TFRecordDataset(str(path))
    ]


def import_settings(files: list[Path], out: Path, schema: str, **options: Any) -> ImportSettings:
    return ImportSettings(
        files=tuple(map(str, files)),
        schema=schema,  # type: ignore[arg-type]
        out=str(out),
        **{"vocab_size": V, **options},
    )


@pytest.fixture(scope="module")
def bert_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pre-training records, written by TensorFlow."""
    path = tmp_path_factory.mktemp("bert") / "bert.tfrecord"
    return write_with_tensorflow(path, make_records(40, labelled=False))


@pytest.fixture(scope="module")
def labelled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty labelled records, written by TensorFlow."""
    path = tmp_path_factory.mktemp("labelled") / "labelled.tfrecord"
    return write_with_tensorflow(path, make_records(40, labelled=True))


def test_bert_records_come_back_as_tensorflow_wrote_them(tmp_path: Path, bert_file: Path) -> None:
    manifest = import_records(import_settings([bert_file], tmp_path, "bert", shards=3))["examples"]
    assert manifest.content.totals["records"] == 40
    out = tmp_path / "back.tfrecord"
    settings = ExportSettings(schema="bert", examples=str(tmp_path / "examples"), out=str(out))
    assert export_records(settings) == 40
    back = read_with_tensorflow(out, labelled=False)
    for ours, theirs in zip(back, read_with_tensorflow(bert_file, labelled=False), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert np.array_equal(ours[name], theirs[name]), name


def test_keys_are_file_and_record_number(tmp_path: Path, bert_file: Path) -> None:
    import_records(import_settings([bert_file], tmp_path, "bert", shards=2))
    with open_dataset(tmp_path / "examples") as dataset:
        keys = [split_key(key) for key in dataset.keys(np.arange(40))]
        sha256 = hashlib.sha256(bert_file.read_bytes()).hexdigest()
        corpus = hashlib.sha256(f"sha256:{sha256}".encode()).digest()[:4]
        assert {key.corpus_hash for key in keys} == {corpus}
        assert sorted(key.page for key in keys) == list(range(40))
        records = make_records(40, labelled=False)
        rows = dataset.read(np.arange(40))
        for row, key in enumerate(keys):
            assert rows["ids"][row].tolist() == records[key.page]["input_ids"].tolist()
        assert dataset.lengths().tolist() == rows["num_tokens"].tolist()
        totals = dataset.content.totals
        assert totals["labelled_positions"] == sum(r["masked_lm_weights"].sum() for r in records)


def test_labelled_records_become_a_family_and_come_back(
    tmp_path: Path, labelled_file: Path
) -> None:
    settings = import_settings(
        [labelled_file], tmp_path, "first-seed", teacher="bert-base", shards=2
    )
    made = import_records(settings)
    labels_dir, examples_dir = tmp_path / "labels" / "sparse", tmp_path / "examples"
    assert made["labels"].content.teacher["name"] == "bert-base"
    assert made["labels"].content.parents == {"examples": made["examples"].id}
    assert made["labels"].content.settings["signal"]["temperatures"] == [1.0]
    with open_dataset(examples_dir) as examples, open_dataset(labels_dir) as labels:
        check_rows_match(examples, labels)
        rows = labels.read(np.arange(40))
        keys = [split_key(key).page for key in rows["key"]]
        records = make_records(40, labelled=True)
        log_p = target(decode(read_fitted(labels), rows), temperature=1.0)
        for row, page in enumerate(keys):
            p = records[page]["truncated_masked_lm_probs"].reshape(P, K)
            for slot in range(rows["num_positions"][row]):
                tail = 1.0 - p[slot].astype(np.float64).sum()
                np.testing.assert_allclose(np.exp(log_p[row, slot, -1]), tail, rtol=1e-5)
                expected = np.sort(p[slot])[::-1]
                np.testing.assert_allclose(np.exp(log_p[row, slot, :-1]), expected, rtol=5e-3)
    out = tmp_path / "back.tfrecord"
    export_records(
        ExportSettings(
            schema="first-seed", examples=str(examples_dir), labels=str(labels_dir), out=str(out)
        )
    )
    _check_labelled(read_with_tensorflow(out, labelled=True), make_records(40, labelled=True))


def _check_labelled(back: list[Record], records: list[Record]) -> None:
    for ours, theirs in zip(back, records, strict=True):
        real = theirs["masked_lm_weights"] > 0
        for name in set(theirs) - {"truncated_masked_lm_probs", "top_k_indices"}:
            assert np.array_equal(ours[name], theirs[name]), name
        p = theirs["truncated_masked_lm_probs"].reshape(P, K)
        order = np.argsort(-p, axis=1, kind="stable")
        p = np.take_along_axis(p, order, axis=1)
        ids = np.take_along_axis(theirs["top_k_indices"].reshape(P, K), order, axis=1)
        our_p = ours["truncated_masked_lm_probs"].reshape(P, K)
        assert np.array_equal(ours["top_k_indices"].reshape(P, K)[real], ids[real])
        depth = np.log(p[:, :1] / p[:, -1:])  # the tolerance that limbeck.interop.first_seed states
        assert (np.abs(our_p / p - 1) <= depth / 1000 + 1e-6)[real].all()
        assert not our_p[~real].any()


def test_export_of_an_import_imports_to_the_same_rows(tmp_path: Path, bert_file: Path) -> None:
    import_records(import_settings([bert_file], tmp_path / "a", "bert"))
    for name in ("x", "y"):
        export_records(
            ExportSettings(
                schema="bert", examples=str(tmp_path / "a/examples"), out=str(tmp_path / name)
            )
        )
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    import_records(import_settings([tmp_path / "x"], tmp_path / "b", "bert"))
    for name in ("a", "b"):
        with open_dataset(tmp_path / name / "examples") as dataset:
            rows = dataset.read(np.arange(40))
            order = np.argsort([split_key(key).page for key in rows["key"]])
            values = {n: v[order] for n, v in rows.items() if n != "key"}
            if name == "a":
                expected = values
    for field, value in values.items():
        assert np.array_equal(value, expected[field]), field


def test_id_depends_on_bytes_not_on_names_order_or_passes(
    tmp_path: Path, bert_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_with_tensorflow(tmp_path / "other", make_records(7, labelled=False, seed=1))
    moved = tmp_path / "moved"
    moved.write_bytes(bert_file.read_bytes())
    one = import_records(import_settings([bert_file, other], tmp_path / "a", "bert", shards=60))
    monkeypatch.setattr("limbeck.interop.filling.PASS_BYTES", 1)  # a pass for every shard
    two = import_records(import_settings([other, moved], tmp_path / "b", "bert", shards=60))
    assert one["examples"].id == two["examples"].id
    assert min(shard.records for shard in one["examples"].content.shards) == 0


def test_killed_import_goes_on_and_a_finished_one_is_left_alone(
    tmp_path: Path, labelled_file: Path
) -> None:
    settings = import_settings([labelled_file], tmp_path, "first-seed", shards=3)
    made = import_records(settings)
    # As a kill in the middle of the second family leaves it.
    family = tmp_path / "labels" / "sparse"
    os.unlink(family / "manifest.json")
    for path in family.glob("sparse-00001-of-00003.*"):
        path.unlink()
    (family / "sparse-00001-of-00003.tfrecord.tmp-1-0123abcd").write_bytes(b"half")
    kept = (family / "sparse-00000-of-00003.tfrecord").stat().st_ino
    again = import_records(settings)
    assert {k: m.id for k, m in again.items()} == {k: m.id for k, m in made.items()}
    assert (family / "sparse-00000-of-00003.tfrecord").stat().st_ino == kept
    assert not list(family.glob("*.tmp-*"))


def test_another_import_into_the_same_directory_is_refused(
    tmp_path: Path, bert_file: Path, labelled_file: Path
) -> None:
    import_records(import_settings([bert_file], tmp_path, "bert"))
    with pytest.raises(UsageError, match="holds another run's output"):
        import_records(import_settings([labelled_file], tmp_path, "first-seed"))


def mutated(records: list[Record], index: int, **changes: Any) -> list[Record]:
    out = [dict(record) for record in records]
    for name, value in changes.items():
        if value is None:
            del out[index][name]
        else:
            out[index][name] = np.asarray(value)
    return out


BAD_RECORDS = [
    # In the first record: found before work. Later: an error of the data.
    (0, {"masked_lm_ids": None}, "lacks the feature 'masked_lm_ids'"),
    (0, {"top_k_indices": [1]}, "use --schema first-seed"),
    (0, {"masked_lm_ids": [1, 2, 3]}, "masked_lm_ids has 3 values; expected 4"),
    (3, {"input_ids": [1] * 15}, "input_ids has 15 values; expected 16"),
    (3, {"input_ids": np.ones(16, np.float32)}, "input_ids is a list of float32; expected int64"),
    (3, {"masked_lm_weights": [1, 1, 1, 1]}, "is a list of int64; expected float32"),
    (3, {"colour": [1]}, "has the feature 'colour', which schema bert does not"),
    (3, {"segment_ids": [0, 1, 0] + [0] * 13}, "segment_ids is not 0 ... 0 1 ... 1"),
    (3, {"next_sentence_labels": [5]}, "neither 0 nor 1"),
    (
        3,
        {"masked_lm_positions": [20, 0, 0, 0], "masked_lm_weights": np.float32([1, 0, 0, 0])},
        "a position outside the record's tokens",
    ),
]


@pytest.mark.parametrize(("index", "changes", "message"), BAD_RECORDS, ids=range(len(BAD_RECORDS)))
def test_bad_record_is_named(tmp_path: Path, index: int, changes: dict, message: str) -> None:
    records = mutated(make_records(6, labelled=False), index, **changes)
    path = write_with_tensorflow(tmp_path / "f.tfrecord", records)
    with pytest.raises(LimbeckError) as caught:
        import_records(import_settings([path], tmp_path / "out", "bert"))
    assert f"{path}: record {index}: " in str(caught.value)
    assert message in str(caught.value)
    assert isinstance(caught.value, UsageError) == (index == 0)
    assert not (tmp_path / "out" / "examples" / "manifest.json").exists()


def test_labels_of_another_length_are_refused(tmp_path: Path) -> None:
    records = make_records(2, labelled=True)
    for index, message in ((0, "no multiple of the 4 slots"), (1, "11 values; expected 12")):
        bad = mutated(
            records,
            index,
            top_k_indices=np.arange(11),
            truncated_masked_lm_probs=np.full(11, 0.01, np.float32),
        )
        path = write_with_tensorflow(tmp_path / f"f{index}", bad)
        with pytest.raises(LimbeckError, match=message):
            import_records(import_settings([path], tmp_path / f"out{index}", "first-seed"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-5], "ends inside a record|only .* more"),
        (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], "CRC"),
        (lambda data: b"not a record file at all", "not a TFRecord file"),
        (lambda data: b"", "has no records"),
    ],
)
def test_damaged_file_is_named_before_anything_is_written(
    tmp_path: Path, bert_file: Path, damage: Any, message: str
) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(damage(bert_file.read_bytes()))
    with pytest.raises(UsageError, match=f"{path}.*({message})"):
        import_records(import_settings([path], tmp_path / "out", "bert"))
    assert not (tmp_path / "out").exists()


def test_same_file_twice_and_no_file_are_refused(tmp_path: Path, bert_file: Path) -> None:
    with pytest.raises(UsageError, match="have the same bytes"):
        import_records(import_settings([bert_file, bert_file], tmp_path, "bert"))
    with pytest.raises(UsageError, match="no files"):
        import_records(import_settings([], tmp_path, "bert"))


def test_records_without_next_sentence_label_need_the_option(
    tmp_path: Path, bert_file: Path
) -> None:
    records = [
        {n: v for n, v in r.items() if n != "next_sentence_labels"}
        for r in make_records(3, labelled=False)
    ]
    path = write_with_tensorflow(tmp_path / "f", records)
    with pytest.raises(UsageError, match="lacks the feature 'next_sentence_labels'"):
        import_records(import_settings([path], tmp_path / "a", "bert"))
    with pytest.raises(UsageError, match="leave --no-next-sentence out"):
        settings = import_settings([bert_file], tmp_path / "a", "bert", next_sentence=False)
        import_records(settings)
    import_records(import_settings([path], tmp_path / "b", "bert", next_sentence=False))
    examples, out = str(tmp_path / "b" / "examples"), tmp_path / "back"
    with pytest.raises(LimbeckError, match="carries no next-sentence label"):
        export_records(ExportSettings(schema="bert", examples=examples, out=str(out)))
    assert not out.exists()
    export_records(
        ExportSettings(schema="bert", examples=examples, out=str(out), next_sentence=False)
    )
    assert len(list(read_frames(out))) == 3


def test_export_refuses_labels_of_other_examples_and_files_that_are_there(
    tmp_path: Path, labelled_file: Path
) -> None:
    other = write_with_tensorflow(tmp_path / "other", make_records(5, labelled=True, seed=2))
    import_records(import_settings([labelled_file], tmp_path / "a", "first-seed"))
    import_records(import_settings([other], tmp_path / "b", "first-seed"))
    settings = {"schema": "first-seed", "examples": str(tmp_path / "a/examples")}
    with pytest.raises(UsageError, match="does not go with"):
        labels = str(tmp_path / "b/labels/sparse")
        export_records(ExportSettings(**settings, labels=labels, out=str(tmp_path / "x")))
    with pytest.raises(UsageError, match="is there already"):
        labels = str(tmp_path / "a/labels/sparse")
        export_records(ExportSettings(**settings, labels=labels, out=str(other)))


def interop(*argv: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "limbeck.interop", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_command_imports_with_a_vocabulary_and_exports(tmp_path: Path, bert_file: Path) -> None:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join([*special, *(f"word{i}" for i in range(V - 5))]) + "\n")
    out = tmp_path / "out"
    done = interop("import", bert_file, "--schema", "bert", "--vocab", vocab, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("examples: 40 records, ")
    with open_dataset(out / "examples") as dataset:
        assert dataset.content.tokenizer["vocab_size"] == V
        assert dataset.content.accounting["kept"] == 40
    assert (out / "tokenizer" / "vocab.txt").read_bytes() == vocab.read_bytes()
    back = tmp_path / "back.tfrecord"
    done = interop("export", "--schema", "bert", "--examples", out / "examples", "--out", back)
    assert (done.returncode, done.stdout) == (0, f"{back}: 40 records of schema bert\n")


def test_command_fails_with_one_line_and_its_code(tmp_path: Path, labelled_file: Path) -> None:
    bert = ("--schema", "bert", "--vocab-size", V, "--out", tmp_path / "out")
    done = interop("import", tmp_path / "none", *bert)
    assert done.returncode == 2
    expected = f"limbeck.interop import: error: {tmp_path}/none: No such file or directory\n"
    assert done.stderr == expected
    done = interop("import", labelled_file, *bert)
    assert done.returncode == 2
    assert "use --schema first-seed" in done.stderr
    bad = mutated(make_records(3, labelled=False), 2, next_sentence_labels=[7])
    done = interop("import", write_with_tensorflow(tmp_path / "bad", bad), *bert)
    assert done.returncode == 1
    assert "record 2: next_sentence_labels is neither 0 nor 1" in done.stderr
    assert done.stderr.count("\n") == 1
    assert interop("import", labelled_file, "--schema", "bert", "--out", "x").returncode == 2
    assert interop("export", "--schema", "first-seed").returncode == 2
