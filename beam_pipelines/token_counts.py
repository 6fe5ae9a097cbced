"""Stands for `python -m beam_pipelines.token_counts`, which is still to come."""

from collections.abc import Sequence

from beam_pipelines.command import later, run_module

__all__ = ["main"]

PROG = "beam_pipelines.token_counts"


def main(argv: Sequence[str]) -> None:
    """Says what brings this command, and exits with 2."""
    later(PROG, "the work on dynamic masking that favours rare tokens", argv)


if __name__ == "__main__":
    run_module(PROG)
