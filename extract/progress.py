"""How far a run is: a bar on a terminal, and the same numbers as JSON lines in OUT/metrics/."""

import json
import logging
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import tqdm

from extract.settings import METRICS_DIRECTORY
from extract.worker import Worker
from limbeck.runs import still_working
from limbeck.runs.progress import compact, duration

__all__ = ["Progress", "heartbeat_path", "metrics_path"]

LOG = logging.getLogger(__name__)
EVERY_S = 10.0  # between lines of the file


def metrics_path(out: str, worker: Worker) -> str:
    """File of a worker's metrics."""
    return os.path.join(out, METRICS_DIRECTORY, f"worker-{worker.index}-of-{worker.count}.jsonl")


def heartbeat_path(out: str) -> Path:
    """Directory of the workers' heartbeats, beside their metrics."""
    return Path(out) / METRICS_DIRECTORY


class Progress:
    """Counts what is done; any thread may tell it.

    Args:
      total_tokens: real tokens of all shards that are to be done.
      bare_slots_per_s: token slots a second of the bare forward pass; 0 where it is not known.
      path: JSON lines are added to it; a disk that takes none is no reason to stop.
      every_s: seconds between two lines.
    """

    def __init__(
        self,
        *,
        total_tokens: int,
        bare_slots_per_s: float = 0.0,
        path: str = "",
        every_s: float = EVERY_S,
    ) -> None:
        self._total_tokens = total_tokens
        self._bare_slots_per_s = bare_slots_per_s
        self._path = path
        self._every_s = every_s
        self._guard = threading.Lock()
        self._started_s = self._said_s = time.monotonic()
        self._tokens = self._slots = self._bytes = self._shards = 0
        self._bar = tqdm.tqdm(
            total=total_tokens, unit="tok", unit_scale=True, disable=None, desc="extract"
        )

    def __enter__(self) -> "Progress":
        """Writes the first line."""
        self._write("start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Writes the last line."""
        self._bar.close()
        self._write("end" if error is None else "failed")

    def batch(self, *, tokens: int, slots: int) -> None:
        """A batch was computed: so many real tokens in so many slots."""
        with self._guard:
            self._tokens += tokens
            self._slots += slots
        still_working()
        self._bar.update(tokens)
        if time.monotonic() - self._said_s >= self._every_s:
            self._said_s = time.monotonic()
            self._bar.set_postfix_str(self._words())
            self._write("progress")

    def shard(self, *, num_bytes: int) -> None:
        """A shard was written in all families: so many bytes."""
        with self._guard:
            self._shards += 1
            self._bytes += num_bytes
            done = self._shards
        still_working(step=done)

    def numbers(self) -> dict[str, float]:
        """Totals since the start and rates over all of it; units stand in the names."""
        seconds = max(time.monotonic() - self._started_s, 1e-9)
        with self._guard:
            tokens, slots, written = self._tokens, self._slots, self._bytes
            shards = self._shards
        rate = tokens / seconds
        left = max(0, self._total_tokens - tokens)
        found: dict[str, float] = {
            "seconds": seconds,
            "tokens": tokens,
            "tokens_total": self._total_tokens,
            "token_slots": slots,
            "tokens_per_s": rate,
            "shards": shards,
            "bytes": written,
            "bytes_per_s": written / seconds,
        }
        if rate:
            found["left_s"] = left / rate
        if self._bare_slots_per_s:
            found["utilisation"] = slots / seconds / self._bare_slots_per_s
        return {name: round(value, 4) for name, value in found.items()}

    def summary(self) -> str:
        """`38.2k tokens/s, 93 % of the bare forward, 1.2 MB/s`."""
        numbers = self.numbers()
        return f"{compact(numbers['tokens_per_s'])} tokens/s, {self._words()}"

    def _words(self) -> str:
        numbers = self.numbers()
        words = [f"{numbers['bytes_per_s'] / 1e6:.1f} MB/s"]
        if "utilisation" in numbers:
            words.insert(0, f"{100 * numbers['utilisation']:.0f} % of the bare forward")
        if numbers.get("left_s"):
            words.append(f"{duration(numbers['left_s'])} left")
        return ", ".join(words)

    def _write(self, event: str) -> None:
        if not self._path:
            return
        line: dict[str, Any] = {"event": event, "wall_time": round(time.time(), 3)}
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(self._path, "ab") as file:
                file.write(json.dumps({**line, **self.numbers()}).encode() + b"\n")
        except OSError as error:  # labels have their own errors for a full disk
            LOG.warning("%s: no metrics: %s", self._path, error)
            self._path = ""
