"""The stream against tf.data, over corpus sizes, at resume, and beside other loaders.

    python -m bench.stream [--parts read resume memory peers] [--peers DIR]

read     random rows, checked, against `tf.data` going through the same files in order; see
         `bench._stream_read`. Goal: >= 1.2.
resume   seconds to the rows of the first batch of 256 after a resume at N = 10^6 ... 10^12, by
         both orders and a mixture; bytes of the state; records read before that batch. Goals:
         <= 5 ms, <= 512 B, 0.
memory   private memory of a process that opens a corpus and reads 300 batches, over 10^4, 10^5 and
         `--memory-rows` rows. Goal: flat.
peers    the same records through mosaicml-streaming (MDS) and grain (ArrayRecord), where DIR holds
         them: seconds from nothing to the first batch, records a second, whether 1, 2 and 3 ranks
         see the same global batches, seconds to the next batch after a resume in mid-epoch.

The page cache is warm throughout. Prints one JSON line a part, last.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tyro

from bench._stream_read import BATCH, input_layout, measure_read, write
from limbeck.order import Mixture, Order, StreamState, TwoLevel
from limbeck.records.dataset import Dataset

Part = Literal["read", "resume", "memory", "peers"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    parts: tuple[Part, ...] = ("read", "resume", "memory")
    """What is measured."""
    rows: int = 65_536
    """Records of the corpora that are read."""
    blocks: int = 7
    """Pairs of blocks."""
    threads: tuple[int, ...] = (1, 2)
    """Reading threads, of both sides."""
    memory_rows: int = 1_000_000
    """Largest corpus whose memory is measured; 10^7 takes 2 GB of disk and some minutes."""
    peers: str | None = None
    """Folder with mosaicml-streaming, grain and array_record (`pip install --target DIR`)."""


def records_before_first_batch() -> int:
    """Records that a stream reads after a resume beyond those of its first batch."""
    with tempfile.TemporaryDirectory() as directory:
        dataset = write(f"{directory}/corpus", input_layout(32), 5000)
        read, asked = Dataset.read, [0]

        def counted(self: Dataset, rows: Any) -> Any:
            asked[0] += len(rows)
            return read(self, rows)

        Dataset.read = counted  # type: ignore[method-assign]
        try:
            state = Order(5000, 3).batch_rows(12_345, BATCH)
            dataset.read(state.rows)
        finally:
            Dataset.read = read  # type: ignore[method-assign]
        dataset.close()
        return asked[0] - BATCH


def measure_resume(options: Options) -> dict[str, Any]:
    """The first batch after a resume."""
    out: dict[str, Any] = {
        "goal_ms": 5,
        "goal_bytes": 512,
        "records_read_before": records_before_first_batch(),
    }
    for exponent in (6, 7, 8, 9, 10, 11, 12):
        size = 10**exponent
        orders: dict[str, Order | Mixture] = {
            "full": Order(size, 3),
            "two_level": Order(size, 3, two_level=TwoLevel()),
            "mixture": Mixture(
                (Order(size // 2, 3, name="a"), Order(size // 3, 3, name="b")), (3, 2)
            ),
        }
        for name, order in orders.items():
            times = []
            for attempt in range(9):
                position = 2 * size + size // 2 + attempt
                state = StreamState(
                    dataset_ids=tuple(f"{i:064x}" for i in range(8)),
                    seed=3,
                    boundary="run_on",
                    epoch=order.epoch_of(position),
                    position=position,
                    global_batch=BATCH,
                    mode=order.mode,
                )
                text = state.to_json()
                started = time.perf_counter()
                at = StreamState.from_json(text).position
                order.batch_rows(at, BATCH)
                times.append(1e3 * (time.perf_counter() - started))
            out[f"1e{exponent} {name}"] = {
                "ms": round(statistics.median(times), 3),
                "state_bytes": len(text),
            }
    return out


MEMORY_PROGRAM = """
import sys
from limbeck.order import Order
from limbeck.records.dataset import open_dataset

def private():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))

before = private()
dataset = open_dataset(sys.argv[1])
order, position = Order(dataset.num_rows, 1), 0
for _ in range(300):
    batch = order.batch_rows(position, 256)
    position = batch.next_position
    dataset.read(batch.rows)
print(private() - before)
"""


def measure_memory(options: Options) -> dict[str, Any]:
    """Private memory over corpus size; the mapped index is the page cache's."""
    out: dict[str, Any] = {}
    sizes = sorted({10_000, 100_000, options.memory_rows})
    for size in sizes:
        with tempfile.TemporaryDirectory() as directory:
            write(f"{directory}/corpus", input_layout(32), size, num_shards=16).close()
            done = subprocess.run(
                [sys.executable, "-c", MEMORY_PROGRAM, f"{directory}/corpus"],
                capture_output=True,
                text=True,
                check=True,
            )
            out[f"{size:,} rows"] = {"private_MiB": round(int(done.stdout) / 1024, 1)}
    return out


def main() -> None:
    """Runs the chosen parts."""
    options = tyro.cli(Options, description=__doc__)
    measures: dict[str, Callable[[Options], dict[str, Any]]] = {
        "read": lambda o: measure_read(rows=o.rows, blocks=o.blocks, threads=o.threads),
        "resume": measure_resume,
        "memory": measure_memory,
    }
    for part in options.parts:
        if part == "peers":
            from bench._stream_peers import measure_peers

            found = measure_peers(options.peers, num_rows=options.rows)
        else:
            found = measures[part](options)
        load = round(os.getloadavg()[0], 2)
        print(json.dumps({"bench": "stream", "part": part, "load": load, **found}), flush=True)


if __name__ == "__main__":
    main()
