"""`python -m launch.demo`: the demonstration."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from launch.demo.pipeline import Demo, finish, run_demo
from launch.demo.scale import LONG, SHORT
from limbeck import __version__
from limbeck.config.command import run_command


def main(argv: Sequence[str]) -> int:
    """Runs the demonstration and prints its table."""
    parser = argparse.ArgumentParser(
        prog="python -m launch.demo",
        description="From a real Wikipedia excerpt and a real pretrained encoder to a distilled "
        "student. Run it again after an interruption and it goes on.",
    )
    parser.add_argument("--long", action="store_true", help="larger sizes: hours, not minutes")
    parser.add_argument(
        "--out", type=Path, help="directory for everything (default: runs/demo or runs/demo-long)"
    )
    parser.add_argument("--version", action="version", version=f"demo (limbeck {__version__})")
    options = parser.parse_args(argv)
    scale = LONG if options.long else SHORT
    out = options.out or Path("runs") / ("demo-long" if options.long else "demo")
    demo = Demo(scale=scale, out=out)
    return finish(run_demo(demo), demo)


if __name__ == "__main__":
    run_command("launch.demo", main)
