"""Import and export against TensorFlow's own records."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.interop import ExportSettings, export_records, import_records
from limbeck.labels.family import read_fitted
from limbeck.labels.sparse import decode, target
from limbeck.records import check_rows_match, open_dataset, split_key
from limbeck.records.tfrecord import read_frames
from tests.limbeck.interop.tf_records import (
    K,
    P,
    Record,
    import_settings,
    make_records,
    read_with_tensorflow,
    write_with_tensorflow,
)


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
