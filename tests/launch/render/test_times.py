"""Time limits as schedulers write them."""

import pytest

from launch.render.times import check_slurm_time, lsf_minutes
from limbeck.config.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5", 300),  # minutes
        ("600", 36000),
        ("5:30", 330),  # minutes and seconds
        ("2:00:01", 7201),
        ("100:00:00", 360000),  # hours without days may be many
        ("1-0", 86400),
        ("1-2", 93600),
        ("1-2:30", 95400),
        ("1-2:30:01", 95401),
    ],
)
def test_slurm_time_is_read(text, seconds):
    assert check_slurm_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0:00",
        "-5",
        "1h",
        "1:2:3:4",
        "1:60",
        "1:60:00",
        "1-24",
        "1-",
        "1.5",
        "٣",
        " 5",
        "5\n",
    ],
)
def test_what_slurm_would_not_take_is_refused(text):
    with pytest.raises(UsageError, match="not a time that Slurm takes"):
        check_slurm_time(text)


@pytest.mark.parametrize(("text", "minutes"), [("90", 90), ("1:30", 90), ("100:00", 6000)])
def test_lsf_time_is_read(text, minutes):
    assert lsf_minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "0", "0:00", "1:60", "1:2:3", "1-0", "-1", "x", "5\n"])
def test_what_lsf_would_not_take_is_refused(text):
    with pytest.raises(UsageError, match="not a time that LSF takes"):
        lsf_minutes(text)
