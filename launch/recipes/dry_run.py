"""What a recipe would do: its commands, as a shell takes them, without running any."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from launch.environment import environment_prefix, mpi_environment
from launch.jobs.mpirun import mpirun_command
from launch.recipes.method import Method
from launch.recipes.names import BASE
from launch.recipes.place import Place
from launch.recipes.plan import Command, Planned

__all__ = ["dry_lines"]


def dry_lines(method: Method, place: Place, planned: Sequence[Planned], *, demo: Path) -> list[str]:
    """The lines that --dry-run prints: pasted into a shell, they do the recipe's steps.

    Args:
      method: the recipe.
      place: where it stands.
      planned: its steps.
      demo: directory of the shared base.
    """
    names = {name for step in planned for name in step.parents}
    used = [name for name in BASE if name in names]
    lines = [f"# {place.name}: {method.title}", *_exports()]
    if used:
        lines += ["", "# what recipes share, made where it is missing"]
        lines += [f"# ${name} = {place.base[name]}  ({BASE[name]})" for name in used]
        lines += [f"python -m launch.recipes.base --demo {shlex.quote(str(demo))} {' '.join(used)}"]
    made: set[Path] = set()
    for step in planned:
        lines += ["", f"# {step.name} ({step.step.step}) -> {step.output}"]
        if step.directory not in made:
            lines += [f"mkdir -p {shlex.quote(str(step.directory))}"]
            made.add(step.directory)
        for path, text in step.writes.items():
            lines += [f"cat > {shlex.quote(path)} <<'END'", *text.splitlines(), "END"]
        lines += [_shell_line(command) for command in step.commands]
    return lines


def _exports() -> list[str]:
    """The variables that the runner gives to commands, where the shell may lack them."""
    lines = [f'export PATH={shlex.quote(str(environment_prefix() / "bin"))}:"$PATH"']
    prefix = mpi_environment().get("OPAL_PREFIX")
    return lines if prefix is None else [*lines, f"export OPAL_PREFIX={shlex.quote(prefix)}"]


def _shell_line(command: Command) -> str:
    line = ["python", "-m", *command.arguments]
    return shlex.join(mpirun_command(command.ranks, line) if command.ranks > 1 else line)
