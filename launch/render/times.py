"""Time limits as the schedulers write them."""

import re

from limbeck.config.errors import UsageError

__all__ = ["check_slurm_time", "lsf_minutes"]

_SLURM_FORMS = "minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]"
_SLURM = re.compile(r"(?:([0-9]+)-)?([0-9]+(?::[0-9]{1,2}){0,2})")
_LSF = re.compile(r"(?:([0-9]+):)?([0-9]+)")


def check_slurm_time(text: str) -> int:
    """Returns the seconds of a time limit as `sbatch --time` reads it.

    Raises:
      UsageError: another form, 60 minutes or seconds, 24 hours beside days, or no time at all.
    """
    match = _SLURM.fullmatch(text)
    seconds = _seconds(match[1], [int(part) for part in match[2].split(":")]) if match else 0
    if seconds <= 0:
        raise UsageError(
            f"--time {text!r}: not a time that Slurm takes ({_SLURM_FORMS}), such as 12:00:00"
        )
    return seconds


def _seconds(days: str | None, parts: list[int]) -> int:
    """Returns 0 where a number is above what its unit holds."""
    # Behind days the first number is hours; else one or two numbers begin with minutes.
    hours_first = days is not None or len(parts) == 3
    units = [3600, 60, 1] if hours_first else [60, 1]
    if any(part > 59 for part in parts[1:]) or (days is not None and parts[0] > 23):
        return 0
    return int(days or 0) * 86400 + sum(a * b for a, b in zip(parts, units, strict=False))


def lsf_minutes(text: str) -> int:
    """Returns the minutes of a run limit as `bsub -W` reads it: `minutes` or `hours:minutes`.

    Raises:
      UsageError: another form, 60 minutes beside hours, or no time at all.
    """
    match = _LSF.fullmatch(text)
    hours, minutes = (match[1], int(match[2])) if match else (None, 0)
    total = int(hours or 0) * 60 + minutes
    if total <= 0 or (hours is not None and minutes > 59):
        raise UsageError(
            f"--time {text!r}: not a time that LSF takes (minutes, or hours:minutes), such as 12:00"
        )
    return total
