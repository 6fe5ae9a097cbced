"""Run by test_stream.py: `python reader_chain.py EXAMPLES OUT KILLS`.

Ranks as processes that only read. They are killed at random moments; what all of them have fed
counts, and the next number of ranks goes on from there. The same once more without kills.
"""

import itertools
import json
import os
import random
import signal
import struct
import sys
import time
import zlib
from pathlib import Path

from limbeck.order import Order, StreamState
from limbeck.ranks import World
from limbeck.records.dataset import open_dataset
from train.ledger import audit, keys_digest, ledger_line
from train.reading.mixture import Corpora, CorpusInputs
from train.stream import Source, Stream

WORLDS = (1, 3, 7, 2, 8)
STEPS = 150  # and more with more kills: each life makes some
HEADER = struct.Struct("<III")  # step, bytes of keys, their CRC


def make_source(examples: str, world: World) -> Source:
    """A rank's batches of 11 rows."""
    dataset = open_dataset(examples)
    return Source(
        corpora=Corpora((CorpusInputs(name="", examples=dataset),)),
        order=Order(dataset.num_rows, 9),
        global_batch=11,
        world=world,
        micro_batch=None,
        groups=("masked",),
        vocab_size=50,
    )


def feed(examples: str, world: World, state: StreamState, step: int, path: Path) -> None:
    """Reads to the last step and writes down every batch's keys; a process of its own."""
    source = make_source(examples, world)
    source.check_state(state)
    with (
        Stream(source, position=state.position, num_batches=STEPS - step) as stream,
        open(path, "wb", buffering=0) as file,
    ):
        for number, batch in enumerate(stream, step + 1):
            keys = batch.keys.tobytes()
            file.write(HEADER.pack(number, len(keys), zlib.crc32(keys)) + keys)
            time.sleep(0.002)


def fed(path: Path) -> dict[int, bytes]:
    """Step -> keys, as far as the process came; a torn last entry does not count."""
    out, data, at = {}, path.read_bytes() if path.exists() else b"", 0
    while at + HEADER.size <= len(data):
        step, size, crc = HEADER.unpack_from(data, at)
        keys = data[at + HEADER.size : at + HEADER.size + size]
        if len(keys) < size or zlib.crc32(keys) != crc:
            break
        out[step] = keys
        at += HEADER.size + size
    return out


def link(examples: str, size: int, state: StreamState, step: int, out: Path, delay_s: float | None):
    """One life of a job of `size` ranks; returns the keys of the steps that all ranks made."""
    paths = [out / f"rank-{rank}" for rank in range(size)]
    children = []
    for rank, path in enumerate(paths):
        path.unlink(missing_ok=True)
        child = os.fork()
        if not child:
            feed(examples, World(rank=rank, size=size), state, step, path)
            os._exit(0)
        children.append(child)
    if delay_s is not None:
        time.sleep(delay_s)
        for child in children:
            os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    parts = [fed(path) for path in paths]
    made = itertools.takewhile(lambda s: all(s in p for p in parts), itertools.count(step + 1))
    return [b"".join(part[number] for part in parts) for number in made]


def run(examples: str, out: Path, kills: int) -> tuple[int, set[int]]:
    """A run with so many kills; writes its ledger and proves it."""
    out.mkdir()
    rng, source = random.Random(kills), make_source(examples, World())
    step, state, killed, seen = 0, source.state(0), 0, set()
    worlds = itertools.cycle(WORLDS)
    with open(out / "ledger.jsonl", "wb") as ledger:
        while step < STEPS:
            size = next(worlds) if kills else 1
            seen.add(size)
            more = killed < kills
            delay_s = rng.uniform(0.01, 0.06) if more else None
            for keys in link(examples, size, state, step, out, delay_s):
                step += 1
                position = state.position
                digest = keys_digest_of(keys)
                line = ledger_line(source, position, step=step, digest=digest)
                ledger.write(json.dumps(line).encode() + b"\n")
                following = source.global_rows(position).next_position
                state = StreamState.from_json(source.state(following).to_json())
            killed += more
    return killed, seen


def keys_digest_of(keys: bytes) -> str:
    """The digest of keys that several ranks wrote."""
    import numpy as np

    return keys_digest(np.frombuffer(keys, np.uint8))


if __name__ == "__main__":
    directory, target, wanted = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    run(directory, target / "whole", 0)
    num_kills, num_worlds = run(directory, target / "chain", wanted)
    proved = audit(target / "chain" / "ledger.jsonl", make_source(directory, World()))
    answer = {"kills": num_kills, "worlds": sorted(num_worlds), "proved": proved, "steps": STEPS}
    print(json.dumps(answer))
