"""`python -m launch.recipes`: runs a recipe of several steps and compares it with its baseline."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from launch.holding import holding
from launch.recipes.base import DEMO, base_paths, provide_base
from launch.recipes.catalogue import files, find, listing, load, name_of
from launch.recipes.checks import check_steps
from launch.recipes.dry_run import dry_lines
from launch.recipes.lineage import Lineage, recipe_file_of
from launch.recipes.method import Method
from launch.recipes.names import BASE
from launch.recipes.place import Place
from launch.recipes.plan import Planned, plan
from launch.recipes.results import append, make_row, markdown, read_rows
from launch.recipes.runner import run_steps
from launch.recipes.written import with_settings
from limbeck import __version__
from limbeck.config.command import run_command
from limbeck.config.errors import UsageError

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
    name = name_of(path)
    method = with_settings(load(path), options.set)
    place = Place(
        name=name, folder=path.with_suffix(""), out=options.out, base=base_paths(options.demo)
    )
    planned = plan(method, place)
    file = "" if name in files() else str(path.resolve())
    _refuse_of_another(place, file)
    if options.dry_run:
        check_steps(method, planned)
        print("\n".join(dry_lines(method, place, planned, demo=options.demo)))
        return 0
    fresh = options.fresh
    check_steps(method, planned, done=() if fresh else _lineage(place, file).outputs)
    with holding(place.out) as lock:
        if fresh:
            shutil.rmtree(place.directory, ignore_errors=True)
        _run(method, place, planned, _lineage(place, file), options, lock=lock)
    return 0


def _lineage(place: Place, file: str) -> Lineage:
    return Lineage(place.directory, recipe=place.name, recipe_file=file)


def _refuse_of_another(place: Place, file: str) -> None:
    """Two recipes of one's own may have the same name, but not the same outputs."""
    other = recipe_file_of(place.directory)
    if other not in ("", file) and Path(other).exists():
        raise UsageError(
            f"{place.directory} holds what {other} made; rename this recipe, or give another --out"
        )


def _run(
    method: Method,
    place: Place,
    planned: Sequence[Planned],
    lineage: Lineage,
    options: argparse.Namespace,
    *,
    lock: int,
) -> None:
    print(f"{place.name}: {method.title}\n  {method.paper}", flush=True)
    steps = provide_base(
        {name for step in planned for name in step.parents if name in BASE},
        options.demo,
        log_directory=place.directory / "logs",
        num_later=sum(len(step.commands) for step in planned),
        keep_open=(lock,),
    )
    run_steps(planned, lineage, steps, base=place.base)
    append(place.out, make_row(method, place, lineage, settings=options.set))
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
        help="replace a setting of a step's training or extraction recipe; may be repeated",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/recipes"), help="outputs and results table"
    )
    parser.add_argument("--demo", type=Path, default=DEMO, help="the demo's directory, shared")
    parser.add_argument("--version", action="version", version=f"recipes (limbeck {__version__})")
    return parser


if __name__ == "__main__":
    run_command("launch.recipes", main)
