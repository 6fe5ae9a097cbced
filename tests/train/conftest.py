"""Tiny datasets, families and recipes for the trainer's tests.

Rows follow a pattern that a model can learn: token t is 5 + (start + t) % 40, so a masked token
follows from its neighbours. Lengths and numbers of masks vary from row to row, and some rows have
no mask at all.
"""

import functools
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from limbeck.labels import codecs
from limbeck.labels.family import attachments, codec_settings
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import HiddenSignal, LabelDims, SparseSignal
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.examples import examples_layout, kind_layout
from limbeck.records.keys import chosen, input_digest, key_rows, make_key, shards_of
from limbeck.records.layout import Layout
from limbeck.records.writer import DatasetWriter
from limbeck.tokens import SPECIAL_TOKENS, WordPiece
from tests.conftest import run_inside

V, S, P = 50, 16, 4  # vocabulary, token slots, slots for masked positions
CLS, SEP, MASK = 2, 3, 4
WORDS = [*SPECIAL_TOKENS, *(f"a{i}" for i in range(len(SPECIAL_TOKENS), V))]  # id 5 is a5, ...
TEACHER_DIM = 12

# Without dropout, whose graph takes as long to build as all the rest: a test of dropout, or of the
# state that it leaves to a resumed run, adds DROPOUT.
ARCHITECTURE = {
    "vocab_size": V,
    "num_layers": 1,
    "hidden_dim": 8,
    "num_heads": 2,
    "intermediate_dim": 16,
    "max_positions": S,
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
}
DROPOUT = {"hidden_dropout": 0.1, "attention_dropout": 0.1}


@functools.cache
def tokenizer_info() -> dict[str, Any]:
    """What a manifest says of the tokenizer whose words are WORDS."""
    with tempfile.TemporaryDirectory() as directory:
        vocabulary = Path(directory) / "vocab.txt"
        vocabulary.write_text("\n".join(WORDS) + "\n")
        return WordPiece(vocabulary).info()


def example_rows(num_rows: int, *, seed: int, page: int = 0) -> dict[str, np.ndarray]:
    """Fields of the examples layout."""
    rng = np.random.default_rng(seed)
    rows = {
        "key": key_rows([make_key(corpus="toy", page=page + i) for i in range(num_rows)]),
        "ids": np.zeros((num_rows, S), np.uint16),
        "num_tokens": rng.integers(5, S + 1, num_rows).astype(np.uint16),
        "segment_split": np.zeros(num_rows, np.uint16),
        "mask_positions": np.zeros((num_rows, P), np.uint16),
        "mask_ids": np.zeros((num_rows, P), np.uint16),
        "num_masked": np.zeros(num_rows, np.uint16),
        "is_random_next": np.full(num_rows, 255, np.uint8),
    }
    for i, n in enumerate(rows["num_tokens"].tolist()):
        tokens = 5 + (rng.integers(40) + np.arange(n)) % 40
        tokens[0], tokens[-1] = CLS, SEP
        split = int(rng.integers(2, n + 1))
        masked = np.sort(
            rng.choice(np.arange(1, n - 1), min(int(rng.integers(0, 5)), n - 2), False)
        )
        rows["mask_positions"][i, : len(masked)] = masked
        rows["mask_ids"][i, : len(masked)] = tokens[masked]
        rows["num_masked"][i] = len(masked)
        tokens[masked] = MASK
        rows["ids"][i, :n] = tokens
        rows["segment_split"][i] = split
    return rows


def write_dataset(
    directory: Path,
    rows: Mapping[str, np.ndarray],
    *,
    kind: str,
    layout: Layout,
    num_shards: int = 3,
    chosen: np.ndarray | None = None,
    **job: Any,
) -> Path:
    """Writes all rows, or the chosen ones, each in the shard that its key gives."""
    writer = DatasetWriter(
        str(directory), name="toy", kind=kind, layout=layout, num_shards=num_shards, **job
    )
    writer.open()
    shards = shards_of(rows["key"], num_shards)
    for index in range(num_shards):
        here, partial = shards == index, {}
        if chosen is not None:
            own = np.flatnonzero(chosen[here])
            partial = {"parent_rows": own, "parent_records": int(here.sum())}
            here = here & chosen
        part = {name: values[here] for name, values in rows.items()}
        writer.write_shard(index, part, lengths=part.get("num_tokens"), **partial)
    writer.finish()
    return directory


def num_positions(group: str, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n,) positions of a group in each row."""
    counts = {"masked": rows.get("num_masked"), "all": rows["num_tokens"]}
    return np.asarray(counts.get(group, np.ones(len(rows["key"]))), np.int64)


class Toy:
    """Writes what a test needs below one directory."""

    words = WORDS

    def __init__(self, root: Path) -> None:
        self.root = root

    def examples(
        self,
        name: str = "examples",
        *,
        num_rows: int = 40,
        seed: int = 0,
        page: int = 0,
        masked: bool = True,
    ) -> Path:
        rows = example_rows(num_rows, seed=seed, page=page)
        layout = examples_layout(seq_length=S, max_predictions=P, vocab_size=V)
        if not masked:
            layout = kind_layout("lines", seq_length=S, vocab_size=V)
            at, slot = np.nonzero(np.arange(P) < rows["num_masked"][:, None])
            rows["ids"][at, rows["mask_positions"][at, slot]] = rows["mask_ids"][at, slot]
            rows = {field.name: rows[field.name] for field in layout.fields}
        return write_dataset(
            self.root / name,
            rows,
            kind="examples",
            layout=layout,
            settings={"seed": seed},
            tokenizer=tokenizer_info(),
        )

    def sparse(
        self,
        examples: Path,
        name: str = "top",
        *,
        k: int = 6,
        temperatures: tuple[float, ...] = (1.0, 2.0),
        vocab_size: int = V,
        spoil: Callable[[dict[str, np.ndarray]], None] | None = None,
        records: float = 1.0,
    ) -> Path:
        """Random logits with a bump at the true id."""
        fitted = Fitted(signal=SparseSignal(k=k, temperatures=temperatures, records=records))
        dataset = open_dataset(examples)
        rows = dataset.read(np.arange(dataset.num_rows))
        real = np.arange(P) < rows["num_masked"][:, None]
        logits = np.random.default_rng(7).normal(size=(*real.shape, V)).astype(np.float32) * 2
        true = rows["mask_ids"].astype(np.int32)
        np.put_along_axis(logits, true[..., None].astype(np.int64), 4.0, axis=-1)
        raw = {"logits": logits[real]}
        return self._labels(dataset, name, fitted, raw, rows, vocab_size, spoil, true[real])

    def hidden(
        self,
        examples: Path,
        name: str = "states",
        *,
        positions: Any = "all",
        dim: int = TEACHER_DIM,
        layer: int = 2,
        records: float = 1.0,
    ) -> Path:
        """Random states."""
        fitted = Fitted(
            signal=HiddenSignal(layer=layer, positions=positions, codec="float16", records=records)
        )
        dataset = open_dataset(examples)
        rows = dataset.read(np.arange(dataset.num_rows))
        count = int(num_positions(positions, rows).sum())
        raw = np.random.default_rng(8).normal(size=(count, dim)).astype(np.float32)
        return self._labels(dataset, name, fitted, {"states": raw}, rows, V, None, None)

    def _labels(
        self,
        dataset: Dataset,
        name: str,
        fitted: Fitted,
        raw: dict[str, np.ndarray],
        rows: dict[str, np.ndarray],
        vocab_size: int,
        spoil: Callable[[dict[str, np.ndarray]], None] | None,
        true_ids: np.ndarray | None,
    ) -> Path:
        signal = fitted.signal
        selective = signal.positions == "masked"
        digest = input_digest(
            rows["ids"],
            rows["num_tokens"],
            rows["segment_split"],
            rows["mask_positions"] if selective else None,
            rows["num_masked"] if selective else None,
        )
        dim = raw["states"].shape[-1] if "states" in raw else 0
        dims = LabelDims(
            seq_length=S, max_predictions=P, vocab_size=V, hidden_dim=dim, final_dim=dim
        )
        layout = signal.layout(dims, fitted.chosen)
        arrays = codecs.encode(fitted, raw, true_ids=true_ids, draws=None)
        counts = num_positions(signal.positions, rows)
        fields = codecs.to_records(fitted, arrays, counts, layout=layout)
        out = {"key": rows["key"], "digest": digest.copy(), **fields}
        if spoil is not None:
            spoil(out)
        return write_dataset(
            self.root / name,
            out,
            kind="labels",
            layout=layout,
            num_shards=len(dataset.shards),
            chosen=chosen(rows["key"], signal.records, 0) if signal.records < 1 else None,
            settings=codec_settings(fitted),
            parents={"examples": dataset.id},
            teacher={"fingerprint": "1" * 64, "vocab_size": vocab_size},
            attachments=attachments(fitted),
        )

    def recipe(self, **changes: Any) -> dict[str, Any]:
        """A recipe as plain values; `changes` replace whole blocks or, as dicts, parts of them."""
        plain: dict[str, Any] = {
            "name": "toy",
            "seed": 3,
            "data": {"examples": str(self.root / "examples")},
            "model": {"architecture": dict(ARCHITECTURE)},
            "objective": [{"loss": "mlm"}],
            "optimizer": {"learning_rate": 0.01, "warmup_steps": 2},
            "training": {
                "global_batch": 7,
                "steps": 6,
                "log_every": 1,
                "checkpoint_every": 3,
                "verify_order_every": 1,
            },
        }
        for name, value in changes.items():
            both = isinstance(value, dict) and isinstance(plain.get(name), dict)
            plain[name] = {**plain[name], **value} if both else value
        return plain

    def distil(self, **changes: Any) -> dict[str, Any]:
        """A recipe with every kind of loss; needs `self.all_families()`."""
        objective = [
            {"loss": "kl", "signal": "top", "temperature": 2.0, "weight": 0.5},
            {"loss": "mlm", "weight": 0.3},
            {
                "loss": "hidden_mse",
                "signal": "states",
                "student_layer": 1,
                "projection": "linear",
                "weight": 0.1,
            },
        ]
        labels = {"top": str(self.root / "top"), "states": str(self.root / "states")}
        data = {"examples": str(self.root / "examples"), "labels": labels}
        return self.recipe(**{"objective": objective, "data": data, **changes})

    def dropping(self, plain: dict[str, Any]) -> dict[str, Any]:
        """The recipe with dropout in its student."""
        shape = {**plain["model"]["architecture"], **DROPOUT}
        return {**plain, "model": {**plain["model"], "architecture": shape}}

    def all_families(self, **options: Any) -> Path:
        """Examples, a sparse family and a hidden one."""
        examples = self.examples(**options)
        self.sparse(examples)
        self.hidden(examples)
        return examples

    def tokenizer(self) -> Path:
        """A vocabulary file of WORDS."""
        path = self.root / "vocab.txt"
        path.write_text("\n".join(WORDS) + "\n")
        return path

    def write(self, recipe: Mapping[str, Any], name: str = "recipe.yaml") -> Path:
        """Writes a recipe; JSON is YAML."""
        path = self.root / name
        path.write_text(json.dumps(recipe, indent=1))
        return path


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


@pytest.fixture(scope="module")
def shared_toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """With examples and all families, for tests that only read them."""
    toy = Toy(tmp_path_factory.mktemp("toy"))
    toy.all_families()
    return toy


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Lets a test train in this process, and other tests draw random numbers afterwards."""
    from tensorflow.python.framework import config

    yield
    config.disable_op_determinism()


Train = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command() -> Train:
    """Runs `python -m train ARGUMENTS` as a process of its own; returns what came of it."""
    from_root = Path(__file__).resolve().parents[2]

    def run(*arguments: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "train", *map(str, arguments)],
            cwd=from_root,
            env={**os.environ, "TF_NUM_INTRAOP_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    return run


@pytest.fixture
def inside(deterministic: None, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Runs `python -m train ARGUMENTS` in this process; returns what came of it."""
    from limbeck import ranks

    # Threads are set once a process, before TensorFlow computes; here it has computed already.
    monkeypatch.setattr(ranks, "init", ranks.World)

    def start() -> None:
        runpy.run_module("train", run_name="__main__")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run_inside(start, "train", *arguments)

    return run
