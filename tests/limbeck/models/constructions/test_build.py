import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy

from limbeck.config import UsageError, yaml_file
from limbeck.models.constructions import Step, construct, student_shape
from limbeck.models.constructions.build import kept_ids
from limbeck.models.constructions.steps import TrimVocabulary
from limbeck.tokens import WordPiece, save_tokenizer
from prep.counts import write_counts


def steps_of(*texts):
    return tuple(yaml_file.loads(text, Step, "recipe.yaml") for text in texts)


@pytest.fixture
def folder(vocab_file, tmp_path):
    """A folder with a tokenizer, and a file of counts beside it."""
    tokenizer = WordPiece(vocab_file)
    save_tokenizer(tokenizer, tmp_path / "teacher")
    counts = np.zeros(61, np.int64)
    counts[[6, 8, 50]] = 3, 1, 9
    write_counts(tmp_path / "counts.json", counts, tokenizer=tokenizer.info(), source={})
    return tmp_path / "teacher"


STEPS = [
    ("layers: [1, 3]", "embedding_pca: {dim: 8, intermediate_dim: 6, centred: false}"),
    ("average_layers: 2", "width: {hidden_dim: 12, intermediate_dim: 7, importance: l2}"),
    ("average_layers: [[1, 2], [4]]", "factorised_embedding: {dim: 9, freeze: true}"),
    (
        "trim_vocabulary: {counts: COUNTS, size: 7}",
        "layers: every-other",
        "width: {importance: l2}",
    ),
    (
        "layers: pkd-skip-2",
        "factorised_embedding: {dim: 9}",
        "width: {hidden_dim: 8, importance: l2}",
    ),
]


@pytest.mark.parametrize("texts", STEPS)
def test_shape_alone_is_the_shape_of_what_is_made(make_teacher, run, folder, texts):
    steps = steps_of(*(t.replace("COUNTS", str(folder.parent / "counts.json")) for t in texts))
    teacher = make_teacher()
    made = construct(teacher.architecture, teacher.tensors, steps, teacher=folder)
    assert made.architecture == student_shape(teacher.architecture, steps, teacher=folder)
    assert len(made.lines) >= len(steps)
    assert set(made.origins) == set(made.tensors)
    ids = np.random.default_rng(0).integers(0, made.architecture.vocab_size, (2, 9))
    assert np.isfinite(run(made, ids=ids)[0]).all()


def test_no_step_is_the_teacher(make_teacher, run):
    teacher = make_teacher()
    made = construct(teacher.architecture, teacher.tensors, (), teacher="nowhere")
    np.testing.assert_array_equal(run(made)[0], run(teacher)[0])


def test_ids_of_the_corpus_and_special_ones_are_kept(folder):
    path = str(folder.parent / "counts.json")
    assert kept_ids(TrimVocabulary(counts=path), folder).tolist() == [*range(5), 6, 8, 50]
    fewer = TrimVocabulary(counts=path, size=6)
    assert kept_ids(fewer, folder).tolist() == [*range(5), 50]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ("width: {importance: l2}", "layers: first-5"),
            r"construct\[1\]: layers is first-5, and .* only 4",
        ),
        (("layers: first-1", "average_layers: 2"), r"construct\[1\]: .* there are 1 layers"),
        (("embedding_pca: {dim: 99}",), r"construct\[0\]: embedding_pca: dim is 99"),
        (("trim_vocabulary: {counts: lost.json}",), "lost.json: no such file; make it with"),
        (("width: {importance: lost}",), "importance is 'lost'; expected l2 or a safetensors"),
    ],
)
def test_step_that_does_not_fit_is_named_with_and_without_tensors(
    make_teacher, folder, texts, message
):
    teacher, steps = make_teacher(), steps_of(*texts)
    with pytest.raises(UsageError, match=message):
        student_shape(teacher.architecture, steps, teacher=folder)
    with pytest.raises(UsageError, match=message):
        construct(teacher.architecture, teacher.tensors, steps, teacher=folder)


def test_vocabulary_is_trimmed_once_and_by_counts_of_its_tokenizer(make_teacher, folder, tmp_path):
    trim = Step(trim_vocabulary=TrimVocabulary(counts=str(tmp_path / "counts.json")))
    shape = make_teacher().architecture
    with pytest.raises(UsageError, match=r"construct\[1\]: the vocabulary is trimmed already"):
        student_shape(shape, [trim, trim], teacher=folder)
    with pytest.raises(UsageError, match="no tokenizer in it"):
        student_shape(shape, [trim], teacher=tmp_path / "lost")
    other = {"fingerprint": "0" * 64, "vocab_size": 61}
    write_counts(tmp_path / "counts.json", np.ones(61, np.int64), tokenizer=other, source={})
    with pytest.raises(UsageError, match="counts of tokenizer 000000000000, not of"):
        student_shape(shape, [trim], teacher=folder)


def test_measured_importance_is_read_from_its_file(make_teacher, tmp_path):
    teacher = make_teacher()
    scores = {"hidden": np.arange(24.0), "heads": np.ones((4, 6)), "neurons": np.ones((4, 20))}
    safetensors.numpy.save_file(scores, tmp_path / "scores")
    steps = steps_of(f"width: {{hidden_dim: 4, importance: {tmp_path / 'scores'}}}")
    made = construct(teacher.architecture, teacher.tensors, steps, teacher="nowhere")
    name = "encoder/embeddings/token"
    np.testing.assert_array_equal(made.tensors[name], teacher.tensors[name][:, [23, 22, 21, 20]])
    assert "by measured importance" in made.lines[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "one construction of layers, average_layers, .* none given"),
        ("{layers: first-1, width: {importance: l2}}", "layers and width given"),
        ("{layer: first-1}", "unknown key 'layer' .* did you mean 'layers'"),
        ("{layers: some}", "recipe.yaml:1: layers is 'some'; expected a list of layers or one of"),
        ("{layers: 3}", "expected text or a list"),
        ("{layers: []}", "empty"),
        ("{embedding_pca: {dims: 3}}", "unknown key 'dims' in embedding_pca"),
        ("{embedding_pca: {dim: 0}}", "embedding_pca: dim is 0; it must be at least 1"),
        ("{trim_vocabulary: {}}", "lacks 'counts'"),
    ],
)
def test_step_that_says_nothing_sensible_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        steps_of(text)


def test_steps_survive_their_yaml():
    for text in (t for texts in STEPS for t in texts):
        (step,) = steps_of(text)
        assert yaml_file.loads(yaml_file.dump(step), Step) == step
        assert yaml_file.from_plain(Step, yaml_file.to_plain(step), "plain") == step
        assert step.name == text.split(":")[0]


def test_constructions_and_recipes_do_without_tensorflow():
    code = "import sys, limbeck.models.constructions, train.inputs; "
    code += "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
