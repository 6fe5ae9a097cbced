"""Labels of a real run against a direct float64 computation from the teacher's full logits."""

import filecmp
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from extract.run import extract
from extract.settings import ExtractSettings
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import codecs, sparse
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import HiddenSignal, SparseSignal, from_dict
from limbeck.records.dataset import open_dataset
from limbeck.records.keys import input_digest
from limbeck.weights.hf import load_masked_lm

GRID = (1.0, 2.0, 4.0)
FAMILIES = {
    "sparse": SparseSignal(k=6, temperatures=GRID),
    "hidden-0": HiddenSignal(layer=0, positions="first", codec="float32"),
    "hidden-1": HiddenSignal(layer=1, positions="masked"),
    "hidden-2": HiddenSignal(layer=2, codec="float32"),
}
# The teacher computes in float32, in batches of other shapes than one row alone: its logits and
# states, of size 10 at most here, move by a few ulps.
FLOAT32 = 2e-5


def settings(examples_dir, teacher_dir, out, **changes):
    values = {"families": FAMILIES, "batch_tokens": 96, "length_multiple": 8, **changes}
    return ExtractSettings(
        examples=str(examples_dir), teacher=str(teacher_dir), out=str(out), **values
    )


@pytest.fixture(scope="module")
def labels(examples_dir, teacher_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("labels")
    manifests = extract(settings(examples_dir, teacher_dir, out))
    return out, manifests


@pytest.fixture(scope="module")
def answers(examples_dir, teacher_dir):
    """(row fields, states per layer, full logits) of each example alone, without any padding."""
    model, _ = load_masked_lm(teacher_dir, seed=0)
    with open_dataset(examples_dir) as dataset:
        rows = dataset.read(np.arange(dataset.num_rows))
    found = []
    for row in range(len(rows["key"])):
        tokens, masked = int(rows["num_tokens"][row]), int(rows["num_masked"][row])
        ids = tf.constant(rows["ids"][row, None, :tokens].astype(np.int32))
        segments = (np.arange(tokens) >= rows["segment_split"][row]).astype(np.int32)[None]
        places = rows["mask_positions"][row, :masked].astype(np.int32)
        encoded = model.encode(
            ids, tf.constant(segments), tf.ones_like(ids), hidden_layers=(0, 1, 2)
        )
        logits = model.logits_at(encoded.last, tf.constant(places[None]))
        states = {layer: encoded.hidden[layer].numpy()[0] for layer in (0, 1, 2)}
        found.append((states, logits.numpy()[0], places))
    return rows, found


def read_family(out, name):
    with open_dataset(str(Path(out) / name), kind="labels") as dataset:
        return dataset.read(np.arange(dataset.num_rows))


def log_softmax(z):
    z = z - z.max()
    return z - np.log(np.exp(z).sum())


def test_sparse_family_matches_the_full_logits_row_by_row(labels, answers):
    stored = read_family(labels[0], "sparse")
    rows, found = answers
    num_checked = 0
    for row, (_, logits, places) in enumerate(found):
        assert stored["num_positions"][row] == len(places)
        for slot in range(len(places)):
            z = logits[slot].astype(np.float64)
            order = np.lexsort((np.arange(len(z)), -z))[:6]
            np.testing.assert_array_equal(stored["ids"][row, slot], order)
            np.testing.assert_allclose(stored["zmax"][row, slot], z.max(), atol=FLOAT32)
            true_id = int(rows["mask_ids"][row, slot])
            np.testing.assert_allclose(stored["true_logit"][row, slot], z[true_id], atol=FLOAT32)
            # fp16 keeps 11 bits.
            np.testing.assert_allclose(
                stored["logits"][row, slot], z[order] - z.max(), rtol=2**-11, atol=FLOAT32
            )
            for column, temperature in enumerate(GRID):
                rest = np.delete(log_softmax(z / temperature), order)
                expected = rest.max() + np.log(np.exp(rest - rest.max()).sum())
                np.testing.assert_allclose(
                    stored["log_tail"][row, slot, column], expected, atol=2 * FLOAT32
                )
            num_checked += 1
    assert num_checked == rows["num_masked"].sum() > 60


def test_slots_behind_the_last_position_are_zero(labels, answers):
    rows, _ = answers
    stored = read_family(labels[0], "sparse")
    empty = np.arange(stored["zmax"].shape[1]) >= rows["num_masked"][:, None]
    assert empty.any()
    for field in ("zmax", "ids", "logits", "log_tail", "true_logit"):
        assert not stored[field][empty].any(), field
    stored = read_family(labels[0], "hidden-2")
    behind = np.arange(stored["states"].shape[1]) >= rows["num_tokens"][:, None]
    assert behind.any() and not stored["states"][behind].any()


@pytest.mark.parametrize("name", ["hidden-0", "hidden-1", "hidden-2"])
def test_hidden_families_match_the_states_row_by_row(labels, answers, name):
    signal = FAMILIES[name]
    stored = read_family(labels[0], name)
    for row, (states, _, places) in enumerate(answers[1]):
        expected = states[signal.layer]
        expected = {"first": expected[:1], "masked": expected[places], "all": expected}[
            signal.positions
        ]
        count = len(expected)
        assert stored["num_positions"][row] == count
        relative = 2**-11 if signal.codec == "float16" else 0
        np.testing.assert_allclose(
            stored["states"][row, :count], expected, rtol=relative, atol=FLOAT32
        )


@pytest.mark.parametrize("name", list(FAMILIES))
def test_keys_and_digests_belong_to_the_examples(labels, answers, name):
    stored, rows = read_family(labels[0], name), answers[0]
    np.testing.assert_array_equal(stored["key"], rows["key"])
    selected = ()
    if FAMILIES[name].positions == "masked":
        selected = (rows["mask_positions"], rows["num_masked"])
    digests = input_digest(rows["ids"], rows["num_tokens"], rows["segment_split"], *selected)
    np.testing.assert_array_equal(stored["digest"], digests)


def test_label_of_another_masking_has_another_digest(labels, answers):
    rows = {name: values.copy() for name, values in answers[0].items()}
    row = int(np.flatnonzero(rows["num_masked"])[0])
    place = int(rows["mask_positions"][row, 0])
    rows["ids"][row, place] = rows["ids"][row, place] % 90 + 1  # another id where it was masked
    digests = input_digest(
        rows["ids"],
        rows["num_tokens"],
        rows["segment_split"],
        rows["mask_positions"],
        rows["num_masked"],
    )
    stored = read_family(labels[0], "sparse")["digest"]
    differ = (digests != stored).any(axis=-1)
    np.testing.assert_array_equal(np.flatnonzero(differ), [row])


def test_manifests_carry_signal_settings_parents_teacher_and_totals(labels, examples_dir, answers):
    out, manifests = labels
    rows, _ = answers
    with open_dataset(examples_dir) as examples:
        for name, manifest in manifests.items():
            content = manifest.content
            assert from_dict(content.settings["signal"]) == FAMILIES[name]
            assert content.settings["batch_tokens"] == 96
            assert content.settings["length_multiple"] == 8
            assert content.parents == {"examples": examples.id}
            assert content.tokenizer == examples.content.tokenizer
            assert content.teacher["vocab_size"] == 97 and content.teacher["hidden_dim"] == 16
            assert len(content.teacher["fingerprint"]) == 64
            assert len(content.shards) == len(examples.content.shards)
            assert content.totals["records"] == len(rows["key"])
            assert content.totals["tokens"] == rows["num_tokens"].sum()
    assert manifests["sparse"].content.settings["signal"]["k"] == 6
    assert manifests["sparse"].content.settings["signal"]["temperatures"] == [1.0, 2.0, 4.0]
    positions = {n: m.content.totals["labelled_positions"] for n, m in manifests.items()}
    assert positions == {
        "sparse": rows["num_masked"].sum(),
        "hidden-0": len(rows["key"]),
        "hidden-1": rows["num_masked"].sum(),
        "hidden-2": rows["num_tokens"].sum(),
    }


def test_labels_do_not_depend_on_the_batches_they_came_from(
    labels, examples_dir, teacher_dir, tmp_path
):
    one_by_one = settings(examples_dir, teacher_dir, tmp_path, batch_tokens=1, length_multiple=1)
    extract(one_by_one)
    for name in FAMILIES:
        a, b = read_family(labels[0], name), read_family(tmp_path, name)
        for field in a:
            if a[field].dtype.kind == "f":
                # An fp16 value may round to either neighbour: one part in 2^10.
                relative = 2**-10 if a[field].dtype == np.float16 else 0
                np.testing.assert_allclose(a[field], b[field], rtol=relative, atol=2 * FLOAT32)
            else:
                np.testing.assert_array_equal(a[field], b[field], err_msg=f"{name}.{field}")


def test_second_run_is_already_complete_and_touches_nothing(labels, examples_dir, teacher_dir):
    out, manifests = labels
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in sorted(Path(out).rglob("*"))}
    again = extract(settings(examples_dir, teacher_dir, out))
    assert {n: m.id for n, m in again.items()} == {n: m.id for n, m in manifests.items()}
    assert before == {
        p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in sorted(Path(out).rglob("*"))
    }


def test_family_added_later_touches_nothing_else(labels, examples_dir, teacher_dir, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(labels[0], out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    before = {p: time for p, time in before.items() if p.parent.name != "metrics"}
    added = {"top1": SparseSignal(k=1, temperatures=(1.0,))}
    manifests = extract(settings(examples_dir, teacher_dir, out, families=added))
    assert list(manifests) == ["top1"]
    assert before == {p: p.stat().st_mtime_ns for p in before}
    assert (out / "top1" / "manifest.json").exists()
    np.testing.assert_array_equal(
        read_family(out, "top1")["ids"][..., 0], read_family(out, "sparse")["ids"][..., 0]
    )


def test_shard_lost_by_one_family_is_written_again_byte_for_byte(
    labels, examples_dir, teacher_dir, tmp_path
):
    out = tmp_path / "out"
    shutil.copytree(labels[0], out)
    for name in FAMILIES:  # as a run that was killed before its manifests
        (out / name / "manifest.json").unlink()
    lost = out / "hidden-1" / "hidden-1-00001-of-00003.tfrecord"
    lost.unlink()
    extract(settings(examples_dir, teacher_dir, out))
    comparison = filecmp.cmpfiles(
        labels[0], out, [p.relative_to(out) for p in out.rglob("*.tfrecord")], shallow=False
    )
    assert comparison[1] == comparison[2] == []


@pytest.mark.parametrize("num_rows", [0, 1])  # of 3 shards, at least two are empty
def test_empty_shards_are_written_as_such(make_examples, teacher_dir, tmp_path, num_rows):
    examples = make_examples(tmp_path / "examples", num_rows=num_rows, seed=1)
    manifests = extract(settings(examples, teacher_dir, tmp_path / "out"))
    for name, manifest in manifests.items():
        assert manifest.content.totals["records"] == num_rows
        assert len(read_family(tmp_path / "out", name)["key"]) == num_rows


def test_family_beside_labels_of_other_examples_is_refused(
    labels, make_examples, teacher_dir, tmp_path
):
    examples = make_examples(tmp_path / "examples", num_rows=5, seed=1)
    families = {"new": SparseSignal(k=2)}
    with pytest.raises(UsageError, match="holds labels of other examples"):
        extract(settings(examples, teacher_dir, labels[0], families=families))
    assert not (labels[0] / "new").exists()


def test_all_ids_kept_stores_no_tail(examples_dir, teacher_dir, tmp_path):
    families = {"full": SparseSignal(k=97, temperatures=(1.0,))}
    extract(settings(examples_dir, teacher_dir, tmp_path, families=families))
    stored = read_family(tmp_path, "full")
    fitted = Fitted(signal=families["full"])
    arrays, _ = codecs.from_records(fitted, stored)
    assert np.isneginf(arrays["log_tail"]).all()
    target = sparse.target(codecs.decode(fitted, arrays), temperature=1.0)
    np.testing.assert_allclose(np.exp(target).sum(axis=-1), 1.0, rtol=1e-5)


def test_other_settings_in_the_same_out_are_refused_listing_them(labels, examples_dir, teacher_dir):
    families = {"sparse": SparseSignal(k=7, temperatures=GRID)}
    with pytest.raises(UsageError, match=r"settings.signal.k is 6 there and 7 here"):
        extract(settings(examples_dir, teacher_dir, labels[0], families=families))


def test_threads_after_tensorflow_has_started_are_refused(examples_dir, teacher_dir, tmp_path):
    with pytest.raises(UsageError, match="TensorFlow is running already"):
        extract(settings(examples_dir, teacher_dir, tmp_path, threads=7))


@pytest.mark.parametrize(
    ("tensor", "index", "value", "message"),
    [
        # Positions from 20 on overflow, so only rows longer than that give NaN; and not in the
        # order of the shard, since the longest are computed first.
        (
            "bert.embeddings.position_embeddings.weight",
            20,
            3e38,
            "family sparse: record .*: the teacher gave a logit that is not finite",
        ),
        # Finite in float32 and too large for float16.
        (
            "bert.encoder.layer.0.output.LayerNorm.weight",
            slice(None),
            1e6,
            "family hidden-1: record .*, position slot 0: the state of layer 1 has .* -?inf",
        ),
    ],
)
def test_answers_that_are_not_finite_name_family_and_record(
    examples_dir, teacher_dir, tmp_path, tensor, index, value, message
):
    broken = tmp_path / "teacher"
    shutil.copytree(teacher_dir, broken)
    tensors = load_file(str(broken / "model.safetensors"))
    tensors[tensor][index] = value
    save_file(tensors, str(broken / "model.safetensors"), metadata={"format": "pt"})
    with pytest.raises(LimbeckError, match=message) as caught:
        extract(settings(examples_dir, broken, tmp_path / "out"))
    assert not isinstance(caught.value, UsageError)
    assert "(corpus " in str(caught.value) and "page " in str(caught.value)
    # Nothing of the bad shard was written, in any family.
    assert not list((tmp_path / "out").rglob("*.tfrecord"))
