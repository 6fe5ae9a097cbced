"""A tiny random teacher on disk, tiny examples, and the teacher's full logits of single rows."""

from pathlib import Path

import numpy as np
import pytest

from limbeck.architectures.encoder import EncoderArchitecture
from limbeck.labels import codecs
from limbeck.labels.side import Side
from limbeck.models.masked_lm import build_masked_lm
from limbeck.records.examples import examples_layout, ids_dtype
from limbeck.records.keys import key_rows, make_key, shards_of
from limbeck.records.writer import DatasetWriter
from limbeck.teachers.facts import TeacherFacts
from limbeck.teachers.protocol import TeacherOutOfMemory
from limbeck.tokens import WordPiece, load_tokenizer
from limbeck.weights.hf import export_hf

# S token slots, P prediction slots, V vocabulary, D hidden width
SEQ_LENGTH, MAX_PREDICTIONS, VOCAB_SIZE, NUM_LAYERS = 24, 4, 97, 2
ARCHITECTURE = EncoderArchitecture(
    vocab_size=VOCAB_SIZE,
    num_layers=NUM_LAYERS,
    hidden_dim=16,
    num_heads=2,
    intermediate_dim=32,
    max_positions=32,
    initializer_range=0.5,  # large weights, so that distributions are not flat
)


def write_vocabulary(path: Path, size: int = VOCAB_SIZE) -> Path:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    path.write_text("\n".join([*special, *(f"w{i}" for i in range(size - len(special)))]) + "\n")
    return path


def random_rows(num_rows: int, *, seed: int, vocab_size: int = VOCAB_SIZE) -> dict:
    """Fields of the examples layout: random ids, one or two segments, up to P masked positions."""
    rng = np.random.default_rng(seed)
    ids_type = ids_dtype(vocab_size)
    rows = {
        "key": key_rows([make_key(corpus="tiny", page=i) for i in range(num_rows)]),
        "ids": np.zeros((num_rows, SEQ_LENGTH), ids_type),
        "num_tokens": rng.integers(4, SEQ_LENGTH + 1, num_rows).astype(np.uint16),
        "segment_split": np.zeros(num_rows, np.uint16),
        "mask_positions": np.zeros((num_rows, MAX_PREDICTIONS), np.uint16),
        "mask_ids": np.zeros((num_rows, MAX_PREDICTIONS), ids_type),
        "num_masked": np.zeros(num_rows, np.uint16),
        "is_random_next": np.full(num_rows, 255, np.uint8),
    }
    for row, tokens in enumerate(rows["num_tokens"].astype(int)):
        rows["ids"][row, :tokens] = rng.integers(1, vocab_size, tokens)
        rows["segment_split"][row] = rng.integers(2, tokens + 1)
        count = int(rng.integers(0, min(MAX_PREDICTIONS, tokens - 2) + 1))  # 0 happens too
        places = np.sort(rng.choice(np.arange(1, tokens), count, replace=False))
        rows["mask_positions"][row, :count] = places
        rows["mask_ids"][row, :count] = rng.integers(1, vocab_size, count)
        rows["num_masked"][row] = count
    return rows


def write_examples(directory, rows: dict, *, num_shards: int = 3, tokenizer: dict | None = None):
    """Writes rows as a finished examples dataset."""
    writer = DatasetWriter(
        str(directory),
        name="train",
        kind="examples",
        layout=examples_layout(
            seq_length=rows["ids"].shape[1],
            max_predictions=rows["mask_positions"].shape[1],
            vocab_size=VOCAB_SIZE,
        ),
        num_shards=num_shards,
        settings={"made_by": "a test"},
        tokenizer=tokenizer,
        seed=0,
    )
    writer.open()
    shards = shards_of(rows["key"], num_shards)
    for index in range(num_shards):
        mine = {name: values[shards == index] for name, values in rows.items()}
        writer.write_shard(
            index,
            mine,
            lengths=mine["num_tokens"].astype(np.uint32),
            labelled_positions=int(mine["num_masked"].sum()),
        )
    writer.finish()
    return directory


@pytest.fixture(scope="session")
def teacher_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("teacher")
    vocab_file = write_vocabulary(directory.parent / "words.txt")
    model = build_masked_lm(ARCHITECTURE, seed=3)
    export_hf(model, str(directory / "hf"), tokenizer=WordPiece(vocab_file))
    return str(directory / "hf")


@pytest.fixture(scope="session")
def tokenizer_info(teacher_dir):
    return load_tokenizer(teacher_dir).info()


@pytest.fixture(scope="session")
def make_rows():
    """`random_rows`, for tests that write them themselves."""
    return random_rows


@pytest.fixture(scope="session")
def make_examples(tokenizer_info):
    """A function (directory, num_rows, seed) that writes examples."""

    def make(directory, *, num_rows: int, seed: int) -> str:
        rows = random_rows(num_rows, seed=seed)
        return str(write_examples(directory, rows, tokenizer=tokenizer_info))

    return make


@pytest.fixture(scope="session")
def examples_dir(tmp_path_factory, make_examples):
    return make_examples(tmp_path_factory.mktemp("examples") / "train", num_rows=60, seed=5)


class NumpyTeacher:
    """A teacher without a framework: states are sines of ids and places, logits a product of them.

    Args:
      fits_slots: larger batches do not fit its memory.
      nan_ids: the row that begins with these gets NaN.
      constant: says the same everywhere.
      noise: what it says changes from call to call.
    """

    device = "numpy"

    def __init__(self, *, fits_slots=10**9, nan_ids=None, constant=False, noise=0.0):
        self.facts = TeacherFacts(
            backend="keras",
            where="numpy",
            folder="numpy",
            fingerprint="ab" * 32,
            vocab_size=VOCAB_SIZE,
            num_layers=NUM_LAYERS,
            hidden_dim=16,
            max_positions=32,
            predicts="masked",
            final_dim=16,
        )
        self.calls = 0
        self.shapes = []
        self._fits_slots, self._nan_ids = fits_slots, nan_ids
        self._constant, self._noise = constant, noise
        self._kernel = np.random.default_rng(1).normal(size=(VOCAB_SIZE, 16)).astype(np.float32)

    def side(self, signal):
        if signal.kind != "final":
            return Side()
        bias = np.zeros(VOCAB_SIZE, np.float32)
        return Side(tensors={"decoder/kernel": self._kernel, "decoder/bias": bias})

    def raw(self, batch, wanted):
        return {
            name: self._raw(batch, signal.source, batch.items[signal.positions].index)
            for name, signal in wanted.items()
        }

    def bare(self, batch, wanted):
        self.raw(batch, wanted)

    def signals(self, batch, wanted):
        self.calls += 1
        self.shapes.append(batch.ids.shape)
        if batch.ids.size > self._fits_slots:
            raise TeacherOutOfMemory("no room")
        answers = {}
        for name, fitted in wanted.items():
            items = batch.items[fitted.signal.positions]
            raw = self._raw(batch, fitted.signal.source, items.index)
            answers[name] = codecs.encode(fitted, raw, true_ids=items.true_ids, draws=items.draws)
        return answers

    def _raw(self, batch, source, index):
        rows, tokens = index // batch.ids.shape[1], index % batch.ids.shape[1]
        ids = batch.ids[rows, tokens].astype(np.float64)
        of_row = (batch.ids * batch.attention_mask).sum(axis=1)[rows]  # not of padding
        place = (ids * 7 + of_row + 3 * tokens + 11 * (source.layer or 0))[:, None]
        if self._constant:
            place = np.zeros_like(place)
        states = np.sin(place * (1 + np.arange(16)) / 9).astype(np.float32)
        states += np.float32(self._noise * self.calls)
        if self._nan_ids is not None and batch.ids.shape[1] >= len(self._nan_ids):
            broken = (batch.ids[:, : len(self._nan_ids)] == self._nan_ids).all(axis=1)
            states[broken[rows]] = np.nan
        if source.kind == "logits":  # no BLAS, whose sums depend on the number of rows
            return {"logits": (states[:, None] * self._kernel).sum(axis=-1)}
        return {"states": states}


@pytest.fixture(scope="session")
def numpy_teacher():
    """The class of a teacher that needs no framework."""
    return NumpyTeacher
