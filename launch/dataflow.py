"""`python -m launch dataflow [OPTIONS] -- VERB ARGUMENTS`: a Beam pipeline on Google Cloud.

Writes the command with every option that the pipeline needs there, and runs it.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from launch.environment import project_root
from launch.jobs.run_options import split_command
from limbeck.config.command import parse
from limbeck.config.errors import UsageError

__all__ = ["DataflowOptions", "dataflow", "dataflow_command"]

# Lower-case letters, digits and dashes, as Dataflow and Google Cloud want them.
_JOB = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_PIPELINES = project_root() / "beam_pipelines"
_VERB = re.compile(r"[a-z_]+")

_DESCRIPTION = (
    "Runs `python -m beam_pipelines VERB` on Google Cloud Dataflow. VERB ARGUMENTS are what "
    "`python -m beam_pipelines.VERB` takes, less its runner; every path has to be a gs:// one. "
    "Needs Beam's extra for Google Cloud (`pip install 'apache-beam[gcp]'`, in the version of "
    "requirements/base.lock) and credentials (`gcloud auth application-default login`). example: "
    "python -m launch dataflow --project my-project --region europe-west4 --temp "
    "gs://my-bucket/tmp --image europe-west4-docker.pkg.dev/my-project/images/limbeck:1 -- "
    "wikipedia --dump gs://my-bucket/enwiki.xml.bz2 --out gs://my-bucket/documents"
)


@dataclass(frozen=True, kw_only=True)
class DataflowOptions:
    """Options of `dataflow`."""

    project: Annotated[str, tyro.conf.arg(metavar="ID")]
    """The project that pays."""
    region: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """Where the workers run; that of the bucket, since traffic between regions costs."""
    temp: Annotated[str, tyro.conf.arg(metavar="gs://...")]
    """For what is staged and what is on its way."""
    image: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """Container with this package in it, which `python -m launch image dataflow` builds. Without
    one each worker installs the package and all it needs when it starts (setup_file), which takes
    minutes, and the versions are not those of the lock."""
    name: str = ""
    """Of the job; default: limbeck-VERB. Two jobs of one name cannot run at once."""
    max_workers: Annotated[int, tyro.conf.arg(metavar="N")] = 20
    """As many workers as may be started; Dataflow starts fewer where the work is little."""
    machine_type: Annotated[str, tyro.conf.arg(metavar="TYPE")] = "n2-standard-4"
    """Of a worker."""
    disk_gb: Annotated[int, tyro.conf.arg(metavar="N")] = 100
    """Disk of a worker: two to three times the largest shard, and what the image takes."""
    service_account: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """That the workers run as; default: the project's own."""
    subnetwork: Annotated[str, tyro.conf.arg(metavar="URL")] = ""
    """That they are in; default: the default network."""
    public_ips: bool = True
    """Workers with addresses of their own; without them they need a --subnetwork that reaches
    Google's services."""
    dry_run: bool = False
    """Print the command and stop."""

    def check(self) -> None:
        """Refuses what Dataflow would refuse later, or what would have no effect.

        Raises:
          UsageError: naming the option.
        """
        for option in ("project", "region", "machine_type"):
            if not getattr(self, option):
                raise UsageError(f"--{option.replace('_', '-')}: give it a value")
        if not re.fullmatch(r"gs://[^/]+(/.*)?", self.temp):
            raise UsageError(f"--temp must be a gs:// path, not {self.temp!r}")
        if self.name and not _JOB.fullmatch(self.name):
            raise UsageError(
                f"--name {self.name!r}: Dataflow takes small letters, digits and -, a letter first"
            )
        for option in ("max_workers", "disk_gb"):
            if getattr(self, option) < 1:
                value = getattr(self, option)
                raise UsageError(f"--{option.replace('_', '-')} {value}: must be at least 1")
        if not self.public_ips and not self.subnetwork:
            raise UsageError("--no-public-ips needs a --subnetwork")


def dataflow(argv: Sequence[str]) -> int:
    """Runs a pipeline on Dataflow, printing the exact command first.

    Returns:
      The exit code of the pipeline.

    Raises:
      UsageError: an option that cannot be, or no verb.
    """
    words, verb = split_command(argv, verb="dataflow")
    options = parse(
        DataflowOptions, words, prog="python -m launch dataflow", description=_DESCRIPTION
    )
    options.check()
    if not _VERB.fullmatch(verb[0]) or not (_PIPELINES / f"{verb[0]}.py").exists():
        raise UsageError(
            f"{verb[0]!r}: no pipeline; the verb comes first after `--`, and "
            "`python -m beam_pipelines` lists them"
        )
    command = dataflow_command(options, verb[0], verb[1:])
    print(shlex.join(command), file=sys.stdout if options.dry_run else sys.stderr, flush=True)
    return 0 if options.dry_run else subprocess.run(command).returncode


def dataflow_command(options: DataflowOptions, verb: str, arguments: Sequence[str]) -> list[str]:
    """Returns the command that runs the pipeline `verb` on Dataflow."""
    command = [sys.executable, "-m", f"beam_pipelines.{verb}", *arguments]
    return [*command, "--runner", "DataflowRunner", "--beam-options", *_beam_options(options, verb)]


def _beam_options(options: DataflowOptions, verb: str) -> list[str]:
    values = {
        "project": options.project,
        "region": options.region,
        "temp_location": options.temp,
        "staging_location": f"{options.temp.rstrip('/')}/staging",
        "job_name": options.name or f"limbeck-{verb.replace('_', '-')}",
        "max_num_workers": options.max_workers,
        "worker_machine_type": options.machine_type,
        "disk_size_gb": options.disk_gb,
        "experiments": "use_runner_v2",  # what custom containers need
        "sdk_container_image": options.image,
        # The image holds Beam and the package: nothing is staged.
        "sdk_location": "container" if options.image else "",
        "setup_file": "" if options.image else project_root() / "pyproject.toml",
        "service_account_email": options.service_account,
        "subnetwork": options.subnetwork,
    }
    flags = [f"{name}={value}" for name, value in values.items() if value != ""]
    return flags if options.public_ips else [*flags, "no_use_public_ips"]
