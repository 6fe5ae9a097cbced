import numpy as np
import pytest

from limbeck.pages.scales import number_text, scale_for


@pytest.mark.parametrize(
    "value, text",
    [
        (0.0, "0"),
        (-0.0, "0"),
        (0.25, "0.25"),
        (1 / 3, "0.333"),
        (12.345, "12.3"),
        (1200.0, "1,200"),
        (9999.4, "9,999"),
        (9999.6, "10k"),
        (25_335.0, "25.3k"),
        (999_700.0, "1M"),  # not 1,000k
        (2.5e9, "2.5G"),
        (2e-6, "2e-6"),
        (1.234e-12, "1.23e-12"),
        (float("nan"), "none"),
        (float("-inf"), "-\N{INFINITY}"),
    ],
)
def test_numbers_are_short_and_keep_three_digits(value, text):
    assert number_text(value) == text


@pytest.mark.parametrize(
    "low, high, ticks",
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.0, 7.0, [0, 2, 4, 6]),
        (-3.0, 13.0, [0, 5, 10]),
        (0.1, 0.13, [0.1, 0.11, 0.12, 0.13]),
    ],
)
def test_linear_ticks_are_round_and_inside(low, high, ticks):
    scale = scale_for([low, high], start=0, stop=100)
    np.testing.assert_allclose(scale.ticks(), ticks, atol=1e-12)


@pytest.mark.parametrize(
    "low, high, ticks",
    [
        (1, 1000, [1, 10, 100, 1000]),
        (1, 16, [1, 2, 5, 10]),
        (1, 1e12, [1, 1e3, 1e6, 1e9, 1e12]),
    ],
)
def test_log_ticks_are_round_and_few(low, high, ticks):
    scale = scale_for([low, high], start=0, stop=100, kind="log")
    np.testing.assert_allclose(scale.ticks(), ticks, rtol=1e-12)


def test_random_ranges_have_few_ticks_inside():
    rng = np.random.default_rng(0)
    for low, width in zip(rng.normal(0, 100, 300), np.exp(rng.normal(0, 6, 300)), strict=True):
        scale = scale_for([low, low + width], start=0, stop=1)
        ticks = np.array(scale.ticks(6))
        assert 2 <= len(ticks) <= 6
        # The ends may be missed by the rounding of a multiple of the step.
        assert (ticks >= low - 1e-6 * width).all() and (ticks <= low + width * (1 + 1e-6)).all()


def test_scale_maps_ends_to_ends():
    assert scale_for([2, 4], start=100, stop=0)([2, 3, 4]).tolist() == [100, 50, 0]
    log = scale_for([1, 100], start=0, stop=10, kind="log")
    np.testing.assert_allclose(log([1, 10, 100]), [0, 5, 10])


def test_a_log_scale_looks_at_what_it_can_show():
    scale = scale_for([0.0, 1.0, 10.0, np.nan, np.inf], start=0, stop=1, kind="log")
    assert (scale.low, scale.high) == (1.0, 10.0)
    assert not np.isfinite(scale([0.0]))[0]


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0], [np.nan]])
@pytest.mark.parametrize("kind", ["linear", "log"])
def test_a_scale_of_one_value_or_none_has_room(values, kind):
    scale = scale_for(values, start=0, stop=1, kind=kind)
    assert scale.low < scale.high
    assert len(scale.ticks()) >= 1


def test_a_whole_scale_ends_at_round_numbers():
    scale = scale_for([0.13, 0.87], start=0, stop=1, whole=True)
    np.testing.assert_allclose([scale.low, scale.high], [0.0, 1.0], atol=1e-12)
    for high in (1.18, 1.53, 6.4):  # rounding up may ask for larger steps
        scale = scale_for([0.23, high], start=0, stop=1, whole=True)
        np.testing.assert_allclose(
            scale.ticks(5)[:: len(scale.ticks(5)) - 1], [scale.low, scale.high]
        )
