"""What import says about bad records and files, and the command about anything bad."""

import functools
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.interop import import_records
from limbeck.records import open_dataset
from tests.conftest import run_inside
from tests.limbeck.interop.tf_records import (
    V,
    import_settings,
    make_records,
    mutated,
    write_with_tensorflow,
)

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


def interop(*argv: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "limbeck.interop", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def inside(*argv: object) -> subprocess.CompletedProcess[str]:
    start = functools.partial(runpy.run_module, "limbeck.interop", run_name="__main__")
    return run_inside(start, "limbeck.interop", *argv)


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
    done = inside("import", tmp_path / "none", *bert)
    assert done.returncode == 2
    expected = f"limbeck.interop import: error: {tmp_path}/none: No such file or directory\n"
    assert done.stderr == expected
    done = inside("import", labelled_file, *bert)
    assert done.returncode == 2
    assert "use --schema first-seed" in done.stderr
    bad = mutated(make_records(3, labelled=False), 2, next_sentence_labels=[7])
    done = inside("import", write_with_tensorflow(tmp_path / "bad", bad), *bert)
    assert done.returncode == 1
    assert "record 2: next_sentence_labels is neither 0 nor 1" in done.stderr
    assert done.stderr.count("\n") == 1
    assert inside("import", labelled_file, "--schema", "bert", "--out", "x").returncode == 2
    assert inside("export", "--schema", "first-seed").returncode == 2
