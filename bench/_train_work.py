"""What `bench.train` compares: one student, fed from the store, from memory, or by live teachers.

The examples are random full rows and the stored labels random too: contents decide no time. Every
teacher is a real model with drawn weights, exported as a folder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.labels.signals import FinalSignal, LabelDims, Signal, SparseSignal, to_dict
from limbeck.ranks import World
from limbeck.records.examples import examples_layout
from limbeck.records.keys import input_digest, key_rows, make_key, shards_of
from limbeck.records.layout import Layout
from limbeck.records.writer import DatasetWriter
from limbeck.runs import RunDirectory
from train.inputs import open_inputs
from train.job import Job, build_job
from train.meter import Meter
from train.recipe import Data, LiveTeacher, ModelInit, Optimizer, Recipe, Training, make_term
from train.stopping import StopRequest
from train.stream import RankBatch, Stream
from train.updates.advance import advance, prepare_batch

__all__ = ["Sizes", "flops", "live_steps", "make_job", "store_and_memory", "write_all"]

KEPT = 16
TEMPERATURE = 2.0
MANY = 1_000_000

Steps = Callable[[int], float]
"""Makes so many updates; returns the seconds that it waited for data."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of examples and models."""

    rows: int = 2048
    """Examples in the store."""
    length: int = 64
    """Tokens of each example."""
    masked: int = 10
    """Masked positions of each example."""
    vocab_size: int = 30522
    """Of both models."""
    batch: int = 32
    """Rows of a step."""
    student_layers: int = 6
    """Of the student."""
    student_dim: int = 384
    """Of the student."""
    teacher_dim: int = 768
    """Of the teachers; their layers follow from the ratio of FLOPs."""
    shards: int = 4
    """Of the store."""

    def shape(self, num_layers: int, hidden_dim: int) -> EncoderArchitecture:
        """A model of these sizes."""
        return EncoderArchitecture(
            vocab_size=self.vocab_size,
            num_layers=num_layers,
            hidden_dim=hidden_dim,
            num_heads=max(1, hidden_dim // 32),
            intermediate_dim=4 * hidden_dim,
            max_positions=self.length,
        )

    @property
    def student(self) -> EncoderArchitecture:
        """The student."""
        return self.shape(self.student_layers, self.student_dim)

    def teacher(self, ratio: float) -> EncoderArchitecture:
        """The teacher whose forward FLOPs come nearest to `ratio` times the student's."""
        wanted = ratio * flops(self, self.student)
        shapes = [self.shape(layers, self.teacher_dim) for layers in range(1, 49)]
        return min(shapes, key=lambda shape: abs(flops(self, shape) - wanted))


def flops(sizes: Sizes, shape: EncoderArchitecture) -> int:
    """Of a forward pass over a batch, with the head at the masked positions."""
    return shape.forward_flops(
        num_tokens=sizes.batch * sizes.length,
        seq_length=sizes.length,
        num_logit_positions=sizes.batch * sizes.masked,
    )


def write_all(root: Path, sizes: Sizes, ratios: tuple[float, ...]) -> None:
    """Examples, a sparse family of random numbers, and a folder for each teacher."""
    from limbeck.models.masked_lm import build_masked_lm
    from limbeck.weights.hf import export_hf

    rng = np.random.default_rng(0)
    examples = _example_rows(rng, sizes)
    layout = examples_layout(
        seq_length=sizes.length, max_predictions=sizes.masked, vocab_size=sizes.vocab_size
    )
    parent = _write(root / "examples", "examples", layout, examples, sizes)
    signal = SparseSignal(k=KEPT, temperatures=(1.0, TEMPERATURE, 4.0))
    dims = LabelDims(
        seq_length=sizes.length, max_predictions=sizes.masked, vocab_size=sizes.vocab_size
    )
    labels = _label_rows(rng, examples, sizes)
    _write(
        root / "top",
        "labels",
        signal.layout(dims),
        labels,
        sizes,
        settings={"signal": to_dict(signal)},
        parents={"examples": parent},
    )
    for ratio in ratios:
        export_hf(
            build_masked_lm(sizes.teacher(ratio), seed=0),
            str(teacher_folder(root, ratio)),
            tokenizer=None,
        )


def teacher_folder(root: Path, ratio: float) -> Path:
    """Where the teacher of a ratio lies."""
    return root / f"teacher_{ratio:g}"


def make_job(root: Path, sizes: Sizes, world: World, *, name: str, ratio: float = 0.0) -> Job:
    """A run as `train` would set it up.

    Args:
      root: of `write_all`.
      sizes: as there.
      world: this process.
      name: `store`; `live`, with the store's signal; or `full`, live without a codec.
      ratio: of the live teacher.
    """
    signals: dict[str, Signal] = {"top": SparseSignal(k=KEPT, temperatures=(1.0, TEMPERATURE, 4.0))}
    if name == "full":
        signals = {"top": FinalSignal(codec="float32")}
    data = Data(examples=str(root / "examples"), labels={"top": str(root / "top")})
    if name != "store":
        live = LiveTeacher(path=str(teacher_folder(root, ratio)), signals=signals)
        data = Data(examples=str(root / "examples"), teacher=live)
    recipe = Recipe(
        name="bench",
        seed=1,
        data=data,
        model=ModelInit(architecture=sizes.student),
        objective=(
            make_term(loss="kl", signal="top", temperature=TEMPERATURE),
            make_term(loss="mlm", weight=0.5),
        ),
        optimizer=Optimizer(learning_rate=1e-4),
        training=Training(global_batch=sizes.batch, steps=MANY),
    )
    run = RunDirectory(root / f"run_{name}_{ratio:g}")
    run.take({})
    return build_job(open_inputs(recipe), run, world)


class _Run:
    """A job and where it stands."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._meter = Meter(job.world, num_steps=MANY, log=None, say=print)
        self._stop = StopRequest()
        self.progressed = job.at_start()

    def step(self, batch: RankBatch) -> None:
        self.progressed, _, _ = advance(
            self.job, self.progressed, batch, stop=self._stop, meter=self._meter
        )


def store_and_memory(job: Job, stream: Stream) -> dict[str, Steps]:
    """Steps on what an endless stream of the job reads, and on its first batch again and again."""
    run, batches = _Run(job), iter(stream)
    first = next(batches)

    def store(times: int) -> float:
        before = stream.wait_s
        for _ in range(times):
            run.step(next(batches))
        return stream.wait_s - before

    def memory(times: int) -> float:
        for _ in range(times):
            run.step(first)
        return 0.0

    return {"store": store, "memory": memory}


def live_steps(job: Job, *, prefetch: int) -> Steps:
    """Steps beside a live teacher; nothing of its work is left over for what runs next."""
    run = _Run(job)

    def steps(times: int) -> float:
        position = run.progressed.stream.position
        stream = Stream(
            job.source,
            position=position,
            num_batches=times,
            prepare=prepare_batch,
            depth=prefetch,
        )
        with stream:
            for batch in stream:
                run.step(batch)
            return stream.wait_s

    return steps


def _example_rows(rng: np.random.Generator, sizes: Sizes) -> dict[str, Any]:
    n, s, p = sizes.rows, sizes.length, sizes.masked
    positions = np.sort(np.argsort(rng.random((n, s - 2)), axis=1)[:, :p] + 1, axis=1)
    return {
        "key": key_rows([make_key(corpus="bench", page=i) for i in range(n)]),
        "ids": rng.integers(1, sizes.vocab_size, (n, s)).astype(np.uint16),
        "num_tokens": np.full(n, s, np.uint16),
        "segment_split": np.full(n, s // 2, np.uint16),
        "mask_positions": positions.astype(np.uint16),
        "mask_ids": rng.integers(1, sizes.vocab_size, (n, p)).astype(np.uint16),
        "num_masked": np.full(n, p, np.uint16),
        "is_random_next": np.full(n, 255, np.uint8),
    }


def _label_rows(rng: np.random.Generator, examples: dict[str, Any], sizes: Sizes) -> dict[str, Any]:
    n, p = sizes.rows, sizes.masked
    logits = -np.sort(rng.exponential(size=(n, p, KEPT)), axis=-1)
    start = rng.integers(0, sizes.vocab_size - KEPT, (n, p, 1))
    fields = ("ids", "num_tokens", "segment_split", "mask_positions", "num_masked")
    digest = input_digest(*(examples[name] for name in fields))
    return {
        "key": examples["key"],
        "digest": digest,
        "num_positions": examples["num_masked"],
        "zmax": np.zeros((n, p), np.float32),
        "ids": (start + np.arange(KEPT)).astype(np.uint16),
        "logits": (logits - logits[..., :1]).astype(np.float16),
        "log_tail": np.full((n, p, 3), -1.0, np.float32),
        "true_logit": np.full((n, p), -1.0, np.float32),
    }


def _write(
    directory: Path, kind: str, layout: Layout, rows: dict[str, Any], sizes: Sizes, **job: Any
) -> str:
    writer = DatasetWriter(
        str(directory),
        name="bench",
        kind=kind,
        layout=layout,
        num_shards=sizes.shards,
        **{"settings": {}, **job},
    )
    writer.open()
    shards = shards_of(rows["key"], sizes.shards)
    for index in range(sizes.shards):
        part = {name: values[shards == index] for name, values in rows.items()}
        writer.write_shard(index, part, lengths=part.get("num_tokens"))
    return writer.finish().id
