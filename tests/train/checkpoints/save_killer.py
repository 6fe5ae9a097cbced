"""Run by test_checkpoint.py: `python save_killer.py DIRECTORY random|steps COUNT SEED`.

Forks children that save checkpoints and die by SIGKILL, and checks what each left behind. Prints a
JSON line of what was seen.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from limbeck.order import StreamState
from train.checkpoints import checkpoint
from train.checkpoints.best import Best
from train.checkpoints.checkpoint import Checkpoint, Progressed

KEEP = 2


def state(step, *, size=6, best=None):
    """A small checkpoint whose values follow from the step."""
    stream = StreamState(
        dataset_ids=("a" * 64, "b" * 64),
        seed=3,
        boundary="run_on",
        epoch=0,
        position=7 * step,
        global_batch=7,
    )
    progressed = Progressed(
        step=step,
        stream=stream,
        rows=7 * step,
        tokens=90 * step,
        config_hash="0123",
        architecture={"num_layers": 1},
        surroundings={"world_size": 1},
        best=None if best is None else Best(metric="accuracy", value=0.5, step=best),
    )
    rng = np.random.default_rng(step)
    tensors = {
        "model/kernel": rng.normal(size=(size, 3)).astype(np.float32),
        "optimizer/00000": np.array(step, np.int32),  # a scalar
    }
    return Checkpoint(progressed=progressed, tensors=tensors)


def assert_same(a, b):
    """Fails unless two checkpoints are equal."""
    assert a.progressed == b.progressed
    assert a.tensors.keys() == b.tensors.keys()
    for name, tensor in a.tensors.items():
        assert tensor.shape == b.tensors[name].shape
        np.testing.assert_array_equal(tensor, b.tensors[name])


def in_child(work):
    """Forks; the child does `work(report)` and the parent gets its pid and what it reports."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            work(lambda: os.write(writer, b"."))
        finally:
            os._exit(0)
    os.close(writer)
    return pid, reader


def left_behind(directory, done, size):
    """Checks what a killed saver left: the last save that it reported, or the next, whole."""
    names = Counter("temporary" if ".tmp-" in p.name else "whole" for p in directory.iterdir())
    loaded = checkpoint.load_newest(directory)
    assert loaded is not None
    step = loaded.progressed.step
    assert step in (done, done + 1), (step, done)
    assert_same(loaded, state(step, size=size))
    checkpoint.save(directory, state(step + 1), keep=KEEP)
    assert len(list(directory.iterdir())) == KEEP  # leftovers are gone
    return {"temporary": names["temporary"] > 0, "unpruned": names["whole"] > KEEP}


def random_kills(root, count, rng):
    """Kills savers at random moments of saves of 2.4 MB that follow each other."""
    size, seen = 200_000, Counter()
    states = [state(step, size=size) for step in range(1, 60)]
    for attempt in range(count):
        directory = root / str(attempt)
        directory.mkdir()

        def work(report, directory=directory):
            for each in states:
                checkpoint.save(directory, each, keep=KEEP)
                report()

        pid, reader = in_child(work)
        done = len(os.read(reader, 1)) + len(os.read(reader, 1))  # two of them, so KEEP are there
        time.sleep(rng.random() * 0.04)  # a save or two
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        while piece := os.read(reader, 4096):
            done += len(piece)
        os.close(reader)
        seen.update(left_behind(directory, done, size))
        seen["kills"] += 1
    return seen


def kills_at_every_step(root):
    """Kills a save before and after each call by which it changes the disk, one after another."""
    seen, point = Counter(), 0
    while True:
        directory = root / str(point)
        directory.mkdir()
        for step in (1, 2):
            checkpoint.save(directory, state(step), keep=KEEP)

        def work(report, directory=directory, last=point):
            calls = 0

            def watch(function):
                def watched(*arguments, **options):
                    nonlocal calls
                    for after in (False, True):
                        if after:
                            result = function(*arguments, **options)
                        if calls == last:
                            os.kill(os.getpid(), signal.SIGKILL)
                        calls += 1
                    return result

                return watched

            for name in ("open", "fsync", "replace", "unlink", "fdopen"):
                setattr(os, name, watch(getattr(os, name)))
            checkpoint.save(directory, state(3), keep=KEEP)
            report()

        pid, reader = in_child(work)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        finished = len(os.read(reader, 1))
        os.close(reader)
        seen.update(left_behind(directory, 2 + finished, 6))
        if finished:
            return seen
        assert code == -signal.SIGKILL
        seen["kills"] += 1
        point += 1


if __name__ == "__main__":
    where, how, number, seed = sys.argv[1:]
    assert "tensorflow" not in sys.modules  # forked below
    if how == "random":
        found = random_kills(Path(where), int(number), random.Random(int(seed)))
    else:
        found = kills_at_every_step(Path(where))
    print(json.dumps(found))
