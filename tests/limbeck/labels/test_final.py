import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import FinalSignal, Side, final

WIDTH, VOCAB = 24, 60


def teacher(scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    return Side(
        tensors={
            "decoder/kernel": rng.normal(scale=scale, size=(VOCAB, WIDTH)).astype(np.float32),
            "decoder/bias": rng.normal(size=VOCAB).astype(np.float32),
        }
    )


def states(num_positions=600, seed=1):
    return np.random.default_rng(seed).normal(size=(num_positions, WIDTH)).astype(np.float32)


def log_softmax(z):
    z = z.astype(np.float64)
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def test_error_matches_the_definition():
    side, exact = teacher(), states(300)
    kept = exact + np.random.default_rng(2).normal(scale=0.02, size=exact.shape).astype(np.float32)
    error = final.distribution_error(kept, exact, side.tensors)
    kernel, bias = side.tensors["decoder/kernel"], side.tensors["decoder/bias"]
    z, y = exact @ kernel.T + bias, kept @ kernel.T + bias
    p = log_softmax(z)
    expected = (np.exp(p) * (p - log_softmax(y))).sum(-1)
    # float32 logits of about 10, in both: 1e-6 of a nat, of which a KL holds the square.
    np.testing.assert_allclose(error["kl"], expected, rtol=1e-4, atol=2e-8)
    ordered = np.sort(z, axis=-1)
    np.testing.assert_allclose(error["margin"], ordered[:, -1] - ordered[:, -2], atol=1e-6)
    np.testing.assert_array_equal(error["flipped"], z.argmax(-1) != y.argmax(-1))


def test_tiny_and_huge_errors_are_measured():
    side, exact = teacher(), states(50)
    assert (final.distribution_error(exact, exact, side.tensors)["kl"] == 0.0).all()
    nudged = exact * np.float32(1 + 2**-18)
    error = final.distribution_error(nudged, exact, side.tensors)["kl"]
    assert (error >= 0).all() and 0 < error.mean() < 1e-8
    opposite = final.distribution_error(-100 * exact, exact, side.tensors)
    assert np.isfinite(opposite["kl"]).all() and opposite["kl"].mean() > 50


def test_plain_head_takes_int8_and_keeps_the_decoder():
    side = teacher(scale=0.05)
    fitted, lines = final.fit(FinalSignal(), {"states": states()}, side=side)
    assert dict(fitted.chosen) == {"codec": "int8"}
    assert lines[0].startswith("int8: mean KL ") and "winners change: taken" in lines[0]
    np.testing.assert_array_equal(fitted.tensors["decoder/kernel"], side.tensors["decoder/kernel"])
    arrays = final.encode(fitted, {"states": states()})
    kept = final.full_logits(final.decode(fitted, arrays)["states"], fitted.tensors)
    exact = final.full_logits(states(), side.tensors)
    # 24 products, each off by at most half a step of the largest component (about 3 / 254) times
    # a kernel of about 0.05: a standard deviation of 0.05 * sqrt(24) * 3 / 254 / sqrt(3).
    assert np.abs(kept - exact).max() < 6 * 0.05 * np.sqrt(24) * 3.5 / 254 / np.sqrt(3)


def outlying(num_positions=600):
    values = states(num_positions)
    values[:, 5] += 150.0
    return values


def test_large_channel_escalates_to_outliers():
    side = teacher(scale=0.05)
    side.tensors["decoder/kernel"][:, 5] = 0.0  # it says nothing, but sets the scale of int8
    fitted, lines = final.fit(FinalSignal(), {"states": outlying()}, side=side)
    assert fitted.chosen["codec"] == "int8" and fitted.chosen["refused"] == ["int8"]
    assert 5 in fitted.chosen["outliers"] and len(fitted.chosen["outliers"]) == 2
    assert "misses its goal" in lines[0] and lines[1].startswith("int8+2: ")


def test_sharp_head_escalates_to_bfloat16():
    side = teacher(scale=4.0)
    fitted, _ = final.fit(FinalSignal(), {"states": states()}, side=side)
    assert fitted.chosen["codec"] in ("bfloat16", "float32")
    assert fitted.chosen["refused"][:2] == ["int8", "int8+2"]


@pytest.mark.parametrize("codec", ["int8", "bfloat16", "float16"])
def test_codec_by_name_that_does_not_pass_is_refused(codec):
    # Logits in the millions, and a channel of 150 that float16 rounds to an eighth: it decides,
    # since the bias takes off what is the same in all states.
    side = teacher(scale=3e5)
    side.tensors["decoder/bias"][:] = -150.0 * side.tensors["decoder/kernel"][:, 5]
    with pytest.raises(UsageError, match=f"final family in {codec} does not pass its gate.*auto"):
        final.fit(FinalSignal(codec=codec), {"states": outlying()}, side=side)


def test_winners_that_barely_lead_may_change():
    """Flips are counted where the lead exceeds 0.01 nat only."""
    side = Side(
        tensors={
            "decoder/kernel": np.eye(3, WIDTH, dtype=np.float32),
            "decoder/bias": np.zeros(3, np.float32),
        }
    )
    exact = np.zeros((10, WIDTH), np.float32)
    exact[:, 0] = 0.005
    kept = exact.copy()
    kept[:, 1] = 0.006
    assert final.distribution_error(kept, exact, side.tensors)["flipped"].all()
    assert final.judge(kept, exact, side.tensors).passed
    assert not final.judge(kept * 10, exact * 10, side.tensors).passed


def test_positions_that_are_not_finite_do_not_decide():
    values = states()
    values[0, 0] = np.nan
    fitted, _ = final.fit(FinalSignal(), {"states": values}, side=teacher(scale=0.05))
    assert dict(fitted.chosen) == {"codec": "int8"}


def test_no_position_passes_the_gate():
    fitted, lines = final.fit(FinalSignal(), {"states": states(0)}, side=teacher())
    assert dict(fitted.chosen) == {"codec": "int8"} and "0 clear winners" in lines[0]


def test_decoder_of_another_width_is_refused():
    with pytest.raises(LimbeckError, match=r"decoder of the teacher is \(60, 24\).*width 20"):
        final.fit(FinalSignal(), {"states": states()[:, :20]}, side=teacher())


def test_size_goal_at_width_768_against_fp16_logits():
    # 30,522 float16 logits against 768 int8 and a scale.
    assert 30522 * 2 / (768 + 4) >= 75
