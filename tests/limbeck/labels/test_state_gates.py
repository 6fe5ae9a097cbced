import numpy as np
import pytest

from limbeck.labels.state_codecs import Settled
from limbeck.labels.state_gates import (
    Verdict,
    choose,
    finite_rows,
    outlier_order,
    signal_to_noise_db,
    smallest_cosine,
    state_error,
)


def sample(num_large=0, large=300.0, shape=(64, 32)):
    """Normal states in which the first channels of an odd number are large."""
    states = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for i in range(num_large):
        states[:, 2 * i + 1] += np.float32(large * (1 + i))
    return states


def test_plain_states_take_int8():
    settled, refused, lines = choose(sample(), "auto", judge=state_error)
    assert (settled, refused) == (Settled(codec="int8"), [])
    assert len(lines) == 1 and lines[0].startswith("int8: ") and lines[0].endswith("taken")


def small_part(kept, exact):
    """A gate that looks at the even channels, which are normal."""
    snr = signal_to_noise_db(kept[:, ::2], exact[:, ::2])
    return Verdict(passed=snr >= 36.0, text=f"{snr:.0f} dB")


@pytest.mark.parametrize(("num_large", "count"), [(1, 2), (2, 2), (3, 8), (6, 8)])
def test_large_channels_become_outliers_until_the_gate_passes(num_large, count):
    settled, refused, _ = choose(sample(num_large), "auto", judge=small_part)
    assert settled.codec == "int8" and len(settled.outliers) == count
    assert set(settled.outliers) >= {2 * i + 1 for i in range(num_large)}
    assert refused[0] == "int8" and list(settled.outliers) == sorted(settled.outliers)


def test_more_large_channels_than_outliers_end_in_bfloat16():
    settled, refused, lines = choose(sample(12), "auto", judge=small_part)
    assert settled == Settled(codec="bfloat16")
    assert refused == ["int8", "int8+2", "int8+8"]
    assert len(lines) == 4


def test_int8_by_name_stays_int8_and_says_that_it_misses():
    settled, refused, lines = choose(sample(12), "int8", judge=small_part)
    assert settled.name == "int8+8" and refused[-1] == "int8+8"
    assert lines[-1] == "int8+8 is the best of codec: int8"


def test_without_a_sample_the_first_candidate_is_taken():
    settled, refused, _ = choose(np.zeros((0, 4), np.float32), "auto", judge=state_error)
    assert (settled.name, refused) == ("int8", [])


def test_outlier_order_is_by_what_each_removal_gains():
    # Channel 2 sets the scale of both rows; without it channel 0 does, by more than channel 1.
    states = np.array([[5.0, 1.0, 9.0, 0.0], [1.0, 2.0, -7.0, 0.0]], np.float32)
    assert outlier_order(states, 3) == [2, 0, 1]
    assert outlier_order(np.ones((2, 3), np.float32)) == [0, 1]  # ties to the lower; one is left


def test_error_measures_of_known_states():
    exact = np.array([[3.0, 4.0]], np.float32)
    assert signal_to_noise_db(exact, exact) == np.inf
    # Power 25 over an error of 0.25.
    assert signal_to_noise_db(exact + np.float32([0.5, 0.0]), exact) == pytest.approx(20.0)
    assert smallest_cosine(np.array([[4.0, -3.0]]), exact) == pytest.approx(0.0)
    assert smallest_cosine(0.0 * exact, exact) == 1.0
    assert not state_error(exact * 0.9, exact).passed  # 20 dB, though of equal direction


def test_rows_that_are_not_finite_are_left_out_of_the_sample():
    states = np.array([[1.0, np.nan], [1.0, 2.0], [np.inf, 0.0]], np.float32)
    np.testing.assert_array_equal(finite_rows(states), [[1.0, 2.0]])
