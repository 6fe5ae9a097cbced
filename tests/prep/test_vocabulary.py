import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from limbeck.config.errors import LimbeckError, UsageError
from prep.vocabulary import VocabularySettings, train_vocabulary, training_lines

GOLDEN = Path(__file__).parent / "sentences"
LINES = [
    line for path in sorted(GOLDEN.glob("*.txt")) for line in path.read_text("utf-8").split("\n")
]
KINDS = ("wordpiece", "unigram", "bpe", "byte-bpe")


def train(kind, directory, *, vocab_size=800, lines=LINES, **options):
    if kind != "byte-bpe":
        options = {"character_coverage": 0.98, **options}
    options = {"lower_case": kind != "byte-bpe", **options}
    settings = VocabularySettings(kind=kind, vocab_size=vocab_size, **options)
    return train_vocabulary(lines, settings=settings, directory=str(directory))


@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary_has_the_size_and_reads_its_text(kind, tmp_path):
    tokenizer = train(kind, tmp_path)
    assert tokenizer.vocab_size == 800
    rows = tokenizer.encode(LINES)
    unknown = sum(row.count(tokenizer.special.unk) for row in rows)
    assert unknown <= 0.05 * sum(map(len, rows))
    if kind == "byte-bpe":
        assert unknown == 0
        assert [tokenizer.decode(row) for row in rows] == LINES


PROGRAM = """
import hashlib, sys, tempfile
sys.path[:0] = [{root!r}]
from pathlib import Path
from prep.vocabulary import VocabularySettings, train_vocabulary
files = sorted(Path({golden!r}).glob("*.txt"))
lines = [line for path in files for line in path.read_text("utf-8").split("\\n")]
for kind in {kinds!r}:
    options = {{}} if kind == "byte-bpe" else {{"character_coverage": 0.98}}
    settings = VocabularySettings(
        kind=kind, vocab_size=800, lower_case=kind != "byte-bpe", **options
    )
    with tempfile.TemporaryDirectory() as directory:
        files = train_vocabulary(lines, settings=settings, directory=directory).files()
    print(kind, hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())
"""


def test_same_bytes_in_every_process(tmp_path):
    root = str(Path(__file__).parents[2])
    program = PROGRAM.format(root=root, golden=str(GOLDEN), kinds=KINDS)
    outputs = set()
    for seed in ("0", "1", "7"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": seed or "1"}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
    expected = [
        hashlib.sha256(repr(sorted(train(kind, tmp_path).files().items())).encode()).hexdigest()
        for kind in KINDS
    ]
    assert outputs.pop().decode().split()[1::2] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_too_large_a_vocabulary_is_one_clear_error(kind, tmp_path):
    with pytest.raises(LimbeckError, match="vocab_size is 50000, .*--vocab-size"):
        train(kind, tmp_path, vocab_size=50_000)


def test_too_small_a_vocabulary_is_one_clear_error(tmp_path):
    with pytest.raises(LimbeckError, match="vocab_size is 100, .*characters to cover take"):
        train("wordpiece", tmp_path, vocab_size=100)
    with pytest.raises(LimbeckError, match="vocab_size is 100"):
        train("unigram", tmp_path, vocab_size=100)
    with pytest.raises(LimbeckError, match="vocab_size is 100"):
        train("byte-bpe", tmp_path, vocab_size=100)


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_one_clear_error(kind, tmp_path):
    with pytest.raises(LimbeckError, match="no text to train a vocabulary on"):
        train(kind, tmp_path, lines=["", ""])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 3}, "vocab_size is 3"),
        ({"character_coverage": 0.5}, "character_coverage is 0.5; it must be from 0.98"),
        ({"min_frequency": 0}, "min_frequency is 0"),
        ({"kind": "bpe", "min_frequency": 3}, "min_frequency has no effect on kind bpe"),
        (
            {"kind": "byte-bpe", "lower_case": False, "character_coverage": 1.0},
            "character_coverage has no effect on kind byte-bpe",
        ),
        ({"kind": "byte-bpe"}, "byte-bpe keeps the case of the text; say --no-lower-case"),
    ],
)
def test_bad_setting_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        VocabularySettings(**options)


@pytest.mark.parametrize(
    ("sentence", "lines"),
    [
        ("", []),
        (" \n", []),
        (" one\ntwo\u2585three ", ["one two three"]),
        ("x" * 5000, ["x" * 4096, "x" * 904]),
    ],
)
def test_lines_for_training(sentence, lines):
    assert training_lines(sentence) == lines


def test_longest_lines_are_not_left_out(tmp_path):
    text = "\U00020000\U00020001\U00020002" * 1365  # 4 bytes each: the trainer counts bytes
    tokenizer = train("bpe", tmp_path, lines=[*LINES, *training_lines(text)])
    assert tokenizer.special.unk not in tokenizer.encode(["\U00020000\U00020001"])[0]
