"""The training line: fixed columns and readable numbers."""

import dataclasses

import pytest

from limbeck.runs.progress import Progress, compact, duration, progress_line

PROGRESS = Progress(
    step=1200,
    steps=20000,
    loss=2.314,
    terms={"mlm": 0.81, "kl": 1.29, "hidden": 0.214},
    gradient_norm=1.02,
    learning_rate=4.1e-4,
    tokens_per_s=38_200,
    world_size=8,
    data_share=0.03,
    comm_share=0.09,
    eta_s=4320,
)


def test_line_reads_as_the_house_style_says() -> None:
    assert progress_line(PROGRESS) == (
        "step  1200/20000 loss  2.314 (mlm  0.810 kl  1.290 hidden  0.214) gnorm  1.020 lr 4.1e-4 "
        "tok/s 38.2k (4.78k/rank) data  3% comm  9% eta 1h12"
    )


def test_one_rank_has_no_share_of_communication_and_no_terms_no_brackets() -> None:
    line = progress_line(dataclasses.replace(PROGRESS, comm_share=None, terms={}, world_size=1))
    assert "comm" not in line
    assert "loss  2.314 gnorm" in line


def test_columns_stay_in_place_whatever_the_magnitudes() -> None:
    others = [
        {"step": 1, "eta_s": 3e5},
        {"step": 20000, "loss": 812.5, "terms": {"mlm": 1e-4, "kl": 38_200.0, "hidden": 99.9996}},
        {"gradient_norm": 9999.7, "learning_rate": 0.0, "tokens_per_s": 9.0},
        {"gradient_norm": 1e7, "tokens_per_s": 1.234e7, "data_share": 0.99, "comm_share": 0.0},
    ]
    lines = [progress_line(dataclasses.replace(PROGRESS, **changes)) for changes in others]
    lines.append(progress_line(PROGRESS))
    for word in ("loss", "kl", "gnorm", "lr", "tok/s", "data", "comm", "eta"):
        assert len({line.index(f"{word} ") for line in lines}) == 1, word


def test_updates_left_out_are_told_at_the_end_once_there_are_any() -> None:
    assert progress_line(dataclasses.replace(PROGRESS, skipped=3)).endswith("eta 1h12 skipped 3")


def test_diverged_run_still_prints() -> None:
    nan = float("nan")
    line = progress_line(
        dataclasses.replace(PROGRESS, loss=nan, gradient_norm=float("inf"), eta_s=nan)
    )
    assert "loss    nan" in line
    assert "gnorm    inf" in line
    assert line.endswith("eta ?")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (812.4, "812"),
        (999.6, "1.00k"),  # would round to 1000
        (4_775, "4.78k"),
        (38_200, "38.2k"),
        (381_999, "382k"),
        (999_600, "1.00M"),
        (1.52e6, "1.52M"),
        (2.5e9, "2.50G"),
        (3.2e15, "3200T"),
    ],
)
def test_counts_are_short(value: float, text: str) -> None:
    assert compact(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (45.4, "45s"),
        (59.7, "1m00"),
        (725, "12m05"),
        (4320, "1h12"),
        (273_600, "3d04h"),
        (float("inf"), "?"),
        (-1, "?"),
    ],
)
def test_times_show_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text
