"""mosaicml-streaming and grain + ArrayRecord on the records that `bench.stream` reads.

Every loader gives whole records of random bytes whose first 8 bytes are their number, in batches of
256, and ranks take their parts as each library wants it. A global batch is the ranks' parts, one
after the other. What is compared: seconds from nothing to the first batch; records a second over
an epoch; whether 1, 2 and 3 ranks see the same sequence of global batches, or at least the same
sets; seconds from a saved place in mid-epoch to the next batch, and whether it is the right one.

torchvision is replaced by empty modules: mosaicml-streaming imports it for its image datasets only.
"""

import importlib.machinery
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import types
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["measure_peers"]

BATCH = 252  # of 1, 2 and 3 ranks alike
RECORD_BYTES = 1500
STEPS_COMPARED = 6


def payloads(num_rows: int) -> list[bytes]:
    """Records; the first 8 bytes are the number."""
    rng = np.random.default_rng(0)
    return [i.to_bytes(8, "little") + rng.bytes(RECORD_BYTES - 8) for i in range(num_rows)]


def measure_peers(directory: str | None, *, num_rows: int) -> dict[str, Any]:
    """Each loader in processes of its own; a loader that does not start says why."""
    out: dict[str, Any] = {"record_bytes": RECORD_BYTES, "rows": num_rows}
    environment = dict(os.environ)
    if directory is not None:
        path = environment.get("PYTHONPATH", "")
        environment["PYTHONPATH"] = f"{path}:{directory}" if path else directory
    for kind in LOADERS:
        with tempfile.TemporaryDirectory() as store:
            done = subprocess.run(
                [sys.executable, "-m", "bench._stream_peers", kind, store, str(num_rows)],
                env=environment,
                capture_output=True,
                text=True,
            )
            lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
            found = json.loads(lines[-1][7:]) if lines else {"failed": reason[:300]}
            out[kind] = found
    return out


class Ours:
    """`limbeck.records` in the order of the stream."""

    def __init__(self, store: str) -> None:
        self.store = store

    def write(self, records: list[bytes]) -> None:
        """One layout with a field of bytes."""
        from bench._stream_read import keys
        from limbeck.records.keys import shards_of
        from limbeck.records.layout import DIGEST, KEY, Field, Layout
        from limbeck.records.writer import DatasetWriter

        layout = Layout((KEY, DIGEST, Field("data", "uint8", (RECORD_BYTES,))))
        writer = DatasetWriter(
            f"{self.store}/d", name="d", kind="labels", layout=layout, num_shards=8, settings={}
        )
        writer.open()
        data = np.frombuffer(b"".join(records), np.uint8).reshape(len(records), -1)
        all_keys = keys(len(records))
        shards = shards_of(all_keys, 8)
        for index in range(8):
            here = shards == index
            fields = {"key": all_keys[here], "digest": all_keys[here, 8:], "data": data[here]}
            writer.write_shard(index, fields)
        writer.finish()

    def start(self, rank: int, size: int, place: Any = None) -> Any:
        """Batches of a rank, from a place on; each with the place behind it."""
        from limbeck.order import Order, StreamState, rank_slice
        from limbeck.records.dataset import open_dataset

        dataset = open_dataset(f"{self.store}/d")
        order = Order(dataset.num_rows, 1, "close")
        position = 0 if place is None else StreamState.from_json(place).position
        while position < dataset.num_rows:
            batch = order.batch_rows(position, BATCH)
            position = batch.next_position
            rows = batch.rows[rank_slice(len(batch.rows), rank, size)]
            state = StreamState(
                dataset_ids=(dataset.id,),
                seed=1,
                boundary="close",
                epoch=0,
                position=position,
                global_batch=BATCH,
            )
            yield numbers(dataset.read(rows)["data"]), state.to_json()


class Mosaic:
    """MDS shards, `StreamingDataset` with its own shuffle; one worker."""

    def __init__(self, store: str) -> None:
        self.store = store
        for name in ("torchvision", "torchvision.datasets", "torchvision.transforms"):
            module = types.ModuleType(name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            sys.modules[name] = module
        functional = types.ModuleType("torchvision.transforms.functional")
        functional.to_tensor = None  # type: ignore[attr-defined]
        sys.modules["torchvision.transforms.functional"] = functional
        sys.modules["torchvision.datasets"].VisionDataset = object  # type: ignore[attr-defined]

    def write(self, records: list[bytes]) -> None:
        """One column of bytes."""
        from streaming import MDSWriter

        with MDSWriter(out=f"{self.store}/d", columns={"data": "bytes"}) as writer:
            for record in records:
                writer.write({"data": record})

    def start(self, rank: int, size: int, place: Any = None) -> Any:
        """As `Ours.start`; a place is the library's state."""
        import torch
        from streaming import StreamingDataLoader, StreamingDataset

        def collated(rows: list[dict[str, bytes]]) -> torch.Tensor:
            # A tensor: the loader counts what it has given, for its state, by a batch's length.
            data = bytearray(b"".join(row["data"] for row in rows))
            return torch.frombuffer(data, dtype=torch.uint8).reshape(-1, RECORD_BYTES)

        dataset = StreamingDataset(
            local=f"{self.store}/d",
            shuffle=True,
            shuffle_seed=1,
            batch_size=BATCH // size,
            num_canonical_nodes=6,
        )
        loader = StreamingDataLoader(
            dataset, batch_size=BATCH // size, num_workers=0, collate_fn=collated
        )
        if place is not None:
            loader.load_state_dict(place)
        for batch in loader:
            yield numbers(batch.numpy()), loader.state_dict()


class Grain:
    """ArrayRecord behind `DataLoader` with an `IndexSampler`; no workers."""

    def __init__(self, store: str) -> None:
        self.store = store

    def write(self, records: list[bytes]) -> None:
        """Files of group size 1, as grain wants them."""
        from array_record.python.array_record_module import ArrayRecordWriter

        for index in range(8):
            writer = ArrayRecordWriter(f"{self.store}/d-{index}", "group_size:1")
            for record in records[index::8]:
                writer.write(record)
            writer.close()

    def start(self, rank: int, size: int, place: Any = None) -> Any:
        """As `Ours.start`; a place is the iterator's state."""
        import grain.python as grain

        files = sorted(str(path) for path in Path(self.store).glob("d-*"))
        source = grain.ArrayRecordDataSource(files)
        sampler = grain.IndexSampler(
            len(source),
            shard_options=grain.ShardOptions(shard_index=rank, shard_count=size),
            shuffle=True,
            num_epochs=1,
            seed=1,
        )
        operations = [grain.Batch(batch_size=BATCH // size)]
        loader = grain.DataLoader(
            data_source=source,
            sampler=sampler,
            operations=[AsArray(), *operations],
            worker_count=0,
        )
        iterator = iter(loader)
        if place is not None:
            iterator.set_state(place)
        for batch in iterator:
            yield numbers(batch), iterator.get_state()


class AsArray:
    """A record's bytes as an array, so that grain can batch them."""

    def __new__(cls) -> Any:
        """A transform of grain's own class."""
        import grain.python as grain

        class Transform(grain.MapTransform):  # type: ignore[misc, name-defined]
            def map(self, element: bytes) -> np.ndarray:
                return np.frombuffer(element, np.uint8)

        return Transform()


LOADERS: dict[str, Any] = {"ours": Ours, "mosaic": Mosaic, "grain": Grain}


def numbers(data: np.ndarray) -> np.ndarray:
    """The numbers (n,) of records given as bytes."""
    return np.ascontiguousarray(data.reshape(-1, RECORD_BYTES)[:, :8]).view("<u8")[:, 0]


def measure(kind: str, store: str, num_rows: int) -> dict[str, Any]:
    """All of one loader, in this process."""
    loader = LOADERS[kind](store)
    loader.write(payloads(num_rows))
    list_of_first(loader.start(0, 1), 1)  # imports and page cache
    started = time.perf_counter()
    iterator = loader.start(0, 1)
    next(iterator)
    first_s = time.perf_counter() - started
    del iterator
    clocks = time.perf_counter(), time.process_time()
    whole = [batch for batch, _ in loader.start(0, 1)]
    seconds, cpu_s = time.perf_counter() - clocks[0], time.process_time() - clocks[1]
    rows = np.concatenate(whole)
    worlds = {}
    for size in (2, 3):
        parts = parts_of_ranks(kind, store, size)
        together = [np.concatenate(step) for step in zip(*parts, strict=False)]
        same = all(np.array_equal(a, b) for a, b in zip(together, whole, strict=False))
        sets = all(
            set(a.tolist()) == set(b.tolist()) for a, b in zip(together, whole, strict=False)
        )
        worlds[size] = "same sequences" if same else "same sets" if sets else "other batches"
    middle = len(whole) // 2
    *_, (_, place) = list_of_first(loader.start(0, 1), middle)
    started = time.perf_counter()
    batch, _ = next(loader.start(0, 1, place))
    return {
        "first_batch_s": round(first_s, 4),
        "rows_per_s": round(len(rows) / seconds),
        "rows_per_cpu_s": round(len(rows) / cpu_s),
        "rows_of_an_epoch": len(rows),
        "different_rows": len(np.unique(rows)),
        "ranks": worlds,
        "resume_s": round(time.perf_counter() - started, 4),
        "resume_is_right": bool(np.array_equal(batch, whole[middle])),
        "state_bytes": len(place if isinstance(place, bytes | str) else json.dumps(place)),
    }


def parts_of_ranks(kind: str, store: str, size: int) -> list[list[np.ndarray]]:
    """The first batches of each rank, every rank a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "bench._stream_peers", kind, store, str(rank), str(size)],
            env={
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": str(size),
                "LOCAL_RANK": str(rank),
                "LOCAL_WORLD_SIZE": str(size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(size)
    ]
    parts = []
    for rank in ranks:
        text, _ = rank.communicate(timeout=300)
        lines = [line for line in text.splitlines() if line.startswith("RESULT ")]
        parts.append([np.array(batch) for batch in json.loads(lines[-1][7:])])
    return parts


def print_part(kind: str, store: str, rank: int, size: int) -> None:
    """What a process of `parts_of_ranks` says."""
    loader = LOADERS[kind](store)
    batches = [b.tolist() for b, _ in list_of_first(loader.start(rank, size), STEPS_COMPARED)]
    print("RESULT " + json.dumps(batches), flush=True)


def list_of_first(iterator: Any, count: int) -> list[Any]:
    """The first so many elements."""
    return [element for _, element in zip(range(count), iterator, strict=False)]


if __name__ == "__main__":
    if len(sys.argv) == 5:
        print_part(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        found = measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))
        print("RESULT " + json.dumps(found), flush=True)
