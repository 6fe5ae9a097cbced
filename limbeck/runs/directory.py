"""A run's directory: what is in it, and whose it is.

config.json     the resolved settings; another run's settings are refused
metrics.jsonl   one JSON object a line (`limbeck.runs.metrics`)
tensorboard/    the same values for TensorBoard
checkpoints/    written by the trainer
ledger.jsonl    proofs that the ranks fed the rows of the order
nonfinite.jsonl, quarantine.jsonl   rows of updates that were left out, and bad records, if any
stages/         of a run in stages: a run of its own for each; lineage.json says what they started
                from (`train.staged`)
lock            held while a process trains here
heartbeat/      one small file a rank (`limbeck.runs.heartbeat`)
logs/           one file a rank, when asked for
supervise.jsonl, supervise.log   starts, ends and reasons, and what the ranks printed, where
                `launch supervise` watched the run
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.canonical import differences, parse, plain
from limbeck.records.files import atomic_write

__all__ = ["RunDirectory"]


class RunDirectory:
    """Paths of a run and its settings. Making one touches nothing on disk."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Names the directory; `take` creates it."""
        self.path = Path(path)

    @property
    def config_file(self) -> Path:
        """The resolved settings, as JSON."""
        return self.path / "config.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Directory of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """Directory of checkpoints."""
        return self.path / "checkpoints"

    @property
    def heartbeat(self) -> Path:
        """Directory of one heartbeat file a rank."""
        return self.path / "heartbeat"

    @property
    def logs(self) -> Path:
        """Directory of log files."""
        return self.path / "logs"

    @property
    def supervision(self) -> tuple[Path, Path]:
        """Of a supervised run: one JSON object for each start and end; the output of all ranks."""
        return self.path / "supervise.jsonl", self.path / "supervise.log"

    def take(self, config: Mapping[str, Any]) -> None:
        """Creates the directory for these settings, or checks that it is theirs already.

        Args:
          config: resolved settings as plain values (`limbeck.config.yaml_file.to_plain`).

        Raises:
          UsageError: the directory holds a run with other settings (all differences are listed),
            or files but no run, or cannot be created.
        """
        here = plain(dict(config), "config")
        if self.config_file.exists():
            if changes := differences(self.read_config(), here):
                raise UsageError(
                    f"{self.path} holds a run with other settings: {'; '.join(changes)}; "
                    "choose another directory or delete it"
                )
        elif self.path.is_dir() and (foreign := self._foreign_files()):
            raise UsageError(
                f"{self.path} holds {foreign[0]!r} but no config.json, so it is not a run's "
                "directory; choose another one"
            )
        try:
            for directory in (self.tensorboard, self.checkpoints, self.heartbeat, self.logs):
                directory.mkdir(parents=True, exist_ok=True)
            if not self.config_file.exists():
                text = json.dumps(here, indent=2, allow_nan=False) + "\n"
                atomic_write(self.config_file, text.encode("utf-8"))
        except OSError as error:
            raise UsageError(f"{error.filename or self.path}: {error.strerror}") from error

    def read_config(self) -> dict[str, Any]:
        """Returns the settings in config.json, as plain values.

        Raises:
          UsageError: there is none, or it is not a JSON object.
        """
        try:
            config = parse(self.config_file.read_bytes(), str(self.config_file))
        except OSError as error:
            raise UsageError(f"{self.config_file}: {error.strerror}; is it a run?") from error
        except LimbeckError as error:
            raise UsageError(str(error)) from error
        if not isinstance(config, dict):
            raise UsageError(f"{self.config_file}: not a JSON object")
        return config

    @property
    def config_hash(self) -> str:
        """First 12 hex digits of the SHA-256 of config.json: ties lines and files to the run."""
        return hashlib.sha256(self.config_file.read_bytes()).hexdigest()[:12]

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the run for this process; the system lets go of it however the process ends.

        Raises:
          UsageError: another process holds it.
        """
        with open(self.path / "lock", "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"{self.path} is in use by another process; wait for it or choose another "
                    "directory"
                ) from None
            yield

    def _foreign_files(self) -> list[str]:
        """Names in a directory without settings, beyond what a run killed at birth leaves."""
        ours = {self.tensorboard, self.checkpoints, self.heartbeat, self.logs}
        ours |= {self.path / "lock", *self.supervision}
        return sorted(
            entry.name
            for entry in self.path.iterdir()
            if entry not in ours and ".tmp-" not in entry.name
        )
