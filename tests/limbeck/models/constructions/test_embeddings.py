import dataclasses

import numpy as np
import pytest

from limbeck.config.errors import UsageError
from limbeck.models.constructions import compress_embeddings, factorise_embeddings
from limbeck.models.constructions.components import principal_components

TOKEN = "encoder/embeddings/token"
EMBEDDED = tuple(f"encoder/embeddings/{name}" for name in ("token", "position", "segment"))


@pytest.fixture
def matrix():
    """(50, 8) with a mean that is large beside the rest."""
    rng = np.random.default_rng(1)
    return (rng.normal(size=(50, 8)) * np.arange(8, 0, -1) + 3).astype(np.float32)


def oracle(matrix, dim, centred):
    """Components by NumPy's SVD; signs are free."""
    values = matrix.astype(np.float64)
    mean = values.mean(axis=0) if centred else 0.0
    _, singular, right = np.linalg.svd(values - mean, full_matrices=False)
    share = np.square(singular[:dim]).sum() / np.square(singular).sum()
    return right[:dim].T, share, mean


@pytest.mark.parametrize("centred", [True, False])
def test_components_are_those_of_the_svd(matrix, centred):
    basis, share, mean = oracle(matrix, 3, centred)
    ours = principal_components(matrix, 3, centred=centred)
    # Through an eigendecomposition of the square: half of float64's digits at the worst.
    np.testing.assert_allclose(np.abs(np.sum(ours.basis * basis, axis=0)), 1.0, atol=1e-10)
    np.testing.assert_allclose(ours.kept, share, rtol=1e-10)
    expected = (matrix - mean) @ ours.basis
    np.testing.assert_allclose(ours.compressed, expected, rtol=1e-5, atol=1e-5)  # float32
    assert (ours.basis[np.abs(ours.basis).argmax(axis=0), range(3)] > 0).all()


@pytest.mark.parametrize("centred", [True, False])
def test_full_width_loses_nothing(matrix, centred):
    ours = principal_components(matrix, 8, centred=centred)
    np.testing.assert_allclose(ours.restored(), matrix, rtol=0, atol=1e-5)  # float32, up to 30
    np.testing.assert_allclose(ours.kept, 1.0, rtol=1e-12)


def test_plain_is_nearest_to_the_matrix_and_centred_to_its_variance(matrix):
    centred, plain = (principal_components(matrix, 2, centred=c) for c in (True, False))
    error = {}
    for name, part in (("centred", centred), ("plain", plain)):
        error[name] = np.square(matrix - part.compressed @ part.basis.T).sum()
    assert error["plain"] < error["centred"]  # without the mean put back
    assert np.square(matrix - centred.restored()).sum() < error["plain"]  # with it


def test_probabilities_of_the_tied_decoder_do_not_see_the_mean(matrix):
    states = np.random.default_rng(2).normal(size=(4, 8))
    ours = principal_components(matrix, 8, centred=True)

    def probabilities(logits):
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    expected = probabilities(states @ matrix.T)
    got = probabilities((states @ ours.basis) @ ours.compressed.T)
    np.testing.assert_allclose(got, expected, atol=1e-6)  # X is float32


def test_restored_at_full_width_gives_the_teachers_logits(make_teacher, run):
    teacher = make_teacher()
    components = principal_components(teacher.tensors[TOKEN], 24, centred=True)
    tensors = {**teacher.tensors, TOKEN: components.restored()}
    made = dataclasses.replace(teacher, tensors=tensors)
    # The embeddings differ by a rounding of float32; four layers carry it on.
    np.testing.assert_allclose(run(made)[0], run(teacher)[0], atol=2e-5)


def test_compressed_student_is_narrow_and_random_beside_its_embedding(make_teacher, run):
    teacher = make_teacher(intermediate_dim=48)
    made = compress_embeddings(teacher, 8, centred=True, freeze=True)
    shape = made.architecture
    assert (shape.hidden_dim, shape.num_heads, shape.intermediate_dim) == (8, 2, 16)
    assert set(made.tensors) == {TOKEN, "head/output_bias"}
    expected = principal_components(teacher.tensors[TOKEN], 8, centred=True)
    np.testing.assert_array_equal(made.tensors[TOKEN], expected.compressed)
    assert made.frozen == (TOKEN,)
    assert made.origins[TOKEN] == f"{TOKEN}, centred principal components"
    assert "61 x 8 <- centred principal components" in made.lines[0]
    logits, _ = run(made)
    assert np.isfinite(logits).all() and (logits != run(made, seed=1)[0]).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 25}, "dim is 25; the teacher's width is 24"),
        ({"dim": 10}, "no multiple of the teacher's head width 4; say num_heads"),
        ({"dim": 8}, "20 / 24 is not a whole number; say intermediate_dim"),
        ({"dim": 10, "num_heads": 4}, "10 is not a multiple of num_heads 4"),
    ],
)
def test_compression_that_does_not_fit_is_refused(make_teacher, settings, message):
    with pytest.raises(UsageError, match=message):
        compress_embeddings(make_teacher(), settings.pop("dim"), centred=True, **settings)


def low_rank(teacher, rank):
    """The teacher with embeddings in few directions, beside the mean of their components."""
    rng = np.random.default_rng(5)
    width = teacher.architecture.hidden_dim
    directions = rng.normal(size=(rank, width))
    tensors = dict(teacher.tensors)
    for name in EMBEDDED:
        rows = len(tensors[name])
        means = rng.normal(size=(rows, 1))
        tensors[name] = (rng.normal(size=(rows, rank)) @ directions + means).astype(np.float32)
    return dataclasses.replace(teacher, tensors=tensors)


def test_factorised_encoder_is_exact_where_the_embeddings_fit(make_teacher, run):
    teacher = low_rank(make_teacher(), 6)
    made = factorise_embeddings(teacher, 7)
    assert (made.architecture.family, made.architecture.embedding_dim) == ("electra", 7)
    assert "100.0 % of the summed embeddings' square kept" in made.lines[0]
    ours, theirs = run(made)[1], run(teacher)[1]
    for layer, states in theirs.items():
        # Two roundings to float32 more than the teacher; states are of the order of 1.
        np.testing.assert_allclose(ours[layer], states, atol=5e-5)


def test_factorised_logits_follow_from_a_rotated_head(make_teacher):
    teacher = low_rank(make_teacher(), 6)
    made = factorise_embeddings(teacher, 7)
    tied, tokens = made.tensors[TOKEN], teacher.tensors[TOKEN]
    # h of the decoder's width 24 in the span of the tokens: h E' = h' X' with h' = h (E+ X).
    states = np.random.default_rng(2).normal(size=(3, len(tokens))) @ tokens
    narrow = states @ np.linalg.lstsq(tokens, tied, rcond=1e-4)[0] * 24 / 7
    np.testing.assert_allclose(narrow @ tied.T, states @ tokens.T, rtol=1e-3, atol=1e-2)


def test_factorised_embedding_is_the_better_the_wider(make_teacher, run):
    teacher = make_teacher()
    theirs = run(teacher)[1][0]
    errors = [
        np.square(run(factorise_embeddings(teacher, dim))[1][0] - theirs).mean()
        for dim in (4, 12, 23)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_factorised_keeps_layers_and_drops_what_electra_has_not(make_teacher):
    teacher = make_teacher()
    pooled = {**teacher.tensors, "pooler/kernel": np.eye(24, dtype=np.float32)}
    made = factorise_embeddings(dataclasses.replace(teacher, tensors=pooled), 7, freeze=True)
    assert "pooler/kernel" not in made.tensors
    assert not any(name.startswith(("head/transform", "head/norm")) for name in made.tensors)
    name = "encoder/layer_2/attention/query/kernel"
    assert made.tensors[name] is teacher.tensors[name]
    assert made.frozen == (TOKEN,)


@pytest.mark.parametrize(
    ("shape", "dim", "message"),
    [
        ({}, 24, "from 2 to below the width 24"),
        ({}, 1, "from 2 to below"),
        ({"family": "electra", "embedding_dim": 8}, 4, "8 wide and projected already"),
        ({"family": "roberta", "position_offset": 1}, 8, "family roberta is not supported"),
    ],
)
def test_factorisation_that_does_not_fit_is_refused(make_teacher, shape, dim, message):
    with pytest.raises(UsageError, match=message):
        factorise_embeddings(make_teacher(**shape), dim)
