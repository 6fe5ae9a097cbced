"""`python -m launch plan RECIPE --hosts 4x8`: what a job moves, and how well it will scale.

The recipe's side comes from `python -m train plan`, which is run as a command;
`launch.planning.network` has the formulas of the network's side.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from launch.files import write_text_atomically
from launch.planning.measured import measured_run
from launch.planning.network import COMMON_NETWORKS, Cluster, Network, parse_cluster, parse_network
from launch.planning.prediction import Prediction, Setting, predict, prediction_lines
from limbeck.config.command import parse
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.runs.progress import duration

__all__ = ["PlanOptions", "plan"]


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Options of `plan`."""

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE.yaml")]
    """Training recipe, a YAML file; its data must be there, of which manifests and indexes are
    read."""

    hosts: str
    """HOSTSxRANKS, such as 4x8 for 4 hosts of 8 ranks each."""

    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A setting of the recipe replaced, such as training.global_batch=4096; may be repeated."""

    network: str | None = None
    """Link of each host in one direction: 25GbE, 100Gb/s, 12.5GB/s. Left out: 10, 25, 100 and 400
    Gb/s side by side. Take what you measured where you can: protocols cost 5 to 20 percent."""

    inside: str | None = None
    """Link between the ranks of a host. Given: gradients are reduced hierarchically, inside hosts
    and then between them (HOROVOD_HIERARCHICAL_ALLREDUCE=1); left out: one ring over all ranks."""

    latency_us: float = 0.0
    """Microseconds that a message takes besides its bytes; 0 counts bytes alone."""

    step_s: float | None = None
    """Measured seconds of one update on one rank with its share of the batch, all micro-batches,
    without communication."""

    flops_per_s: float | None = None
    """In place of --step-s: operations a second that a rank sustains (its peak times the share of
    it that training reaches), such as 60e12."""

    run: str | None = None
    """In place of --step-s: directory of a run of the same model; its metrics tell how long a row
    took, on any number of ranks."""

    json: str | None = None
    """File that all numbers are written to as JSON."""


def plan(argv: Sequence[str]) -> int:
    """Predicts bytes, communication, efficiency, reading and time of a training job."""
    options = parse(PlanOptions, argv, prog="python -m launch plan", description=plan.__doc__ or "")
    cluster, networks, inside = _links(options)
    _check_numbers(options)
    with tempfile.TemporaryDirectory(prefix="limbeck-plan-") as scratch:
        out = Path(scratch) / "plan.json"
        code = subprocess.run(_train_plan(options, cluster, out)).returncode
        if code:
            return code  # the command has said why
        found = json.loads(out.read_text())
    tables = [
        list(_predictions(stage, options, cluster, networks, inside)) for stage in found["stages"]
    ]
    print("\n".join(_report(found, tables, options, cluster, inside)))
    if options.json is not None:
        _write(options.json, found, tables, cluster)
    return 0


def _links(options: PlanOptions) -> tuple[Cluster, tuple[Network, ...], Network | None]:
    """Cluster, networks and inside link; refuses what has no effect."""
    cluster = parse_cluster(options.hosts)
    inside = None if options.inside is None else parse_network(options.inside, option="--inside")
    if cluster.size == 1 and (options.network or inside or options.latency_us):
        raise UsageError("--hosts 1x1: one rank exchanges nothing; leave network options out")
    if cluster.hosts == 1 and options.network:
        raise UsageError(
            f"--network has no effect on one host (--hosts {options.hosts}); say how fast its "
            "ranks exchange gradients with --inside"
        )
    if cluster.ranks_per_host == 1 and inside is not None:
        raise UsageError(f"--inside has no effect with one rank a host (--hosts {options.hosts})")
    if cluster.hosts == 1:
        return cluster, (() if inside is None else (inside,)), inside
    if options.network is None:
        return cluster, COMMON_NETWORKS, inside
    return cluster, (parse_network(options.network),), inside


def _check_numbers(options: PlanOptions) -> None:
    given = [
        name for name in ("step_s", "flops_per_s", "run") if getattr(options, name) is not None
    ]
    if len(given) > 1:
        names = " and ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(f"{names} say the same thing; give one of them")
    for name in ("step_s", "flops_per_s"):
        value = getattr(options, name)
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be above 0")
    if not 0 <= options.latency_us < float("inf"):
        raise UsageError(f"--latency-us is {options.latency_us}; it must be at least 0")
    if options.json is not None and not Path(options.json).absolute().parent.is_dir():
        raise UsageError(f"--json: {Path(options.json).parent} is no directory; make it first")


def _train_plan(options: PlanOptions, cluster: Cluster, out: Path) -> list[str]:
    overrides = [part for assignment in options.set for part in ("--set", assignment)]
    command = [sys.executable, "-m", "train", "plan", options.recipe, *overrides]
    return [*command, "--ranks", str(cluster.size), "--json", str(out)]


def _predictions(
    stage: Mapping[str, Any],
    options: PlanOptions,
    cluster: Cluster,
    networks: Sequence[Network],
    inside: Network | None,
) -> Iterator[Prediction]:
    """Every network with the recipe's wire, then with the other; none where nothing travels."""
    setting = Setting(
        cluster=cluster,
        inside=inside,
        latency_s=1e-6 * options.latency_us,
        compute_s=_compute_s(stage, options, cluster),
    )
    if cluster.size == 1:
        alone = Network(name="none: one rank", bytes_per_s=float("inf"))
        yield predict(stage, alone, setting, wire=stage["wire"])
        return
    other = "float32" if stage["wire"] == "float16" else "float16"
    for network in networks:
        for wire in (stage["wire"], other):
            yield predict(stage, network, setting, wire=wire)


def _compute_s(stage: Mapping[str, Any], options: PlanOptions, cluster: Cluster) -> float | None:
    """Seconds of an update on one rank without communication; None where nobody said."""
    if options.run is not None:
        rows = stage["micro_batches"] * stage["rows_per_micro"]
        return measured_run(options.run, stage).compute_seconds(rows)
    if options.flops_per_s is not None:
        if stage["live_teacher"]:
            raise UsageError(
                "--flops-per-s: the recipe has a live teacher, whose operations are not counted; "
                "measure a step and give --step-s"
            )
        return float(stage["training_flops"]) / cluster.size / options.flops_per_s
    return options.step_s


def _report(
    found: Mapping[str, Any],
    tables: Sequence[Sequence[Prediction]],
    options: PlanOptions,
    cluster: Cluster,
    inside: Network | None,
) -> Iterator[str]:
    """What is printed below the recipe's own numbers."""
    how = "one ring over all ranks"
    if inside is not None and cluster.hosts > 1:
        how = f"reduced inside hosts ({inside.name}), then between them"
    yield f"cluster   {cluster}" + (f"; gradients: {how}" if cluster.size > 1 else "")
    for stage, table in zip(found["stages"], tables, strict=True):
        yield ""
        yield from [f"stage     {stage['name']}"] if stage["name"] else []
        yield from _assumed(stage, options, cluster)
        if table:
            yield from prediction_lines(table)
        else:
            yield "one host: give --inside, such as 300GB/s, for the time of its reductions"
    if len(tables) > 1 and all(p.seconds is not None for table in tables for p in table):
        yield ""
        for row in zip(*tables, strict=True):
            if len({p.wire for p in row}) == 1:
                total = sum(p.seconds or 0.0 for p in row)
                yield f"all stages over {row[0].network}, {row[0].wire}: {duration(total)}"


def _assumed(stage: Mapping[str, Any], options: PlanOptions, cluster: Cluster) -> Iterator[str]:
    """Where the seconds of computation come from."""
    compute_s = _compute_s(stage, options, cluster)
    if compute_s is None:
        yield "compute   unknown: give --step-s, --flops-per-s or --run for efficiency and time"
        return
    source = "as given" if options.step_s is not None else ""
    if options.flops_per_s is not None:
        each = stage["training_flops"] / cluster.size
        source = f"{each:.4g} operations a rank at {options.flops_per_s:.4g} a second"
    if options.run is not None:
        measured = measured_run(options.run, stage)
        source = str(measured)
        for change in measured.changes[:3]:
            print(
                f"launch plan: warning: {measured.directory}: {change} (run there, plan here)",
                file=sys.stderr,
            )
    yield f"compute   {compute_s:.4g} s a step on each rank ({source})"


def _write(
    path: str, found: Mapping[str, Any], tables: Sequence[Sequence[Prediction]], cluster: Cluster
) -> None:
    value = {
        "plan": found,
        "cluster": {**dataclasses.asdict(cluster), "ranks": cluster.size},
        "predictions": [
            {"stage": stage["name"], **dataclasses.asdict(prediction)}
            for stage, table in zip(found["stages"], tables, strict=True)
            for prediction in table
        ],
    }
    try:
        write_text_atomically(Path(path), json.dumps(value, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        raise LimbeckError(f"{path}: {error.strerror}") from error
