"""`python -m launch image cpu|gpu|dataflow --tag NAME`: builds a container image."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from launch.environment import project_root
from limbeck.config.command import parse
from limbeck.config.errors import UsageError

__all__ = ["build_commands", "image"]

Kind = Literal["cpu", "gpu", "dataflow"]


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Options of `image`."""

    kind: Annotated[Kind, tyro.conf.Positional]
    """cpu: everything, for nodes without GPUs. gpu: CUDA, and Horovod with NCCL. dataflow: the
    workers of Beam pipelines on Google Cloud."""
    tag: str
    """The image's name, such as registry.example/limbeck:1."""
    engine: Literal["docker", "podman"] = "docker"
    """The program that builds."""
    push: bool = False
    """Also push the image to the registry that its name says."""
    dry_run: bool = False
    """Print the commands and stop."""

    def check(self) -> None:
        """Refuses a name that no engine takes.

        Raises:
          UsageError: it is empty, begins with `-` or has blanks or capitals before its version.
        """
        name = self.tag.rpartition(":")[0] or self.tag
        path = name.partition("/")[2] or name
        if not self.tag or self.tag.startswith("-") or path != path.lower() or " " in self.tag:
            raise UsageError(
                f"--tag {self.tag!r}: not an image's name; such as registry.example/limbeck:1, in "
                "small letters"
            )


def image(argv: Sequence[str]) -> int:
    """Builds an image, printing the exact commands first.

    Returns:
      The exit code of the first command that failed; 0 where none did.

    Raises:
      UsageError: a name that cannot be, or no program that builds.
    """
    options = parse(
        ImageOptions,
        argv,
        prog="python -m launch image",
        description="Builds a container image from this checkout.",
    )
    options.check()
    commands = build_commands(options)
    for command in commands:
        print(shlex.join(command), file=sys.stdout if options.dry_run else sys.stderr, flush=True)
    if options.dry_run:
        return 0
    if shutil.which(options.engine) is None:
        raise UsageError(f"--engine {options.engine}: there is no such program on PATH")
    # BuildKit reads .dockerignore and builds only the stages that are needed.
    environment = {"DOCKER_BUILDKIT": "1", **os.environ}
    for command in commands:
        code = subprocess.run(command, env=environment).returncode
        if code:
            return code
    return 0


def build_commands(options: ImageOptions) -> list[list[str]]:
    """Returns the commands: one that builds, and one that pushes where that was asked for."""
    root = project_root()
    dockerfile = root / "launch" / "containers" / f"Dockerfile.{options.kind}"
    build = [options.engine, "build", "--file", str(dockerfile), "--tag", options.tag, str(root)]
    return [build, *([[options.engine, "push", options.tag]] if options.push else [])]
