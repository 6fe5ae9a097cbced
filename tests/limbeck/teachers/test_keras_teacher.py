"""Teachers of our own families: heads, precision, XLA, parts of a batch, memory, broken weights."""

import json
import shutil

import numpy as np
import pytest

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import UsageError
from limbeck.labels import HiddenSignal, SparseSignal, codecs
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import AttentionSignal, FinalSignal, TaskSignal
from limbeck.models import build_masked_lm
from limbeck.teachers import Items, TeacherBatch, TeacherOutOfMemory, find_teacher, load_teacher
from limbeck.teachers.protocol import LoadOptions
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
SIGNALS = {
    "sparse": SparseSignal(k=4, temperatures=(1.0, 2.0)),
    "two": SparseSignal(k=2, temperatures=(1.0,)),
    "everywhere": SparseSignal(k=3, positions="all"),
    "final": FinalSignal(codec="float32"),
    "hidden": HiddenSignal(layer=1),
    "masked": HiddenSignal(layer=2, positions="masked", codec="float32"),
    "first": HiddenSignal(layer=0, positions="first"),
    "attention": AttentionSignal(layer=2),
}
WANTED = {name: Fitted(signal=signal) for name, signal in SIGNALS.items()}


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


def make_batch(lengths, *, num_tokens=10, masked=(1, 4)):
    """Rows of these lengths, masked at the same places each."""
    rng = np.random.default_rng(0)
    mask = (np.arange(num_tokens) < np.array(lengths)[:, None]).astype(np.int32)
    ids = (rng.integers(5, 30, mask.shape) * mask).astype(np.int32)
    starts = np.arange(len(lengths), dtype=np.int32) * num_tokens

    def items(index):
        index = np.asarray(index, np.int32)
        return Items(index=index, true_ids=ids.reshape(-1)[index])

    return TeacherBatch(
        ids=ids,
        segment_ids=((np.arange(num_tokens) >= 4) * mask).astype(np.int32),
        attention_mask=mask,
        items={
            "masked": items((starts[:, None] + np.array(masked, np.int32)).reshape(-1)),
            "all": items(np.flatnonzero(mask)),
            "first": items(starts),
        },
    )


@pytest.fixture(scope="module")
def batch():
    return make_batch([10, 6, 5])


def expected(raw, batch):
    """The NumPy codec on raw arrays."""
    return {
        name: codecs.encode(
            fitted,
            raw[name],
            true_ids=batch.items[fitted.signal.positions].true_ids,
            draws=np.zeros((len(batch.items[fitted.signal.positions].index), 2), np.int32),
        )
        for name, fitted in WANTED.items()
    }


def assert_close(found, wanted, **tolerance):
    assert found.keys() == wanted.keys()
    for name, arrays in wanted.items():
        assert found[name].keys() == arrays.keys()
        for field, values in arrays.items():
            ours = found[name][field]
            assert ours.shape == values.shape, (name, field)
            np.testing.assert_allclose(
                ours.astype(np.float32),
                values.astype(np.float32),
                err_msg=f"{name} {field}",
                **tolerance,
            )


def test_it_says_what_it_is(teacher, directory):
    facts = teacher.facts
    assert (facts.vocab_size, facts.max_positions) == (30, 10)
    assert (facts.num_layers, facts.hidden_dim, facts.final_dim) == (2, 8, 8)
    assert (facts.num_heads, facts.query_dim, facts.key_dim) == (2, 8, 8)
    assert facts.predicts == "masked" and facts.num_labels == 0
    assert facts.fingerprint == fingerprint(directory)
    assert facts.backend == "keras" and teacher.device.startswith("cpu (")
    dims = facts.dims(seq_length=10, max_predictions=3)
    assert (dims.seq_length, dims.max_predictions, dims.final_dim) == (10, 3, 8)


def test_signals_are_the_codec_on_raw_arrays(teacher, batch):
    raw, found = teacher.raw(batch, SIGNALS), teacher.signals(batch, WANTED)
    for name, fitted in WANTED.items():
        count = len(batch.items[fitted.signal.positions].index)
        assert all(len(values) == count for values in found[name].values())
    # The device sums in an order of its own; a rounded half may go the other way.
    assert_close(found, expected(raw, batch), rtol=2e-3, atol=1e-5)


def test_head_in_parts_gives_the_same(teacher, batch, monkeypatch):
    from limbeck.teachers import parts

    whole = teacher.signals(batch, WANTED)
    monkeypatch.setattr(parts, "HEAD_ROWS", 4)
    assert_close(teacher.signals(batch, WANTED), whole, rtol=1e-5, atol=1e-5)


def test_batch_without_masked_positions_gives_no_rows(teacher):
    found = teacher.signals(make_batch([10, 6], masked=()), WANTED)
    assert found["sparse"]["ids"].shape == (0, 4) and found["masked"]["states"].shape == (0, 8)
    assert len(found["hidden"]["states"]) == 16


def test_families_do_not_depend_on_each_other(teacher, batch):
    together = teacher.signals(batch, WANTED)
    for name in ("sparse", "final", "hidden", "attention"):
        alone = teacher.signals(batch, {name: WANTED[name]})[name]
        for field, values in alone.items():
            np.testing.assert_array_equal(values, together[name][field], err_msg=name)


def test_same_batch_gives_the_same_bits_and_is_traced_once(teacher, batch):
    first = teacher.signals(batch, WANTED)
    traced = len(teacher._compiled)
    second = teacher.signals(batch, WANTED)
    teacher.signals(make_batch([9, 9, 9, 2]), WANTED)  # rows vary without a trace
    assert len(teacher._compiled) == traced
    for name, arrays in first.items():
        for field, values in arrays.items():
            np.testing.assert_array_equal(values, second[name][field])


def test_bare_pass_gives_nothing(teacher, batch):
    assert teacher.bare(batch, SIGNALS) is None


def test_compiled_by_xla_it_gives_the_same(directory, teacher, batch):
    compiled = load_teacher(directory, jit=True)
    few = {name: WANTED[name] for name in ("sparse", "final", "hidden")}
    # A half rounded the other way, in float16.
    assert_close(compiled.signals(batch, few), teacher.signals(batch, few), rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_rounds_products_and_answers_in_float32(
    precision, directory, teacher, batch
):
    mixed = load_teacher(directory, precision=precision)
    found = mixed.raw(batch, SIGNALS)
    exact = teacher.raw(batch, SIGNALS)
    assert all(x.dtype == np.float32 for arrays in found.values() for x in arrays.values())
    # 8 bits of mantissa in bfloat16, through two layers, on logits of size 5.
    assert_close(found, exact, rtol=0.1, atol=0.1)
    differ = np.abs(found["sparse"]["logits"] - exact["sparse"]["logits"]).max()
    assert differ > 1e-5
    np.testing.assert_array_equal(
        mixed.side(SIGNALS["final"]).tensors["decoder/kernel"],
        teacher.side(SIGNALS["final"]).tensors["decoder/kernel"],
    )


def changed(directory, folder, edit):
    """A copy of the teacher with other tensors."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes((directory / "config.json").read_bytes())
    tensors = dict(read_tensors(directory / "model.safetensors"))
    write_tensors(folder / "model.safetensors", edit(tensors))
    return folder


def test_encoder_without_a_head_gives_states_and_refuses_logits(directory, tmp_path, batch):
    folder = changed(
        directory,
        tmp_path,
        lambda tensors: {n: t for n, t in tensors.items() if not n.startswith("cls.")},
    )
    source = find_teacher(folder)
    for name in ("sparse", "final"):
        with pytest.raises(UsageError, match=f"families.{name}: .* is an encoder without one"):
            source.facts.check({name: SIGNALS[name]})
    wanted = {name: SIGNALS[name] for name in ("masked", "attention")}
    source.facts.check(wanted)
    found = source.load(LoadOptions()).raw(batch, wanted)
    assert_close(found, load_teacher(directory).raw(batch, wanted), rtol=0, atol=0)


def test_answer_that_is_not_finite_is_marked_in_its_row_only(directory, batch):
    teacher = load_teacher(directory)
    table = teacher._model.encoder.embeddings.token  # files with such weights are refused
    values = table.numpy()
    values[batch.ids[1, 2]] = np.nan
    table.assign(values)
    some = {name: WANTED[name] for name in ("sparse", "hidden", "masked")}
    found = teacher.signals(batch, some)
    dims = teacher.facts.dims(seq_length=10, max_predictions=3)
    rows = {name: batch.items[f.signal.positions].index // 10 for name, f in some.items()}
    hit = set(np.flatnonzero((batch.ids == batch.ids[1, 2]).any(axis=1)))
    for name in ("hidden", "masked"):
        fault = codecs.find_fault(WANTED[name], found[name], dims=dims)
        assert fault is not None and rows[name][fault.position] in hit
    fault = codecs.find_fault(WANTED["sparse"], found["sparse"], dims=dims)
    assert fault is not None  # the vocabulary's matrix is this table: every row of logits


@pytest.mark.parametrize(
    "foreseen",
    [True, pytest.param(False, marks=pytest.mark.slow)],  # TensorFlow waits 10 s for memory
)
def test_batch_that_does_not_fit_memory_is_one_clear_error(tmp_path, monkeypatch, foreseen):
    from limbeck.teachers import keras_teacher

    length = 100_000  # attention scores of 4 heads: 160 GB, foreseen or found out by TensorFlow
    shape = EncoderArchitecture(
        vocab_size=30,
        num_layers=1,
        hidden_dim=4,
        num_heads=4,
        intermediate_dim=4,
        max_positions=length,
    )
    export_hf(build_masked_lm(shape, seed=1), tmp_path / "model", tokenizer=None)
    teacher = load_teacher(tmp_path / "model")
    if not foreseen:
        monkeypatch.setattr(keras_teacher, "available_bytes", lambda: None)
    ids = np.ones((1, length), np.int32)
    first = Items(index=np.zeros(1, np.int32), true_ids=np.zeros(1, np.int32))
    batch = TeacherBatch(ids=ids, segment_ids=0 * ids, attention_mask=ids, items={"first": first})
    wanted = {"first": HiddenSignal(layer=1, positions="first")}
    with pytest.raises(TeacherOutOfMemory, match="a batch of 1 rows of 100000 tokens .*budget"):
        teacher.raw(batch, wanted)


@pytest.mark.parametrize("named", ["BertForPreTraining", "BertForMaskedLM"])
def test_pre_training_checkpoint_gives_both_of_its_tasks(named, write_folder, tmp_path, batch):
    """Whatever class its config names: few that were published name the right one."""
    shutil.copytree(write_folder("BertForPreTraining"), tmp_path / "copy")
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    changed_config = json.dumps({**config, "architectures": [named]})
    (tmp_path / "copy" / "config.json").write_text(changed_config)
    facts = find_teacher(tmp_path / "copy").facts
    facts.check({"task": TaskSignal(), "sparse": SparseSignal(k=2)})
    assert (facts.num_labels, facts.task_positions, facts.predicts) == (2, "first", "masked")
