"""Ranks of a run compared with each other before it starts: code, recipe, data, run directory.

On several hosts each of them can differ without anything failing: weights would be of two versions
of a loss, gradients of two datasets, and a restart on other hosts would find no checkpoint. All
ranks exchange what they have; where it differs, one line says what, and where, and all leave.

Ranks other than the leader need little of the run's directory: they write a heartbeat there, and
get checkpoints from the leader. It has to be one directory all the same: who watches a run sees no
other host's heartbeats otherwise, and a run that goes on after its first host was lost, or with the
hosts in another order, would silently start from nothing.
"""

import hashlib
import importlib.metadata
import json
import platform
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import limbeck
from limbeck import ranks
from limbeck.config import yaml_file
from limbeck.config.errors import UsageError
from limbeck.ranks import World
from limbeck.records.canonical import sha256_of
from limbeck.records.dataset import Dataset
from train.inputs import Inputs
from train.recipe import Recipe
from train.recipe.plugins import fingerprints

__all__ = ["different", "prepare_alike", "traits"]

T = TypeVar("T")

# A client of a network file system may not see for some seconds what another one has made.
SEEN_WITHIN_S = 10.0
NAMED_HOSTS = 3  # of a value, in a message
NAMED_DIFFERENCES = 3
DIGITS = 12  # of a hash, in a message


def prepare_alike(
    world: World,
    recipe: Recipe,
    run_dir: str | Path,
    prepare: Callable[[], T],
    *,
    opened: Callable[[T], Iterable[Inputs]],
    prog: str,
) -> T:
    """Runs `prepare` on all ranks as `ranks.agree`, and goes on only where they are alike.

    With several ranks, what differs ends all of them with exit code 2 and one line.

    Args:
      world: this process's place.
      recipe: as this rank has read it.
      run_dir: of the run; `prepare` makes it on the leader.
      prepare: opens what the run reads; must use no collective.
      opened: what `prepare` has opened, of its result.
      prog: name before the message.
    """
    if world.size == 1:
        return prepare()
    _compare(world, _code(recipe), "make them equal on all hosts and start again", prog=prog)
    _compare_recipes(world, recipe, prog=prog)
    result = ranks.agree(world, prepare, prog=prog)
    data = {name: value for inputs in opened(result) for name, value in _data(inputs).items()}
    _compare(world, data, "copy the same files to all hosts", prog=prog)
    _share_directory(world, Path(run_dir).absolute(), prog=prog)
    return result


def different(hosts: Sequence[str], values: Sequence[Mapping[str, str]]) -> list[str]:
    """What the ranks do not agree on, as `keras is 3.15.1 on a (rank 0) and 3.14.0 on b (rank 1)`.

    Args:
      hosts: name of each rank's host.
      values: of each rank, by name; one that a rank lacks is `missing` there.
    """
    found = []
    for name in dict.fromkeys(name for mine in values for name in mine):
        of_value: dict[str, list[int]] = {}
        for rank, mine in enumerate(values):
            of_value.setdefault(mine.get(name, "missing"), []).append(rank)
        if len(of_value) > 1:
            parts = [f"{value} on {_places(hosts, own)}" for value, own in of_value.items()]
            found.append(f"{name} is {' and '.join(parts)}")
    return found


def _places(hosts: Sequence[str], own: Sequence[int]) -> str:
    """Hosts of these ranks with their ranks: `node1 (rank 0 and 3 more), node2 (rank 4)`."""
    of_host: dict[str, list[int]] = {}
    for rank in own:
        of_host.setdefault(hosts[rank], []).append(rank)
    texts = []
    for host, (first, *others) in list(of_host.items())[:NAMED_HOSTS]:
        more = f" and {len(others)} more" if others else ""
        texts.append(f"{host} (rank {first}{more})")
    if len(of_host) > NAMED_HOSTS:
        texts.append(f"{len(of_host) - NAMED_HOSTS} more hosts")
    return ", ".join(texts)


def _compare(world: World, mine: Mapping[str, str], advice: str, *, prog: str) -> None:
    """Ends all ranks with one line where values differ; a collective."""
    hosts, values = _exchanged(dict(mine))
    changes = different(hosts, values)
    if changes:
        more = len(changes) - NAMED_DIFFERENCES
        shown = changes[:NAMED_DIFFERENCES] + ([f"{more} more"] if more > 0 else [])
        _refuse(world, f"the ranks differ: {'; '.join(shown)}; {advice}", prog=prog)


def _compare_recipes(world: World, recipe: Recipe, *, prog: str) -> None:
    """As `_compare`, for every setting; only where hashes differ do the recipes travel."""
    plain = yaml_file.to_plain(recipe)
    _, hashes = _exchanged(sha256_of(plain))
    if len(set(hashes)) > 1:
        settings = dict(_flat(plain, ""))
        _compare(world, settings, "give all hosts the same recipe file", prog=prog)


def _share_directory(world: World, directory: Path, *, prog: str) -> None:
    """Ends all ranks where one does not see what the leader writes to the directory."""
    # A name that no client of a file system can remember as absent; `.tmp-` marks leftovers.
    name = f"shared.tmp-{secrets.token_hex(8)}" if world.is_leader else ""
    token = ranks.agree(world, lambda: _made(directory / name) if name else None, prog=prog)
    _, names = _exchanged(name)
    hosts, seen = _exchanged(_appears(directory / names[0], within_s=SEEN_WITHIN_S))
    if token is not None:
        token.unlink(missing_ok=True)
    if blind := [rank for rank, sees in enumerate(seen) if not sees]:
        _refuse(
            world,
            f"{directory}: not the same directory on {_places(hosts, blind)} as on "
            f"{_places(hosts, [0])}, which writes checkpoints there; heartbeats, and a restart on "
            "other hosts, need one that all hosts share: mount it, or choose another --run-dir",
            prog=prog,
        )


def _made(path: Path) -> Path:
    path.touch()
    return path


def _appears(path: Path, *, within_s: float) -> bool:
    """Whether a file is there, or comes within so many seconds."""
    deadline = time.monotonic() + within_s
    while not path.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _exchanged(mine: Any) -> tuple[list[str], list[Any]]:
    """Hosts and values of all ranks; a collective."""
    text = json.dumps([socket.gethostname(), mine])
    answers = [json.loads(answer) for answer in ranks.gather_bytes(text.encode())]
    return [host for host, _ in answers], [value for _, value in answers]


def _refuse(world: World, message: str, *, prog: str) -> None:
    """Ends all ranks with one line of the leader's."""

    def fail() -> None:
        raise UsageError(message)

    ranks.agree(world, fail, prog=prog)


def _code(recipe: Recipe) -> dict[str, str]:
    """Versions of what computes, and hashes of our own sources and of the recipe's plugins."""
    import tensorflow as tf  # there already: a rank has joined the others

    packages = {name: importlib.metadata.version(name) for name in ("keras", "numpy", "horovod")}
    plugins = fingerprints(recipe.plugins)
    return {
        "Python": platform.python_version(),
        "limbeck": limbeck.__version__,
        "the code of limbeck and train": _sources_hash(),
        "tensorflow": tf.__version__,
        **packages,
        **{f"plugin {name}": value[:DIGITS] for name, value in plugins.items()},
    }


def _sources_hash() -> str:
    """Of all modules of the packages that train: a checkout may differ within one version."""
    digest = hashlib.sha256()
    for package in ("limbeck", "train"):
        root = Path(str(sys.modules[package].__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(root)}".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:DIGITS]


def _data(inputs: Inputs) -> dict[str, str]:
    """What every dataset is, by its directory, and the student and the live teacher."""
    datasets: list[Dataset] = [d for part in inputs.corpora.parts for d in part.datasets]
    for examples, families in inputs.heldout_sets.values():
        datasets += [examples, *(family.dataset for family in families.values())]
    found = {f"dataset {dataset.directory}": dataset.id[:DIGITS] for dataset in datasets}
    # Its weights need not be compared: all ranks get the leader's.
    student = f"the shape of {inputs.recipe.model.checkpoint or 'the student'}"
    found[student] = sha256_of(inputs.plan.to_plain())[:DIGITS]
    if inputs.live is not None:
        found[f"teacher {inputs.live.facts.where}"] = inputs.live.facts.fingerprint[:DIGITS]
    return found


def _flat(value: Any, path: str) -> Iterable[tuple[str, str]]:
    """Settings by their paths, such as `objective[0].weight`."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{index}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)


def traits(recipe: Recipe, inputs: Inputs) -> dict[str, str]:
    """What has to be equal on all ranks, by name: code, settings, data."""
    settings = {"the recipe": sha256_of(yaml_file.to_plain(recipe))[:DIGITS]}
    return {**_code(recipe), **settings, **_data(inputs)}
