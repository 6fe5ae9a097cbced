import numpy as np
import pytest

from limbeck.config.errors import LimbeckError
from limbeck.labels import basis


def plane(num_positions, seed=0):
    """States of width 6 on a plane of two dimensions, off the origin."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    return (rng.normal(size=(num_positions, 2)) * [5.0, 1.0] @ directions + 3.0).astype(np.float32)


def test_states_on_a_plane_are_rebuilt_from_two_components():
    sample = plane(50)
    tensors = basis.fit(sample, num_components=2)
    assert {name: v.shape for name, v in tensors.items()} == {"basis": (2, 6), "mean": (6,)}
    kept = basis.rebuild(basis.project(sample, tensors), tensors)
    np.testing.assert_allclose(kept, sample, atol=1e-5)  # float32 sums of 6 terms of about 5


def test_components_are_orthonormal_and_by_variance_descending():
    sample = np.random.default_rng(1).normal(size=(200, 6)).astype(np.float32) * [1, 9, 3, 5, 2, 4]
    tensors = basis.fit(sample, num_components=6)
    np.testing.assert_allclose(tensors["basis"] @ tensors["basis"].T, np.eye(6), atol=1e-6)
    variances = basis.project(sample, tensors).var(axis=0)
    assert (np.diff(variances) < 0).all()
    # The first is channel 1, whose standard deviation is nearly twice the next; positive.
    assert tensors["basis"][0].argmax() == 1


def test_fit_is_the_same_again():
    first, again = basis.fit(plane(50), num_components=2), basis.fit(plane(50), num_components=2)
    assert all(first[name].tobytes() == again[name].tobytes() for name in first)


def test_report_says_what_is_kept():
    sample = plane(50)
    line = basis.describe(sample, basis.fit(sample, num_components=2))
    assert line == "basis of 2 of 6 components keeps 100.000 % of the variance of 50 states"


@pytest.mark.parametrize(
    ("num_positions", "num_components", "message"),
    [
        (50, 7, "basis is 7 components, but a state has 6"),
        (4, 4, "only 4 positions"),  # one is needed for the mean
    ],
)
def test_a_basis_that_cannot_be_fitted_is_refused(num_positions, num_components, message):
    with pytest.raises(LimbeckError, match=message):
        basis.fit(plane(num_positions), num_components=num_components)
