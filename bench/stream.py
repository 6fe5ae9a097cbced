"""The stream against tf.data, over corpus sizes, at resume, and beside other loaders.

    python -m bench.stream [--parts read resume memory peers] [--peers DIR]

read     random rows with every CRC, key and stride checked, decoded to one array a field
         (`Dataset.read`, batches of 256 by `--threads` threads in the stream's order; by pread
         and, `mapped`, through memory maps) against
         `tf.data.TFRecordDataset` going through the same files in order: as bare strings, and
         parsed to the same arrays (`parse_example` and `decode_raw`). Blocks alternate; the ratio
         is ours / theirs in rows a second, a median over pairs; `_cpu_` is the same in rows a
         CPU second of all threads, which a busy machine disturbs less. Records of about 1.5 kB
         (inputs) and 5.6 kB (inputs with 64 kept logits at 20 positions). Goal: >= 1.2.
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tyro

from limbeck.order import Mixture, Order, StreamState, TwoLevel
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.keys import KEY_BYTES, shards_of
from limbeck.records.layout import DIGEST, KEY, Field, Layout
from limbeck.records.mapped import map_files
from limbeck.records.writer import DatasetWriter

BATCH = 256
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
    threads: int = 2
    """Reading threads of ours; tf.data has as many."""
    memory_rows: int = 1_000_000
    """Largest corpus whose memory is measured; 10^7 takes 2 GB of disk and some minutes."""
    peers: str | None = None
    """Folder with mosaicml-streaming, grain and array_record (`pip install --target DIR`)."""


def input_layout(slots: int) -> Layout:
    """Ids of one sequence, about 2 bytes each."""
    return Layout((KEY, DIGEST, Field("ids", "uint16", (slots,)), Field("num_tokens", "uint16")))


def logits_layout() -> Layout:
    """Inputs of 128 tokens and 64 kept logits at 20 positions: about 5.6 kB."""
    return Layout(
        (
            *input_layout(128).fields,
            Field("kept_ids", "uint16", (20, 64)),
            Field("kept_logits", "float16", (20, 64)),
            Field("log_tail", "float32", (20, 3)),
        )
    )


def write(directory: str, layout: Layout, num_rows: int, *, num_shards: int = 8) -> Dataset:
    """A corpus of random records."""
    writer = DatasetWriter(
        directory, name="bench", kind="labels", layout=layout, num_shards=num_shards, settings={}
    )
    writer.open()
    rng = np.random.default_rng(0)
    all_keys = keys(num_rows)
    shards = shards_of(all_keys, num_shards)
    for index in range(num_shards):
        here = all_keys[shards == index]
        count = len(here)
        fields: dict[str, np.ndarray] = {}
        for field in layout.fields:
            shape = (count, *(size or 0 for size in field.shape))
            size = int(np.prod(shape)) * field.numpy_dtype.itemsize
            data = rng.bytes(size) if field.name != "key" else here.tobytes()
            fields[field.name] = np.frombuffer(data, field.numpy_dtype).reshape(shape)
        writer.write_shard(index, fields, lengths=fields["num_tokens"])
    writer.finish()
    return open_dataset(directory)


def keys(count: int) -> np.ndarray:
    """(count, 16) different keys."""
    out = np.zeros((count, KEY_BYTES), np.uint8)
    out[:, 8:] = np.arange(count, dtype=">u8").view(np.uint8).reshape(-1, 8)
    return out


def read_random(dataset: Dataset, threads: int, seed: int) -> int:
    """Reads one epoch in the order of the stream; returns its rows."""
    order = Order(dataset.num_rows, seed, "close")

    def batches() -> Iterator[np.ndarray]:
        position = 0
        while position < dataset.num_rows:
            batch = order.batch_rows(position, BATCH)
            position = batch.next_position
            yield batch.rows

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda rows: len(dataset.read(rows)["ids"]), batches()))


def files_of(dataset: Dataset) -> list[str]:
    """Its data files."""
    return [str(Path(dataset.directory) / shard.name) for shard in dataset.content.shards]


def read_sequential(dataset: Dataset, threads: int, *, parse: bool) -> int:
    """Goes through the files with tf.data; returns the rows."""
    import tensorflow as tf

    records = tf.data.TFRecordDataset(files_of(dataset)).batch(BATCH)
    if parse:
        fields = dataset.layout.fields
        spec = {field.name: tf.io.FixedLenFeature((), tf.string) for field in fields}

        def decode(batch: Any) -> Any:
            found = tf.io.parse_example(batch, spec)
            types = {f.name: tf.as_dtype(f.numpy_dtype.newbyteorder("=")) for f in fields}
            return {name: tf.io.decode_raw(found[name], types[name]) for name in found}

        stored = {field.name for field in fields if field.shape}
        spec = {name: feature for name, feature in spec.items() if name in stored}
        fields = tuple(field for field in fields if field.name in stored)
        records = records.map(decode, num_parallel_calls=threads, deterministic=True)
    records = records.prefetch(4)
    count = 0
    for batch in records:
        count += int((batch["ids"] if parse else batch).shape[0])
    return count


def measure_read(options: Options) -> dict[str, Any]:
    """Random and checked against sequential."""
    out: dict[str, Any] = {}
    for name, layout in (("1.5 kB", input_layout(700)), ("5.6 kB", logits_layout())):
        with tempfile.TemporaryDirectory() as directory:
            dataset = write(f"{directory}/corpus", layout, options.rows)
            mapped = map_files(open_dataset(f"{directory}/corpus"))
            kinds: dict[str, Callable[[int], int]] = {
                "random": lambda seed, d=dataset: read_random(d, options.threads, seed),
                "mapped": lambda seed, d=mapped: read_random(d, options.threads, seed),
                "tf_strings": lambda _, d=dataset: read_sequential(d, options.threads, parse=False),
                "tf_parsed": lambda _, d=dataset: read_sequential(d, options.threads, parse=True),
            }
            wall: dict[str, list[float]] = {kind: [] for kind in kinds}
            cpu: dict[str, list[float]] = {kind: [] for kind in kinds}
            for block in range(options.blocks + 1):
                for kind, read in kinds.items():
                    clocks = time.perf_counter(), time.process_time()
                    rows = read(block)
                    assert rows == options.rows, (kind, rows)
                    if block:  # the first one warms up
                        wall[kind].append(rows / (time.perf_counter() - clocks[0]))
                        cpu[kind].append(rows / (time.process_time() - clocks[1]))
            out[name] = {
                "record_bytes": dataset.codec.stride if dataset.codec else None,
                "rows_per_s": {kind: round(statistics.median(v)) for kind, v in wall.items()},
                "rows_per_cpu_s": {kind: round(statistics.median(v)) for kind, v in cpu.items()},
                **{
                    f"{ours}{clock}_over_{kind}": over(speeds, ours, kind)
                    for clock, speeds in (("", wall), ("_cpu", cpu))
                    for ours in ("random", "mapped")
                    for kind in ("tf_strings", "tf_parsed")
                },
            }
            dataset.close()
            mapped.close()
    return out


def over(speeds: dict[str, list[float]], ours: str, theirs: str) -> float:
    """Ours / theirs, a median over pairs of blocks."""
    pairs = zip(speeds[ours], speeds[theirs], strict=True)
    return round(statistics.median(a / b for a, b in pairs), 3)


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
        "read": measure_read,
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
