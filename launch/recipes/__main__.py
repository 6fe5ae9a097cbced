"""`python -m launch.recipes`: runs a recipe of several steps and compares it with its baseline."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from launch.recipes.base import NUM_COMMANDS, base_paths, make_base, missing_base
from launch.recipes.catalogue import find, listing, load, with_settings
from launch.recipes.dry_run import dry_lines
from launch.recipes.lineage import Lineage
from launch.recipes.method import Method
from launch.recipes.names import BASE
from launch.recipes.place import Place
from launch.recipes.plan import Planned, plan
from launch.recipes.results import append, make_row, markdown, read_rows
from launch.recipes.runner import holding, run_steps
from launch.steps import Steps
from limbeck import __version__
from limbeck.config.command import run_command

DESCRIPTION = (
    "Runs a published distillation method at a small size: prepares, extracts, trains, and "
    "compares the student with the same student trained without a teacher. Run it again after an "
    "interruption and it goes on."
)


def main(argv: Sequence[str]) -> int:
    """Runs the command line."""
    options = _parser().parse_args(argv)
    if options.list or options.name is None:
        print(listing())
        return 0
    path = find(options.name)
    method = with_settings(load(path), options.set)
    place = Place(
        name=path.stem,
        folder=path.with_suffix(""),
        out=options.out,
        base=base_paths(options.demo),
    )
    planned = plan(method, place)
    if options.dry_run:
        print("\n".join(dry_lines(method, place, planned)))
        return 0
    with holding(options.out) as lock:
        if options.fresh:
            shutil.rmtree(place.directory, ignore_errors=True)
        _run(method, place, planned, demo=options.demo, lock=lock)
    return 0


def _run(
    method: Method, place: Place, planned: Sequence[Planned], *, demo: Path, lock: int
) -> None:
    missing = missing_base({n for step in planned for n in step.parents if n in BASE}, demo)
    steps = Steps(
        log_directory=place.directory / "logs",
        total=sum(NUM_COMMANDS.get(name, 0) for name in missing)
        + sum(len(step.commands) for step in planned),
        keep_open=(lock,),
    )
    print(f"{place.name}: {method.title}\n  {method.paper}", flush=True)
    make_base(missing, demo, steps)
    lineage = Lineage(place.directory, recipe=place.name)
    run_steps(planned, lineage, steps, base=place.base)
    append(place.out, make_row(method, place, lineage))
    print(f"\n{markdown(read_rows(place.out))}\n\n{place.out / 'results.md'}, {lineage.file}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m launch.recipes", description=DESCRIPTION)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a recipe, or a .yaml file")
    parser.add_argument("--list", action="store_true", help="list the recipes and end")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and end")
    parser.add_argument(
        "--fresh", action="store_true", help="remove what earlier runs of this recipe made"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STEP.SETTING=VALUE",
        help="replace a setting of a train step's training recipe; may be repeated",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/recipes"), help="outputs and results table"
    )
    parser.add_argument(
        "--demo", type=Path, default=Path("runs/demo"), help="the demo's directory, shared"
    )
    parser.add_argument("--version", action="version", version=f"recipes (limbeck {__version__})")
    return parser


if __name__ == "__main__":
    run_command("launch.recipes", main)
