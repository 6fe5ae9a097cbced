"""Lets Horovod search for its own best settings on these hosts, and writes them down as knobs.

    python -m bench.autotune [--num-ranks N] [--hosts a:8,b:8] [--out knobs.yaml]

The ranks sum gradients of the demo student's sizes while Horovod's autotuner tries values of tensor
fusion, cycle time and the rest (HOROVOD_AUTOTUNE, its CSV beside --out). The row with the highest
score becomes a file for `launch run --knobs`. Then the same work is timed with Horovod's own values
and with those found: autotuning scores bytes a second of noisy samples, so look at both before you
use them. Prints one JSON line last.
"""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from launch.environment import mpi_environment
from launch.jobs.hosts import parse_hosts
from launch.jobs.knobs import Knobs
from launch.jobs.mpirun import mpirun_command
from limbeck.config import yaml_file

SAMPLES_MORE = 10  # of hierarchy and cache, after those of fusion and cycle time
STEPS_OF_A_SAMPLE = 5  # medians of five measurements are scored
HOROVODS_CACHE = 1024


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    num_ranks: int = 2
    """How many ranks."""
    hosts: str = ""
    """Hosts and slots, such as a:8,b:8; default: this machine."""
    out: str = "runs/autotune/knobs.yaml"
    """Where the found knobs go; Horovod's CSV goes beside it."""
    max_samples: int = 12
    """Values of fusion and cycle time that are tried."""
    steps_per_sample: int = 4
    """Sums that make one measurement."""
    compute_ms: float = 20.0
    """Milliseconds of arithmetic before each sum."""
    hidden_dim: int = 192
    """Of the student whose gradients are summed."""
    num_layers: int = 3
    """Of the student."""
    check_steps: int = 100
    """Sums that are timed with each of the two settings afterwards; 0 for none."""


def run_ranks(options: Options, knobs: Knobs, *, steps: int) -> float:
    """Runs the ranks and returns the median milliseconds of a step."""
    work = [sys.executable, "-m", "bench._autotune_work", "--steps", str(steps)]
    for name in ("compute_ms", "hidden_dim", "num_layers"):
        work += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    line = mpirun_command(
        options.num_ranks,
        work,
        hosts=parse_hosts(options.hosts) if options.hosts else None,
        settings=knobs.environment(),
        environment=mpi_environment(),
        directory=os.getcwd(),
    )
    done = subprocess.run(line, env=mpi_environment(), stdout=subprocess.PIPE, text=True)
    found = [text for text in done.stdout.splitlines() if text.startswith("MS ")]
    if done.returncode or not found:
        sys.exit(f"bench.autotune: the ranks ended with {done.returncode}")
    return float(found[0].split()[1])


def best_row(path: Path) -> dict[str, float]:
    """Returns the row of Horovod's CSV with the highest score.

    Raises:
      ValueError: the search wrote no row.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    if not rows:
        raise ValueError(f"{path}: Horovod tried nothing; give more steps")
    plain = [{name: float(value) for name, value in row.items()} for row in rows]
    return max(plain, key=lambda row: row["score"])


def knobs_of(row: dict[str, float]) -> Knobs:
    """The settings of a row, as knobs."""
    return Knobs(
        fusion_threshold_mb=round(row["tensor_fusion_threshold"], 3),
        cycle_time_ms=round(row["cycle_time_ms"], 3),
        cache_capacity=HOROVODS_CACHE if row["cache_enabled"] else 0,
        hierarchical_allreduce=True if row["hierarchical_allreduce"] else None,
        hierarchical_allgather=True if row["hierarchical_allgather"] else None,
        torus_allreduce=True if row["torus_allreduce"] else None,
    )


def write_knobs(path: Path, knobs: Knobs, options: Options) -> None:
    """Writes the settings that are not left alone, and how they were found."""
    lines = yaml_file.dump(knobs).splitlines()
    given = [line for line in lines if line.partition(":")[0] in knobs.given()]
    where = options.hosts or "this machine"
    header = f"# Found by bench.autotune: {options.num_ranks} ranks on {where}, student of "
    header += f"{options.num_layers} layers of width {options.hidden_dim}.\n"
    path.write_text(header + "\n".join(given) + "\n")


def main() -> None:
    """Searches, writes, compares."""
    options = tyro.cli(Options, description=__doc__)
    out = Path(options.out).absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    log = out.with_suffix(".csv")
    search = Knobs(
        autotune=True,
        autotune_log=str(log),
        autotune_warmup_samples=1,
        autotune_steps_per_sample=options.steps_per_sample,
        autotune_max_samples=options.max_samples,
    )
    samples = 1 + options.max_samples + SAMPLES_MORE
    # Horovod's own count runs a step behind.
    steps = samples * STEPS_OF_A_SAMPLE * (options.steps_per_sample + 1)
    run_ranks(options, search, steps=steps)
    found = knobs_of(best_row(log))
    write_knobs(out, found, options)
    print(f"wrote {out}")
    result = {"bench": "autotune", "ranks": options.num_ranks, "found": found.given()}
    if options.check_steps:
        default = run_ranks(options, Knobs(), steps=options.check_steps)
        tuned = run_ranks(options, found, steps=options.check_steps)
        result |= {"default_ms": default, "found_ms": tuned}
    print(json.dumps({**result, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
