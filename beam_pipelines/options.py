"""The options that every pipeline takes: on which runner, with how many processes, when to stop.

A command's settings inherit them and hand them on:

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class WikipediaSettings(RunOptions):
        dump: str
        ...

    run_job(..., **settings.run_arguments())
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["LOCAL", "LOWER_CASE", "LowerCase", "RunOptions", "beam_flags"]

LOCAL = "local"
"""The runner that needs nothing but this machine."""


LowerCase = Literal["auto", "yes", "no"]
LOWER_CASE: dict[LowerCase, bool | None] = {"auto": None, "yes": True, "no": False}
"""What `--lower-case` means to `load_tokenizer`."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Where and how a pipeline runs; nothing here changes what it writes."""

    workers: int = 1
    """Worker processes of the local runner. The output does not depend on it."""
    runner: str = LOCAL
    """local, or the name of any Beam runner, such as DataflowRunner, FlinkRunner or DaskRunner."""
    beam_options: tuple[str, ...] = ()
    """Options of that runner, or of Beam's file systems, as NAME=VALUE (or NAME, for a switch)."""
    max_dead_letters: int | None = None
    """Stop when more items than this cannot be used, and write no manifest. None: no limit."""

    def run_arguments(self) -> dict[str, Any]:
        """Returns these options as keyword arguments of `run_job`."""
        return {
            "workers": self.workers,
            "runner": self.runner,
            "beam_options": self.beam_options,
            "max_dead_letters": self.max_dead_letters,
        }


def beam_flags(beam_options: Sequence[str]) -> list[str]:
    """Returns `region=x` as `--region=x`, which is how Beam wants it; dashes may be there."""
    return [f"--{option.lstrip('-')}" for option in beam_options]
