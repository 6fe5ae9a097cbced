import numpy as np
import pytest

from limbeck.architectures import EncoderArchitecture
from limbeck.config import UsageError, yaml_file
from limbeck.models import build_masked_lm, named_variables
from limbeck.models.constructions import Step
from limbeck.models.constructions.folder import make_student_folder
from limbeck.models.constructions.steps import TrimVocabulary
from limbeck.tokens import SPECIAL_TOKENS, WordPiece
from limbeck.weights.hf import export_hf
from prep.counts import write_counts
from train.inputs import open_inputs
from train.projections import Linear
from train.recipe import Recipe
from train.students.student import build_student


def inputs_of(plain):
    return open_inputs(yaml_file.from_plain(Recipe, plain, "recipe"))


def student_of(inputs):
    return build_student(inputs)


@pytest.fixture(scope="module")
def folder(shared_toy):
    """A model folder of three layers, 8 wide."""
    shape = EncoderArchitecture(
        vocab_size=50,
        num_layers=3,
        hidden_dim=8,
        num_heads=2,
        intermediate_dim=16,
        max_positions=16,
    )
    words = [*SPECIAL_TOKENS, *(f"a{i}" for i in range(len(SPECIAL_TOKENS), 50))]
    vocab_file = shared_toy.root / "vocab.txt"
    vocab_file.write_text("\n".join(words) + "\n")
    model = build_masked_lm(shape, seed=5)
    export_hf(model, shared_toy.root / "folder", tokenizer=WordPiece(vocab_file))
    return shared_toy.root / "folder", named_variables(model)


def test_student_of_a_recipe_is_drawn_from_its_seed(shared_toy):
    plain = shared_toy.distil()
    first, second = (student_of(inputs_of(plain)) for _ in range(2))
    other = student_of(inputs_of({**plain, "seed": 4}))
    assert list(first.named_variables) == list(second.named_variables)
    assert list(first.named_variables)[-2:] == [
        "projection/2_hidden_mse/kernel",
        "projection/2_hidden_mse/bias",
    ]
    for name in ("model/encoder/embeddings/token", "projection/2_hidden_mse/kernel"):
        kernel = first.named_variables[name].numpy()
        np.testing.assert_array_equal(kernel, second.named_variables[name])
        assert (kernel != other.named_variables[name]).any()


def test_chosen_layers_of_a_checkpoint_become_the_student(shared_toy, folder):
    path, source = folder
    start = {"start": "checkpoint", "checkpoint": str(path), "layers": [1, 3]}
    inputs = inputs_of(shared_toy.recipe(model={**start, "architecture": None}))
    assert inputs.architecture.num_layers == 2
    student = student_of(inputs)
    assert "taken" in student.origin
    named = named_variables(student.model)
    for ours, theirs in ((0, 0), (1, 2)):
        name = "encoder/layer_{}/attention/query/kernel"
        np.testing.assert_array_equal(named[name.format(ours)], source[name.format(theirs)])
    np.testing.assert_array_equal(named["head/output_bias"], source["head/output_bias"])


def test_checkpoint_may_get_other_dropout_but_no_other_shape(shared_toy, folder):
    path, _ = folder
    shape = {**shared_toy.recipe()["model"]["architecture"], "num_layers": 3}
    start = {"start": "checkpoint", "checkpoint": str(path)}
    same = {**start, "architecture": {**shape, "hidden_dropout": 0.3}}
    student = student_of(inputs_of(shared_toy.recipe(model=same)))
    assert student.architecture.hidden_dropout == 0.3
    other = {**start, "architecture": {**shape, "num_layers": 2}}
    with pytest.raises(UsageError, match="num_layers is 3 and not 2"):
        inputs_of(shared_toy.recipe(model=other))
    with pytest.raises(UsageError, match="layer 4, but .* has 1 to 3"):
        inputs_of(shared_toy.recipe(model={**start, "layers": [4], "architecture": None}))


def test_projection_is_linear_and_starts_from_its_seed():
    first, same, other = (Linear("p", source_dim=3, target_dim=2, seed=seed) for seed in (1, 1, 2))
    states = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(first(states), states @ first.kernel.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(first.kernel, same.kernel)
    assert (first.kernel.numpy() != other.kernel.numpy()).any()


def constructed(folder, *steps, **more):
    path, _ = folder
    start = {"start": "checkpoint", "checkpoint": str(path), "architecture": None}
    return {**start, "construct": list(steps), **more}


def test_constructions_of_a_checkpoint_become_the_student(shared_toy, folder):
    model = constructed(
        folder, {"layers": "last-1"}, {"width": {"intermediate_dim": 6, "importance": "l2"}}
    )
    inputs = inputs_of(shared_toy.recipe(model=model))
    assert (inputs.architecture.num_layers, inputs.architecture.intermediate_dim) == (1, 6)
    student = student_of(inputs)
    assert "layers: 1 <- 3 of 3 (last-1); width: hidden 8 -> 8" in student.origin
    named, source = named_variables(student.model), folder[1]
    ours, theirs = (
        np.sort(v[f"encoder/layer_{i}/attention_norm/gamma"].numpy())
        for v, i in ((named, 0), (source, 2))
    )
    np.testing.assert_array_equal(ours, theirs)  # in another order


def test_layers_is_the_short_form_of_a_construction(shared_toy, folder):
    short = student_of(inputs_of(shared_toy.recipe(model=constructed(folder, layers=[2]))))
    long = student_of(inputs_of(shared_toy.recipe(model=constructed(folder, {"layers": [2]}))))
    for ours, theirs in zip(short.variables, long.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_a_construction_leaves_is_drawn_from_the_recipes_seed(shared_toy, folder):
    pca = {"embedding_pca": {"dim": 4, "freeze": True}}
    plain = shared_toy.recipe(model=constructed(folder, pca))
    first, second = (student_of(inputs_of(plain)) for _ in range(2))
    other = student_of(inputs_of({**plain, "seed": 4}))
    token, kernel = "model/encoder/embeddings/token", "model/encoder/layer_0/attention/key/kernel"
    assert first.frozen == {token}
    for name, same in ((token, True), (kernel, False)):
        a, b, c = (s.named_variables[name].numpy() for s in (first, second, other))
        np.testing.assert_array_equal(a, b)
        assert np.array_equal(a, c) == same
    assert len(first.trained) == len(first.variables) - 1


def test_frozen_variables_are_named_or_begin_with_a_name(shared_toy):
    plain = shared_toy.recipe()
    plain["model"]["freeze"] = ["encoder/embeddings/", "encoder/layer_0/attention/key"]
    student = student_of(inputs_of(plain))
    assert len(student.frozen) == 3 + 2 + 2
    names = [n for n, v in student.named_variables.items() if n not in student.frozen]
    assert [id(student.named_variables[n]) for n in names] == [id(v) for v in student.trained]
    for pattern, message in (
        ("encoder/layer_1", "no variable of the student is or begins with 'encoder/layer_1'"),
        ("encoder/embed", "begins with 'encoder/embed'"),
    ):
        plain["model"]["freeze"] = [pattern]
        with pytest.raises(UsageError, match=message):
            student_of(inputs_of(plain))
    plain["model"]["freeze"] = ["encoder", "head"]
    with pytest.raises(UsageError, match="all variables of the student are frozen"):
        student_of(inputs_of(plain))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"layers": "first-4"}, r"model.construct\[0\]: layers is first-4, and .* only 3 layers"),
        ({"trim_vocabulary": {"counts": "x"}}, r"model.construct\[0\]: a run cannot trim"),
    ],
)
def test_construction_that_does_not_fit_is_refused_before_anything(
    shared_toy, folder, step, message
):
    with pytest.raises(UsageError, match=message):
        inputs_of(shared_toy.recipe(model=constructed(folder, step)))


def test_examples_of_the_whole_vocabulary_are_refused_for_a_trimmed_student(
    shared_toy, folder, tmp_path
):
    path, _ = folder
    counts = np.ones(50, np.int64)
    counts[40:] = 0
    info = WordPiece(shared_toy.root / "vocab.txt").info()
    write_counts(tmp_path / "counts.json", counts, tokenizer=info, source={})
    trim = TrimVocabulary(counts=str(tmp_path / "counts.json"))
    make_student_folder(path, tmp_path / "trimmed", [Step(trim_vocabulary=trim)])
    model = constructed((tmp_path / "trimmed", None))
    with pytest.raises(UsageError, match="of the whole vocabulary .* is trimmed to 40"):
        inputs_of(shared_toy.recipe(model=model))
