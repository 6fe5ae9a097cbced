import json
import os
from pathlib import Path

import numpy as np
import pytest

from beam_pipelines.token_counts import TokenCountsSettings, token_counts
from limbeck.config.errors import UsageError
from limbeck.records.dataset import open_dataset
from limbeck.tokens import load_tokenizer
from limbeck.tokens.counts import read_counts


def settings(documents, vocab, out, **options):
    return TokenCountsSettings(documents=str(documents), vocab=str(vocab), out=str(out), **options)


def test_counts_are_exact_and_carry_the_tokenizer(documents, vocab, tmp_path):
    path = token_counts(settings(documents, vocab, tmp_path / "out"))
    tokenizer = load_tokenizer(vocab)
    expected = np.zeros(tokenizer.vocab_size, np.int64)
    with open_dataset(documents) as dataset:
        for record in dataset.iterate():
            for row in tokenizer.encode(record["sentences"]):
                for number in row:
                    expected[number] += 1
    counts = read_counts(path, fingerprint=tokenizer.fingerprint())
    assert counts.tolist() == expected.tolist() and counts.sum() > 500
    assert os.listdir(tmp_path / "out") == ["token_counts.json"]


def test_file_does_not_depend_on_the_workers(write_documents, vocab, tmp_path):
    write_documents(tmp_path / "documents", num_documents=600)
    files = [
        token_counts(settings(tmp_path / "documents", vocab, tmp_path / str(n), workers=n))
        for n in (1, 2)
    ]
    one, two = (Path(file).read_bytes() for file in files)
    assert one == two


def test_second_run_does_nothing_and_another_one_is_refused(
    documents, write_documents, vocab, tmp_path
):
    path = token_counts(settings(documents, vocab, tmp_path))
    written = os.stat(path).st_mtime_ns
    assert token_counts(settings(documents, vocab, tmp_path)) == path
    assert os.stat(path).st_mtime_ns == written
    with pytest.raises(UsageError, match="counts of another tokenizer"):
        token_counts(settings(documents, vocab, tmp_path, lower_case="no"))
    write_documents(tmp_path / "other", num_documents=3)
    with pytest.raises(UsageError, match="counts of another documents dataset"):
        token_counts(settings(tmp_path / "other", vocab, tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0"),
        ({"out": "s3://bucket/x"}, "written to a local directory"),
        ({"documents": "nowhere"}, "nowhere"),
    ],
)
def test_bad_option_is_refused(documents, vocab, tmp_path, options, message):
    arguments = {"documents": documents, "vocab": vocab, "out": tmp_path / "out", **options}
    with pytest.raises(UsageError, match=message):
        token_counts(settings(**arguments))
    assert not (tmp_path / "out").exists()


def test_command_says_what_it_counted(documents, vocab, tmp_path, run):
    out = tmp_path / "out"
    command = ("beam_pipelines.token_counts", "--documents", documents, "--vocab", vocab)
    done = run(*command, "--out", out)
    assert (done.code, done.err) == (0, "")
    total = json.loads((out / "token_counts.json").read_text())["total"]
    assert f"token_counts.json: {total:,} tokens of 12 documents; " in done.out
