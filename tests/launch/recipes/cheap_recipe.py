"""Three steps of cheap commands, run as a process of its own: `cheap_recipe.py OUT [SLOW]`."""

import sys
from pathlib import Path

from launch.holding import holding
from launch.recipes.lineage import Lineage
from launch.recipes.method import Prepare
from launch.recipes.plan import Command, Planned
from launch.recipes.runner import run_steps
from launch.steps import Steps

NAMES = ("a", "b", "c")


def steps(out: Path, *, slow: str = "", texts: dict[str, str] | None = None) -> list[Planned]:
    """a -> b -> c; `slow` is the one that takes half a minute."""
    texts = texts or {}
    return [
        Planned(
            step=Prepare(name=name, command="text"),
            output=out / name,
            commands=(
                Command(
                    name=name,
                    title=f"make {name}",
                    arguments=("cheap_step", str(out / name), texts.get(name, name))
                    + (("30",) if name == slow else ()),
                ),
            ),
            parents=NAMES[:index][-1:],
        )
        for index, name in enumerate(NAMES)
    ]


def shared_step(directory: Path, text: str) -> Planned:
    """A step made of `a`, that recipes share: DIRECTORY/key/run."""
    output = directory / "key" / "run"
    arguments = ("cheap_step", str(output), text, "0", str(directory / "run.starts"))
    return Planned(
        step=Prepare(name="run", command="text"),
        output=output,
        commands=(Command(name="run", title="make run", arguments=arguments),),
        parents=("a",),
        shared=True,
    )


def run(out: Path, planned: list[Planned]) -> Lineage:
    lineage = Lineage(out, recipe="cheap")
    with holding(out) as lock:
        commands = Steps(log_directory=out / "logs", total=len(planned), keep_open=(lock,))
        run_steps(planned, lineage, commands, base={})
    return lineage


if __name__ == "__main__":
    run(Path(sys.argv[1]), steps(Path(sys.argv[1]), slow=sys.argv[2] if sys.argv[2:] else ""))
