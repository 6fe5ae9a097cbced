import json
import os

import pytest

from beam_pipelines.vocabulary import VocabularyCommand, vocabulary
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.tokens import load_tokenizer

SIZES = {"wordpiece": 200, "unigram": 150, "bpe": 200, "byte-bpe": 400}


def settings(documents, out, kind="wordpiece", **options):
    options = {"vocab_size": SIZES[kind], "lower_case": kind != "byte-bpe", **options}
    return VocabularyCommand(documents=str(documents), out=str(out), kind=kind, **options)


@pytest.mark.parametrize("kind", SIZES)
def test_trained_folder_is_a_tokenizer_of_that_size(documents, tmp_path, kind):
    made = vocabulary(settings(documents, tmp_path / "out", kind))
    tokenizer = load_tokenizer(tmp_path / "out", expected_size=SIZES[kind])
    assert made["tokenizer"] == tokenizer.info()
    assert made["sample"]["documents"] == 12 and made["sample"]["lines"] > 30
    assert json.loads((tmp_path / "out" / "vocabulary.json").read_text()) == made
    assert os.listdir(tmp_path / "out").count("work") == 0
    assert not [name for name in os.listdir(tmp_path) if "tmp" in name]


@pytest.mark.parametrize("kind", ["wordpiece", "unigram"])
def test_bytes_do_not_depend_on_the_workers(documents, tmp_path, tree, kind):
    vocabulary(settings(documents, tmp_path / "one", kind))
    vocabulary(settings(documents, tmp_path / "two", kind, workers=2))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_bytes_do_not_depend_on_how_the_documents_are_sharded(write_documents, tmp_path, tree):
    for shards in (1, 4):
        write_documents(tmp_path / f"d{shards}", num_documents=40, num_shards=shards)
        vocabulary(settings(tmp_path / f"d{shards}", tmp_path / f"v{shards}"))
    one, four = tree(tmp_path / "v1"), tree(tmp_path / "v4")
    assert {**one, "vocabulary.json": b""} == {**four, "vocabulary.json": b""}


def test_sample_depends_on_the_seed_and_is_about_as_large_as_asked(write_documents, tmp_path):
    write_documents(tmp_path / "documents", num_documents=600)
    samples = set()
    for seed in (1, 2):
        made = vocabulary(
            settings(
                tmp_path / "documents",
                tmp_path / str(seed),
                sample_megabytes=0.1,
                seed=seed,
                vocab_size=150,
            )
        )
        assert 0.04e6 < made["sample"]["bytes"] < 0.12e6
        samples.add(made["sample"]["documents"])
    assert len(samples) == 2


def test_second_run_does_nothing_and_another_one_is_refused(documents, tmp_path):
    out = tmp_path / "out"
    first = vocabulary(settings(documents, out))
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert vocabulary(settings(documents, out, workers=2)) == first
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == times
    with pytest.raises(UsageError, match="vocab_size 200 there, 210 asked for; choose another"):
        vocabulary(settings(documents, out, vocab_size=210))
    (out / "vocab.txt").write_text((out / "vocab.txt").read_text().replace("##e\n", "##eee\n"))
    with pytest.raises(LimbeckError, match="was changed since"):
        vocabulary(settings(documents, out))


def test_folder_with_anything_else_is_refused_and_kept(documents, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("x")
    with pytest.raises(UsageError, match=r"out: holds mine\.txt, which is not of this command"):
        vocabulary(settings(documents, out))
    assert os.listdir(out) == ["mine.txt"]


def test_failure_leaves_nothing_and_leftovers_of_a_killed_run_are_removed(documents, tmp_path):
    leftover = tmp_path / "out.tmp-1-0123abcd"
    leftover.mkdir()
    with pytest.raises(LimbeckError, match="vocab_size is 60000, but the sample gives"):
        vocabulary(settings(documents, tmp_path / "out", vocab_size=60_000))
    assert sorted(os.listdir(tmp_path)) == ["documents"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_megabytes": 0}, "sample_megabytes is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"vocab_size": 1}, "vocab_size is 1"),
        ({"documents": "nowhere"}, "nowhere"),
    ],
)
def test_bad_option_is_refused_before_anything_is_made(documents, tmp_path, options, message):
    arguments = {"documents": documents, "out": tmp_path / "out", **options}
    with pytest.raises(UsageError, match=message):
        vocabulary(settings(**arguments))
    assert not (tmp_path / "out").exists()


def test_command_says_what_it_made(documents, tmp_path, run):
    out = tmp_path / "out"
    done = run(
        "beam_pipelines.vocabulary",
        *("--documents", documents, "--out", out, "--kind", "byte-bpe", "--vocab-size", 400),
        "--no-lower-case",
    )
    assert (done.code, done.err) == (0, "")
    assert f"{out}: 400 tokens (byte-bpe) from 0.0 MB" in done.out
    refused = run("beam_pipelines.vocabulary", "--documents", documents, "--out", out)
    assert refused.code == 2 and "made of other input" in refused.err
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize("kind", ["wordpiece", "unigram", "byte-bpe"])
def test_trained_folder_serves_examples_at_once(documents, tmp_path, kind):
    from beam_pipelines.examples import ExamplesSettings, examples

    vocabulary(settings(documents, tmp_path / "vocab", kind))
    manifests = examples(
        ExamplesSettings(
            documents=str(documents),
            vocab=str(tmp_path / "vocab"),
            out=str(tmp_path / "out"),
            heldout_fraction=0,
            dupe_factor=1,
        )
    )
    assert manifests["train"].content.tokenizer == load_tokenizer(tmp_path / "vocab").info()
