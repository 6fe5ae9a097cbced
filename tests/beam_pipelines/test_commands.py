"""Every command as a user meets it: exit codes, one line an error, what is printed."""

import bz2
import contextlib
import fcntl
import json
import os
import re
import stat
import struct
import subprocess
import sys
import termios

import pytest

from limbeck import __version__

COMMANDS = (
    "wikipedia",
    "text",
    "examples",
    "tasks",
    "vocabulary",
    "token_counts",
    "audit",
    "labels",
)


def check_usage_error(done, module, message):
    assert (done.code, done.out) == (2, "")
    [line] = done.err.splitlines()
    assert line.startswith(f"{module}: error: ") and message in line


def test_wikipedia_prints_the_accounting_and_one_line(run, small_dump, tmp_path):
    done = run("beam_pipelines.wikipedia", "--dump", small_dump, "--out", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    *table, last = done.out.splitlines()
    assert [" ".join(line.split()) for line in table] == [
        "pages in 19",
        "= kept 12",
        "+ filtered: empty 1",
        "+ filtered: missing_text 1",
        "+ filtered: model 1",
        "+ filtered: namespace 2",
        "+ filtered: redirect 2",
        "+ dead letters 0",
    ]
    assert last.startswith(f"{tmp_path / 'out'}: 12 documents in 8 shards, ")
    again = run("beam_pipelines.wikipedia", "--dump", small_dump, "--out", tmp_path / "out")
    assert again.code == 0 and "(already complete)" in again.out


def test_two_workers_and_another_hash_seed_print_nothing_else_and_give_the_same_id(
    run, small_dump, tmp_path
):
    ids = []
    for number, (workers, seed) in enumerate([(1, "0"), (2, "12345")]):
        out = tmp_path / str(number)
        done = run(
            "beam_pipelines.wikipedia",
            *("--dump", small_dump, "--out", out, "--workers", workers),
            PYTHONHASHSEED=seed,
        )
        assert (done.code, done.err) == (0, "")
        ids.append(json.loads((out / "manifest.json").read_text())["id"])
    assert len(set(ids)) == 1


def test_examples_run_as_a_command(run, documents, vocab, tmp_path):
    arguments = (
        *("--documents", documents, "--vocab", vocab, "--out", tmp_path / "out"),
        *(
            "--heldout-fraction",
            0.3,
            "--dupe-factor",
            1,
            "--max-seq-length",
            48,
            "--lower-case",
            "no",
        ),
    )
    ids = []
    for seed in ("1", "2"):
        done = run("beam_pipelines.examples", *arguments, PYTHONHASHSEED=seed)
        assert (done.code, done.err) == (0, "")
        assert "documents in" in done.out and "/out/heldout: " in done.out
        ids.append(json.loads((tmp_path / "out/train/manifest.json").read_text())["id"])
    assert ids[0] == ids[1]
    config = json.loads((tmp_path / "out" / "tokenizer" / "tokenizer_config.json").read_text())
    assert config["do_lower_case"] is False


def test_text_takes_several_files(run, tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"Text of {name}. More.")
    files = ("--input", tmp_path / "a.txt", tmp_path / "b.txt")
    done = run("beam_pipelines.text", *files, "--corpus", "mine", "--out", tmp_path / "out")
    assert (done.code, done.err) == (0, "") and "2 documents in 8 shards" in done.out


def test_dead_letters_are_announced(run, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\nbad\n')
    done = run(
        "beam_pipelines.text",
        *("--input", tmp_path / "a.jsonl", "--format", "jsonl", "--corpus", "c"),
        *("--out", tmp_path / "out"),
    )
    assert done.code == 0
    assert f"1 dead letters are listed in {tmp_path / 'out'}.dead-letters.jsonl" in done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(inside, name):
    done = inside(f"beam_pipelines.{name}", "--help")
    assert (done.code, done.err) == (0, "") and f"beam_pipelines.{name}" in done.out


def test_version_is_that_of_the_package(run):
    done = run("beam_pipelines.text", "--version")
    assert (done.code, done.out) == (0, f"beam_pipelines.text (limbeck {__version__})\n")


def test_help_explains_every_option(inside):
    done = inside("beam_pipelines.examples", "--help")
    for option in ("--max-seq-length", "--dupe-factor", "--heldout-fraction", "--workers"):
        assert option in done.out
    assert "Share of the documents to hold out" in " ".join(done.out.replace("│", " ").split())


def test_package_itself_lists_its_verbs(run):
    done = run("beam_pipelines", "--help")
    assert done.code == 0 and all(name in done.out for name in COMMANDS)


CUT = "cut.xml.bz2"


@pytest.fixture
def bad_inputs(tmp_path, small_dump):
    """Files and directories of every wrong kind, by name."""
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "note.txt").write_text("This is no dump.\n")
    (tmp_path / "page.html").write_text("<html><body>Hi</body></html>")
    (tmp_path / "no-pages.xml").write_text("<mediawiki></mediawiki>")
    (tmp_path / "bomb.xml").write_text('<!DOCTYPE x [<!ENTITY a "aa">]><mediawiki>&a;</mediawiki>')
    (tmp_path / CUT).write_bytes(bz2.compress(small_dump.read_bytes())[:-300])
    (tmp_path / "directory").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "letter.doc").write_text("mine")
    return tmp_path


@pytest.mark.parametrize(
    ("dump", "message"),
    [
        ("nothing.xml", "nothing.xml: No such file or directory"),
        ("empty", "empty: the file is empty"),
        ("note.txt", "note.txt: not XML: syntax error at line 1"),
        ("page.html", "not a MediaWiki export: the root element is <html>"),
        ("no-pages.xml", "without a single page"),
        ("bomb.xml", "bomb.xml: line 1: has a DOCTYPE"),
        ("directory", "directory: is a directory; give files"),
        (CUT, "cut off: its compressed data ends in the middle"),
    ],
)
def test_unusable_dump_is_one_line_and_code_2(inside, bad_inputs, dump, message):
    out = bad_inputs / "out"
    done = inside("beam_pipelines.wikipedia", "--dump", bad_inputs / dump, "--out", out)
    check_usage_error(done, "beam_pipelines.wikipedia", message)
    assert not out.exists()


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("foreign", "holds files that are not this dataset's: letter.doc"),
        ("note.txt", "note.txt: is a file, not a directory"),
        ("note.txt/below", "Not a directory"),
    ],
)
def test_unusable_output_is_one_line_and_code_2(inside, bad_inputs, small_dump, out, message):
    done = inside("beam_pipelines.wikipedia", "--dump", small_dump, "--out", bad_inputs / out)
    check_usage_error(done, "beam_pipelines.wikipedia", message)


def test_output_of_another_config_is_one_line_and_code_2(run, inside, small_dump, tmp_path):
    arguments = ("--dump", small_dump, "--out", tmp_path / "out")
    assert run("beam_pipelines.wikipedia", *arguments).code == 0
    done = inside("beam_pipelines.wikipedia", *arguments, "--language", "de")
    check_usage_error(done, "beam_pipelines.wikipedia", "settings.language is en there and de here")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--documents", "nothing", "--vocab", "vocab.txt"), "nothing: no such directory"),
        (("--documents", "foreign", "--vocab", "vocab.txt"), "foreign: no manifest.json"),
        (("--documents", "documents", "--vocab", "note.txt"), "[PAD], [UNK], [CLS], [SEP], [MASK]"),
        (("--documents", "documents", "--vocab", "foreign"), "foreign: no tokenizer in it"),
    ],
)
def test_unusable_input_of_examples_is_one_line_and_code_2(
    inside, bad_inputs, documents, vocab, arguments, message
):
    # The fixtures have put documents/ and vocab.txt beside the bad inputs.
    paths = [a if a.startswith("--") else bad_inputs / a for a in arguments]
    done = inside("beam_pipelines.examples", *paths, "--out", bad_inputs / "out")
    check_usage_error(done, "beam_pipelines.examples", message)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--no-such-option", "1"),
        ("--dump", "x"),  # --out is missing
        ("--dump", "x", "--out", "y", "--workers", "two"),
    ],
)
def test_unknown_missing_and_mistyped_options_are_code_2(inside, arguments):
    done = inside("beam_pipelines.wikipedia", *arguments)
    assert (done.code, done.out) == (2, "") and "Traceback" not in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_place_is_one_line(run, small_dump, tmp_path):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(stat.S_IRUSR | stat.S_IXUSR)
    done = run("beam_pipelines.wikipedia", "--dump", small_dump, "--out", tmp_path / "locked/out")
    check_usage_error(done, "beam_pipelines.wikipedia", "Permission denied")


def run_on_a_terminal(module, *arguments):
    """Runs a command on a pseudo-terminal and returns everything that it shows."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal is closed at the end
            while data := os.read(ours, 4096):
                shown += data
        os.close(ours)
    assert process.returncode == 0
    return shown.decode()


@pytest.mark.slow  # test_progress.py has the bar itself
def test_progress_is_shown_on_a_terminal(run, real_dump, tmp_path):
    options = ("--dump", real_dump, "--out", tmp_path / "out")
    shown = run_on_a_terminal("beam_pipelines.wikipedia", *options)
    assert re.search(r" [1-9][0-9]*/[0-9]+ \[.*pages/s\]", shown)  # done, and the estimate
    assert "106 documents in 8 shards" in shown
