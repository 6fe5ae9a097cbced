import functools
import json
import runpy

import numpy as np
import pytest

from limbeck.config.errors import UsageError
from limbeck.models.constructions import Step
from limbeck.models.constructions.folder import RECORD_NAME, make_student_folder
from limbeck.models.constructions.model import model_of, named_arrays
from limbeck.models.constructions.steps import TrimVocabulary
from limbeck.models.constructions.vocabulary import read_map
from limbeck.tokens import WordPiece, load_tokenizer
from limbeck.weights.fingerprint import fingerprint
from limbeck.weights.hf import export_hf, load_masked_lm
from prep.counts import write_counts
from tests.conftest import run_inside


@pytest.fixture(scope="module")
def teacher(make_teacher, vocab_file, tmp_path_factory):
    """A teacher's folder, and its tensors."""
    directory = tmp_path_factory.mktemp("folders")
    made = make_teacher()
    tokenizer = WordPiece(vocab_file)
    export_hf(model_of(made, seed=0), directory / "teacher", tokenizer=tokenizer)
    write_counts(
        directory / "counts.json",
        np.arange(61, dtype=np.int64) % 2,
        tokenizer=tokenizer.info(),
        source={},
    )
    return directory / "teacher", made.tensors


def test_student_folder_is_a_model_folder_that_says_how_it_was_made(teacher, tmp_path):
    path, tensors = teacher
    made = make_student_folder(path, tmp_path / "out" / "student", [Step(layers=(2, 4))])
    model, _ = load_masked_lm(tmp_path / "out" / "student")
    name = "encoder/layer_{}/attention/key/kernel"
    np.testing.assert_array_equal(named_arrays(model)[name.format(1)], tensors[name.format(3)])
    record = json.loads((tmp_path / "out" / "student" / RECORD_NAME).read_text())
    assert record["construct"] == [{"layers": [2, 4]}]
    assert record["variables"][name.format(1)] == name.format(3)
    assert record["teacher"]["fingerprint"] == fingerprint(path)
    assert record["lines"] == list(made.lines)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["student"]  # nothing is left over


def test_trimmed_student_folder_holds_its_tokenizer_and_the_map(teacher, tmp_path):
    path, tensors = teacher
    step = Step(trim_vocabulary=TrimVocabulary(counts=str(path.parent / "counts.json")))
    make_student_folder(path, tmp_path / "student", [step])
    mapping = read_map(tmp_path / "student")
    kept = mapping["kept"]
    assert kept.tolist() == sorted({0, 1, 2, 3, 4, *range(1, 61, 2)})
    own, theirs = load_tokenizer(tmp_path / "student"), load_tokenizer(path)
    assert own.fingerprint() == mapping["trimmed"]["fingerprint"]
    assert theirs.fingerprint() == mapping["source"]["fingerprint"]
    assert [own.token(i) for i in range(own.vocab_size)] == [theirs.token(i) for i in kept]
    model, _ = load_masked_lm(tmp_path / "student")
    name = "encoder/embeddings/token"
    np.testing.assert_array_equal(named_arrays(model)[name], tensors[name][kept])


def test_folder_that_is_there_is_left_alone(teacher, tmp_path):
    with pytest.raises(UsageError, match="is there already; delete it"):
        make_student_folder(teacher[0], tmp_path, [Step(layers="first-1")])
    assert list(tmp_path.iterdir()) == []


def make(*arguments):
    module = "limbeck.models.constructions"
    start = functools.partial(runpy.run_module, module, run_name="__main__")
    return run_inside(start, module, "make", *arguments)


def test_command_makes_a_folder_and_says_what_came_from_where(teacher, tmp_path):
    steps = ["--step", "layers: every-other", "--step", "width: {hidden_dim: 12, importance: l2}"]
    done = make(teacher[0], tmp_path / "student", *steps, "--variables")
    assert done.returncode == 0, done.stderr
    assert "layers: 1 <- 1, 2 <- 3 of 4 (every-other)" in done.stdout
    assert "encoder/layer_1/attention_norm/beta  <-  encoder/layer_2/" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(f"{tmp_path}/student: 2 layers x 12, ")
    assert load_masked_lm(tmp_path / "student")[0].architecture.num_heads == 3


def test_command_refuses_in_one_line(teacher, tmp_path):
    done = make(teacher[0], tmp_path / "student", "--step", "layers: first-9")
    assert done.returncode == 2 and not (tmp_path / "student").exists()
    assert done.stderr.splitlines()[-1] == (
        "limbeck.models.constructions make: error: construct[0]: layers is first-9, and there are "
        "only 4 layers"
    )
