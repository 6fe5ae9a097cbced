"""A teacher's answers against the NumPy codecs on its full logits and states."""

import numpy as np
import pytest

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.labels import HiddenSignal, SparseSignal, sparse
from limbeck.models import build_masked_lm
from limbeck.teachers import TeacherBatch, find_teacher, load_teacher
from limbeck.tokens import WordPiece
from limbeck.weights import fingerprint, read_tensors, write_tensors
from limbeck.weights.hf import export_hf

SHAPE = EncoderArchitecture(
    vocab_size=30,
    num_layers=2,
    hidden_dim=8,
    num_heads=2,
    intermediate_dim=12,
    max_positions=10,
)
WANTED = {
    "sparse": SparseSignal(k=4, temperatures=(1.0, 2.0)),
    "two": SparseSignal(k=2, temperatures=(1.0,)),
    "hidden": HiddenSignal(layer=1),
    "masked": HiddenSignal(layer=2, positions="masked", dtype="float32"),
    "first": HiddenSignal(layer=0, positions="first"),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    parent = tmp_path_factory.mktemp("teacher")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = special + [f"word{i}" for i in range(SHAPE.vocab_size - len(special))]
    (parent / "vocab.txt").write_text("\n".join(tokens) + "\n")
    model = build_masked_lm(SHAPE, seed=1)
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(0, 0.4, variable.shape))
    return export_hf(model, parent / "model", tokenizer=WordPiece(parent / "vocab.txt"))


@pytest.fixture(scope="module")
def teacher(directory):
    return load_teacher(directory)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    lengths = np.array([10, 6, 3])
    mask = (np.arange(10) < lengths[:, None]).astype(np.int32)
    return TeacherBatch(
        ids=(rng.integers(5, 30, (3, 10)) * mask).astype(np.int32),
        segment_ids=((np.arange(10) >= 4) * mask).astype(np.int32),
        attention_mask=mask,
        positions=np.array([[1, 4, 8], [2, 0, 0], [0, 0, 0]], np.int32),
        true_ids=np.array([[7, 9, 29], [5, 0, 0], [0, 0, 0]], np.int32),
    )


USED = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0)]


def encode(teacher, batch, layers=()):
    model = teacher._model
    return model, model.encode(
        batch.ids, batch.segment_ids, batch.attention_mask, hidden_layers=layers
    )


def test_it_says_what_it_is(teacher, directory):
    facts = teacher.facts
    assert (facts.vocab_size, facts.max_positions) == (30, 10)
    assert (facts.num_layers, facts.hidden_dim) == (2, 8)
    assert facts.fingerprint == fingerprint(directory)
    assert facts.backend == "keras" and teacher.device.startswith("cpu (")


def test_first_slot_and_every_position_above_zero_are_used(batch):
    assert [tuple(index) for index in np.argwhere(batch.used_slots)] == USED


@pytest.mark.parametrize("name", ["sparse", "two"])
def test_sparse_signals_equal_the_codec_on_full_logits(teacher, batch, name):
    answers = teacher.signals(batch, WANTED)[name]
    model, encoded = encode(teacher, batch)
    rows, slots = np.array(USED).T
    logits = model.logits(encoded.last).numpy()[rows, batch.positions[rows, slots]]
    signal = WANTED[name]
    expected = sparse.encode(
        logits, batch.true_ids[rows, slots], k=signal.k, temperatures=signal.temperatures
    )
    assert set(answers) == set(expected)
    for field, values in answers.items():
        assert values.shape[:2] == (3, 3)
        np.testing.assert_allclose(
            values[rows, slots].astype(np.float32),
            expected[field].astype(np.float32),
            rtol=2e-3 if field == "logits" else 1e-4,  # fp16 may round the other way
            atol=1e-4,
            err_msg=field,
        )
    unused = np.ones((3, 3), bool)
    unused[rows, slots] = False
    assert not any(values[unused].any() for values in answers.values())


def test_hidden_signals_are_the_states_of_their_layer(teacher, batch):
    answers = teacher.signals(batch, WANTED)
    _, encoded = encode(teacher, batch, layers=(0, 1, 2))
    states = {layer: values.numpy() for layer, values in encoded.hidden.items()}
    hidden = answers["hidden"]["states"]
    assert hidden.dtype == np.float16 and hidden.shape == (3, 10, 8)
    np.testing.assert_allclose(hidden, states[1], atol=4e-3)
    first = answers["first"]["states"]
    assert first.shape == (3, 1, 8)
    np.testing.assert_allclose(first, states[0][:, :1], atol=4e-3)
    masked = answers["masked"]["states"]
    assert masked.dtype == np.float32 and masked.shape == (3, 3, 8)
    for row, slot in USED:
        expected = states[2][row, batch.positions[row, slot]]
        np.testing.assert_allclose(masked[row, slot], expected, atol=1e-5)


def test_signals_without_logits_and_batches_of_other_shapes(teacher, batch):
    wanted = {"hidden": WANTED["hidden"]}
    whole = teacher.signals(batch, wanted)["hidden"]["states"]
    part = TeacherBatch(
        **{name: getattr(batch, name)[1:2, :6] for name in TeacherBatch.__dataclass_fields__}
    )
    np.testing.assert_allclose(
        teacher.signals(part, wanted)["hidden"]["states"][0], whole[1, :6], atol=4e-3
    )


def test_same_batch_gives_the_same_bits(teacher, batch):
    first, second = (teacher.signals(batch, WANTED) for _ in range(2))
    for name, arrays in first.items():
        for field, values in arrays.items():
            np.testing.assert_array_equal(values, second[name][field])


def test_encoder_without_a_head_gives_states_and_refuses_logits(directory, tmp_path, batch):
    (tmp_path / "config.json").write_bytes((directory / "config.json").read_bytes())
    tensors = read_tensors(directory / "model.safetensors")
    bare = {name: t for name, t in tensors.items() if not name.startswith("cls.")}
    write_tensors(tmp_path / "model.safetensors", bare)
    source = find_teacher(tmp_path)
    with pytest.raises(UsageError, match="families.sparse: .* is an encoder without one"):
        source.facts.check(WANTED)
    wanted = {"masked": WANTED["masked"]}
    source.facts.check(wanted)
    expected = load_teacher(directory).signals(batch, wanted)
    np.testing.assert_array_equal(
        source.load(0).signals(batch, wanted)["masked"]["states"], expected["masked"]["states"]
    )


@pytest.mark.parametrize("kind", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_decoders_give_states_and_refuse_sparse_signals(kind, write_folder):
    folder = write_folder(kind)
    wanted = {"states": HiddenSignal(layer=2, dtype="float32")}
    sparse_signal = {"sparse": SparseSignal(k=2)}
    answers = []
    ids = np.arange(1, 13, dtype=np.int32).reshape(2, 6)
    one = TeacherBatch(
        ids=ids, segment_ids=0 * ids, attention_mask=0 * ids + 1, positions=ids[:, :1], true_ids=ids
    )
    for backend in ("keras", "pytorch"):
        source = find_teacher(folder, backend=backend)
        with pytest.raises(UsageError, match="families.sparse: a sparse signal needs"):
            source.facts.check(sparse_signal)
        answers.append(source.load(0).signals(one, wanted)["states"]["states"])
    np.testing.assert_allclose(*answers, rtol=1e-5, atol=1e-5)  # float32, other sums
