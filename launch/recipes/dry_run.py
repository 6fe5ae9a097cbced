"""What a recipe would do: its commands, exactly, without running any."""

from collections.abc import Sequence

from launch.recipes.method import Method
from launch.recipes.names import BASE
from launch.recipes.place import Place
from launch.recipes.plan import Planned
from launch.recipes.runner import command_line

__all__ = ["dry_lines"]


def dry_lines(method: Method, place: Place, planned: Sequence[Planned]) -> list[str]:
    """The lines that --dry-run prints."""
    used = {name for step in planned for name in step.parents}
    lines = [f"# {place.name}: {method.title}"]
    lines += [f"# ${n} = {place.base[n]}  ({what})" for n, what in BASE.items() if n in used]
    for step in planned:
        lines += ["", f"# {step.name} ({step.step.step}) -> {step.output}"]
        for path, text in step.writes.items():
            lines += [f"cat > {path} <<'END'", *text.splitlines(), "END"]
        lines += [command_line(command) for command in step.commands]
    return lines
