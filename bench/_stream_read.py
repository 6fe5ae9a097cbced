"""Random rows of a dataset against `tf.data` going through the same files in order.

Ours: batches of 256 rows in the stream's order, each drawn, read by `Dataset.read` (by pread and,
`mapped`, through memory maps) and decoded to one array a field by one of `threads` threads; every
framing, payload CRC, CRC and key of the index is checked. Theirs: `tf.data.TFRecordDataset` with a
pool of as many threads, as bare strings, and parsed to the same arrays (`parse_example` and
`decode_raw`, a batch at a time); it checks TFRecord's two CRCs of each record and nothing else.
Both read four batches ahead.

Blocks alternate, the first of each warms up, and the page cache is warm. A ratio is ours / theirs,
a median over pairs of blocks: of rows a second, and (`cpu`) of rows a CPU second of all threads of
the process, which a busy machine disturbs less. Records of about 1.5 kB (inputs) and 5.6 kB (inputs
with 64 kept logits at 20 positions).
"""

import itertools
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.order import Order
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.keys import KEY_BYTES, shards_of
from limbeck.records.layout import DIGEST, KEY, Field, Layout
from limbeck.records.mapped import map_files
from limbeck.records.writer import DatasetWriter

BATCH = 256
AHEAD = 4  # batches

OURS, THEIRS = ("random", "mapped"), ("tf_strings", "tf_parsed")


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


def read_random(dataset: Dataset, *, threads: int, seed: int) -> int:
    """Reads one epoch in the order of the stream; returns its rows."""
    order = Order(dataset.num_rows, seed, "close")

    def work(position: int) -> int:
        return len(dataset.read(order.batch_rows(position, BATCH).rows)["key"])

    ahead: deque[Future[int]] = deque()
    num_rows = 0
    with ThreadPoolExecutor(threads) as pool:
        for position in range(0, dataset.num_rows, BATCH):
            ahead.append(pool.submit(work, position))
            if len(ahead) > AHEAD:
                num_rows += ahead.popleft().result()
        return num_rows + sum(future.result() for future in ahead)


def files_of(dataset: Dataset) -> list[str]:
    """Its data files."""
    return [str(Path(dataset.directory) / shard.name) for shard in dataset.content.shards]


def sequential(dataset: Dataset, *, threads: int, parse: bool) -> Any:
    """The files through tf.data: batches of strings, or of name -> tensor (n, *shape)."""
    import tensorflow as tf

    fields = dataset.layout.fields
    spec = {field.name: tf.io.FixedLenFeature((), tf.string) for field in fields}

    def decode(batch: Any) -> Any:
        found = tf.io.parse_example(batch, spec)
        return {
            f.name: tf.reshape(
                tf.io.decode_raw(found[f.name], tf.as_dtype(f.numpy_dtype.newbyteorder("="))),
                (-1, *f.shape),
            )
            for f in fields
        }

    records = tf.data.TFRecordDataset(files_of(dataset)).batch(BATCH)
    if parse:
        records = records.map(decode, num_parallel_calls=threads, deterministic=True)
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    return records.prefetch(AHEAD).with_options(options)


def read_sequential(dataset: Dataset, *, threads: int, parse: bool) -> int:
    """Goes through the files with tf.data; returns the rows."""
    batches = sequential(dataset, threads=threads, parse=parse)
    return sum(int((batch["key"] if parse else batch).shape[0]) for batch in batches)


def measure_read(*, rows: int, blocks: int, threads: tuple[int, ...]) -> dict[str, Any]:
    """Random and checked against sequential: size -> number of threads -> speeds and ratios."""
    out: dict[str, Any] = {"goal": 1.2}
    for name, layout in (("1.5 kB", input_layout(700)), ("5.6 kB", logits_layout())):
        with tempfile.TemporaryDirectory() as directory:
            write(f"{directory}/corpus", layout, rows).close()
            plain = open_dataset(f"{directory}/corpus")
            mapped = map_files(open_dataset(f"{directory}/corpus"))
            out[name] = {"record_bytes": plain.place(0).size}
            for count in threads:
                out[name][f"{count} threads"] = compare(plain, mapped, threads=count, blocks=blocks)
            plain.close()
            mapped.close()
    return out


def compare(plain: Dataset, mapped: Dataset, *, threads: int, blocks: int) -> dict[str, Any]:
    """Speeds of all kinds of reading, and ours / theirs, by wall clock and by CPU time."""
    kinds: dict[str, Callable[[int], int]] = {
        "random": lambda seed: read_random(plain, threads=threads, seed=seed),
        "mapped": lambda seed: read_random(mapped, threads=threads, seed=seed),
        "tf_strings": lambda _: read_sequential(plain, threads=threads, parse=False),
        "tf_parsed": lambda _: read_sequential(plain, threads=threads, parse=True),
    }
    wall: dict[str, list[float]] = {kind: [] for kind in kinds}
    cpu: dict[str, list[float]] = {kind: [] for kind in kinds}
    for block in range(blocks + 1):
        for kind, read in kinds.items():
            clocks = time.perf_counter(), time.process_time()
            rows = read(block)
            assert rows == plain.num_rows, (kind, rows)
            if block:  # the first one warms up
                wall[kind].append(rows / (time.perf_counter() - clocks[0]))
                cpu[kind].append(rows / (time.process_time() - clocks[1]))
    return {
        "rows_per_s": {kind: round(statistics.median(v)) for kind, v in wall.items()},
        "rows_per_cpu_s": {kind: round(statistics.median(v)) for kind, v in cpu.items()},
        **{
            f"{ours}{clock}_over_{theirs}": over(speeds, ours, theirs)
            for clock, speeds in (("", wall), ("_cpu", cpu))
            for ours, theirs in itertools.product(OURS, THEIRS)
        },
    }


def over(speeds: dict[str, list[float]], ours: str, theirs: str) -> float:
    """Ours / theirs, a median over pairs of blocks."""
    pairs = zip(speeds[ours], speeds[theirs], strict=True)
    return round(statistics.median(a / b for a, b in pairs), 3)
