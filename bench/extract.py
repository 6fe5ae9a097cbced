"""Extraction against the bare teacher and against the naive way, on the same tokens.

    python -m bench.extract [--shape demo|base] [--backend keras] [--rows N] [--repeats R]

extract  everything that `extract run` does after its start: read and check the examples, plan
         window by window, forward, codec, fetch, check, digest, write with CRC and fsync
bare     the teacher's forward pass with its head at the labelled positions: inputs in memory,
         batches planned over all rows at once, one number fetched a batch
naive    32 rows at a time padded to the longest length, full float32 logits of the same positions
         written to a file

They alternate; a ratio is the other's time / that of extract, paired and as a median. `cpu_ratio`
is the same of CPU seconds of all threads, which a busy machine disturbs less. Goals: >= 0.85 of the
bare forward on the demo teacher (6 layers x 384, length 64), >= 0.95 on a BERT-base shape; the
naive way takes >= 2 times as long on single sentences in 128 slots. Weights are random. Prints a
JSON line a comparison, for the Keras and the PyTorch teacher.
"""

import json
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
import tyro

from bench._extract_work import (
    Cost,
    Mix,
    bare_loop,
    export_teacher,
    keras_forward,
    measured,
    naive_loop,
    synthetic_rows,
    torch_forward,
    write_examples,
)
from extract.inputs import check
from extract.job import Job, open_families, prepare
from extract.run import run_shards
from extract.settings import ExtractSettings
from extract.worker import Worker
from extract.workers import Claims
from limbeck.labels.signals import HiddenSignal, Signal, SparseSignal
from limbeck.teachers import load_teacher

LENGTHS: dict[Mix, int] = {"full": 64, "sentences": 128}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark."""

    shape: Literal["demo", "base"] = "demo"
    """Which teacher: the demo's (6 layers x 384) or BERT-base."""
    backend: tuple[Literal["keras", "pytorch"], ...] = ("keras", "pytorch")
    """What runs it."""
    against: tuple[Literal["bare", "naive"], ...] = ("bare", "naive")
    """What extraction is held to."""
    rows: int = 384
    """Examples."""
    shards: int = 2
    """Shards of the examples."""
    k: int = 16
    """Kept ids of the sparse family."""
    hidden: bool = False
    """Also keep the last layer's states at all positions, int8."""
    batch_tokens: int = 2048
    """Token budget of a batch, for extract and bare."""
    threads: int = 2
    """CPU threads."""
    repeats: int = 5
    """Pairs measured, after one of each that is not."""


def main() -> None:
    """Measures and prints."""
    options = tyro.cli(Options, description="Extraction against the bare forward and naive way.")
    # Before anything is computed: TensorFlow cannot be told later.
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for backend in options.backend:
        for against in options.against:
            print(json.dumps(_compare(options, backend, against)), flush=True)


def _compare(options: Options, backend: str, against: str) -> dict[str, object]:
    mix: Mix = "full" if against == "bare" else "sentences"
    rows = synthetic_rows(options.rows, length=LENGTHS[mix], mix=mix)
    with tempfile.TemporaryDirectory() as scratch:
        write_examples(f"{scratch}/examples", rows, num_shards=options.shards)
        export_teacher(f"{scratch}/teacher", options.shape)
        labelled = _extraction(scratch, backend, options)  # turns determinism on first
        forward = (keras_forward if backend == "keras" else torch_forward)(f"{scratch}/teacher")
        if against == "bare":
            other = bare_loop(forward, rows, batch_tokens=options.batch_tokens)
        else:
            other = naive_loop(forward, rows, f"{scratch}/logits.bin")
        other(), labelled()  # traces graphs, warms caches
        pairs = [(other(), labelled()) for _ in range(options.repeats)]
    ratios = [o.wall_s / e.wall_s for o, e in pairs]
    tokens = int(rows["num_tokens"].sum())
    bare_goal = 0.95 if options.shape == "base" else 0.85
    return {
        "bench": "extract",
        "against": against,
        "backend": backend,
        "shape": options.shape,
        "rows": options.rows,
        "tokens": tokens,
        "positions": int(rows["num_masked"].sum()),
        f"{against}_tokens_per_s": round(tokens / statistics.median(o.wall_s for o, _ in pairs), 1),
        "extract_tokens_per_s": round(tokens / statistics.median(e.wall_s for _, e in pairs), 1),
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(r, 4) for r in ratios],
        "cpu_ratio": round(statistics.median(o.cpu_s / e.cpu_s for o, e in pairs), 4),
        "goal": bare_goal if against == "bare" else 2.0,
    }


def _extraction(scratch: str, backend: str, options: Options) -> Callable[[], Cost]:
    """A function that labels all shards into a fresh OUT."""
    families: dict[str, Signal] = {"sparse": SparseSignal(k=options.k)}
    if options.hidden:
        layers = 12 if options.shape == "base" else 6
        families["hidden"] = HiddenSignal(layer=layers, codec="int8")
    teacher = load_teacher(f"{scratch}/teacher", backend=backend, threads=options.threads)  # type: ignore[arg-type]
    settings = ExtractSettings(
        examples=f"{scratch}/examples",
        teacher=f"{scratch}/teacher",
        out=f"{scratch}/out",
        families=families,
        batch_tokens=options.batch_tokens,
    )
    # Prepared once, so that its graphs are traced once, as in one long run.
    prepared = prepare(check(settings, teacher=teacher))
    count = 0

    def run() -> Cost:
        nonlocal count
        count += 1
        with Claims(f"{settings.out}-{count}", worker=Worker()) as claims:
            job = open_families(_moved(prepared, f"{settings.out}-{count}"))
            return measured(lambda: run_shards(job, claims))

    return run


def _moved(job: Job, out: str) -> Job:
    """The same job with another output."""
    families = {
        name: replace(f, writer=replace(f.writer, directory=f"{out}/{name}"))
        for name, f in job.families.items()
    }
    return replace(job, settings=replace(job.settings, out=out), families=families)


if __name__ == "__main__":
    main()
