import numpy as np
import pytest

from limbeck.architectures import BertArchitecture
from limbeck.config import UsageError, yaml_file
from limbeck.models import build_masked_lm, named_variables
from limbeck.tokens import SPECIAL_TOKENS, WordPiece
from limbeck.weights.hf import export_hf
from train.inputs import open_inputs
from train.objective import bind
from train.recipe import Recipe
from train.student import Projection, build_student


def inputs_of(plain):
    return open_inputs(yaml_file.from_plain(Recipe, plain, "recipe"))


def student_of(inputs):
    return build_student(inputs, bind(inputs.recipe.objective, inputs.families))


@pytest.fixture(scope="module")
def folder(shared_toy):
    """A model folder of three layers, 8 wide."""
    shape = BertArchitecture(
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
    same = {**start, "architecture": {**shape, "hidden_dropout": 0.0}}
    student = student_of(inputs_of(shared_toy.recipe(model=same)))
    assert student.architecture.hidden_dropout == 0.0
    other = {**start, "architecture": {**shape, "num_layers": 2}}
    with pytest.raises(UsageError, match="num_layers is 3 and not 2"):
        inputs_of(shared_toy.recipe(model=other))
    with pytest.raises(UsageError, match="layer 4, but .* has 1 to 3"):
        inputs_of(shared_toy.recipe(model={**start, "layers": [4], "architecture": None}))


def test_projection_is_linear_and_starts_from_its_seed():
    first, same, other = (
        Projection("p", source_dim=3, target_dim=2, seed=seed) for seed in (1, 1, 2)
    )
    states = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_allclose(first(states), states @ first.kernel.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(first.kernel, same.kernel)
    assert (first.kernel.numpy() != other.kernel.numpy()).any()
