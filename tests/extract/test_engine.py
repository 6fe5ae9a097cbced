"""The engine around a teacher of NumPy: windows, fractions, kinds of examples, faults, reports."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from extract.run import dry_run, extract
from extract.settings import ExtractSettings
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import codecs
from limbeck.labels.family import read_fitted
from limbeck.labels.signals import FinalSignal, HiddenSignal, SparseSignal
from limbeck.records.dataset import check_rows_match, open_dataset
from limbeck.records.examples import kind_layout
from limbeck.records.keys import chosen, shards_of
from limbeck.records.writer import DatasetWriter
from limbeck.runs import read_heartbeats

# n rows, V vocabulary 97, D hidden 16
FAMILIES = {
    "sparse": SparseSignal(k=3, temperatures=(1.0, 2.0)),
    "ragged": SparseSignal(k=1, threshold=0.05, sample=True, temperatures=(1.0,), form="lean"),
    "final": FinalSignal(),
    "states": HiddenSignal(layer=1, codec="int8"),
    "some": HiddenSignal(layer=2, codec="float32", records=0.4),
}


def settings(examples, out, **changes):
    values = {"families": FAMILIES, "batch_tokens": 96, "length_multiple": 8, **changes}
    return ExtractSettings(examples=str(examples), teacher="numpy", out=str(out), **values)


def shard_files(out) -> dict[str, bytes]:
    """Everything that families hold but what says when and where it was made."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(Path(out).rglob("*"))
        if path.is_file() and path.name != "manifest.json" and path.parent.name != "metrics"
    }


def write_kind(directory, rows, kind, **sizes):
    """Rows as examples of another kind, in two shards."""
    layout = kind_layout(kind, seq_length=rows["ids"].shape[1], vocab_size=97, **sizes)
    fields = {field.name: rows[field.name] for field in layout.fields}
    writer = DatasetWriter(
        str(directory), name="train", kind="examples", layout=layout, num_shards=2, settings={}
    )
    writer.open()
    for index in range(2):
        mine = {n: v[shards_of(rows["key"], 2) == index] for n, v in fields.items()}
        writer.write_shard(index, mine, lengths=mine["num_tokens"].astype(np.uint32))
    writer.finish()
    return str(directory)


@pytest.fixture(scope="module")
def labels(examples_dir, numpy_teacher, tmp_path_factory):
    out = tmp_path_factory.mktemp("labels") / "out"
    lines = []
    manifests = extract(settings(examples_dir, out), teacher=numpy_teacher(), say=lines.append)
    return out, manifests, lines


def test_every_family_is_labelled_and_checked_again(labels, examples_dir):
    out, manifests, lines = labels
    assert list(manifests) == list(FAMILIES)
    assert any(line.startswith("final: int8: mean KL") for line in lines)  # the codec's gate
    assert any("computed again" in line and "equal bit for bit" in line for line in lines)
    with open_dataset(examples_dir) as examples:
        for name in FAMILIES:
            with open_dataset(str(out / name)) as family:
                check_rows_match(examples, family)
                assert family.content.seed == 0


def test_windows_and_batches_do_not_change_what_a_shard_holds(
    labels, examples_dir, numpy_teacher, tmp_path
):
    # This teacher's answers do not depend on who is in the batch, so all bytes are equal.
    out = tmp_path / "out"
    small = settings(examples_dir, out, window_rows=4, batch_tokens=32)
    extract(small, teacher=numpy_teacher())
    for name in FAMILIES:
        for shard in sorted((labels[0] / name).glob("*.tfrecord")):
            assert shard.read_bytes() == (out / name / shard.name).read_bytes(), shard


def test_no_more_than_a_few_windows_are_read_ahead(examples_dir, numpy_teacher, tmp_path):
    teacher = numpy_teacher()
    extract(settings(examples_dir, tmp_path / "out", window_rows=2), teacher=teacher)
    assert max(rows for rows, _ in teacher.shapes[1:]) <= 2  # the first is the trial


def test_partial_family_holds_the_chosen_records_only(labels, examples_dir):
    with open_dataset(examples_dir) as examples, open_dataset(str(labels[0] / "some")) as family:
        keys = examples.keys(np.arange(examples.num_rows))
        wanted = chosen(keys, 0.4, 0)
        assert family.is_partial and 0 < family.num_rows == wanted.sum() < examples.num_rows
        np.testing.assert_array_equal(family.parent_rows(), np.flatnonzero(wanted))
        rows, stored = examples.read(np.flatnonzero(wanted)), family.read(np.arange(wanted.sum()))
        np.testing.assert_array_equal(stored["num_positions"], rows["num_tokens"])
        accounting = family.content.accounting
        assert accounting["kept"] == wanted.sum() and accounting["in"] == examples.num_rows


def test_only_chosen_records_are_computed_where_no_family_wants_more(
    examples_dir, numpy_teacher, tmp_path
):
    teacher = numpy_teacher()
    few = settings(
        examples_dir,
        tmp_path / "out",
        families={"some": FAMILIES["some"]},
        batch_tokens=1,  # a row a batch
        recheck_batches=0,
    )
    (manifest,) = extract(few, teacher=teacher).values()
    assert len(teacher.shapes) - 1 == manifest.content.totals["records"] < 60
    # A family of all records beside it later leaves it alone, though rows are batched otherwise.
    more = settings(
        examples_dir,
        tmp_path / "out",
        families={"some": FAMILIES["some"], "all": HiddenSignal(layer=0)},
        batch_tokens=1,
    )
    assert extract(more, teacher=teacher)["some"].id == manifest.id


def test_final_family_carries_its_decoder(labels):
    with open_dataset(str(labels[0] / "final")) as family:
        fitted = read_fitted(family)
        assert fitted.tensors["decoder/kernel"].shape == (97, 16)
        arrays, _ = codecs.from_records(fitted, family.read(np.arange(family.num_rows)))
    assert codecs.decode(fitted, arrays)["states"].shape[1] == 16


def test_settled_codec_is_taken_from_the_directory(
    labels, examples_dir, numpy_teacher, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    wanted = settings(examples_dir, out, families={"final": FAMILIES["final"]})
    extract(wanted, teacher=numpy_teacher())
    (out / "final" / "manifest.json").unlink()
    teacher = numpy_teacher()
    monkeypatch.setattr(teacher, "raw", None)  # fitting would ask for it
    extract(wanted, teacher=teacher)
    assert shard_files(out) == {n: v for n, v in shard_files(labels[0]).items() if "final" in n}


@pytest.mark.parametrize("kind", ["unmasked-pairs", "clm", "lines", "classification"])
def test_examples_without_masks_are_labelled_at_all_and_first_positions(
    kind, make_rows, numpy_teacher, tmp_path
):
    rows = {**make_rows(20, seed=2), "class_id": np.zeros(20, np.int32)}
    examples = write_kind(tmp_path / "examples", rows, kind)
    families = {
        "sparse": SparseSignal(k=2, positions="all", temperatures=(1.0,)),
        "first": HiddenSignal(layer=1, positions="first"),
    }
    extract(settings(examples, tmp_path / "out", families=families), teacher=numpy_teacher())
    with open_dataset(str(tmp_path / "out" / "sparse")) as family:
        stored = family.read(np.arange(20))
        assert stored["num_positions"].sum() == rows["num_tokens"].sum()
    masked = {"sparse": SparseSignal(k=2)}
    with pytest.raises(UsageError, match=r"families.sparse: positions is masked, but .* no masked"):
        extract(settings(examples, tmp_path / "no", families=masked), teacher=numpy_teacher())
    assert not (tmp_path / "no").exists()


def test_batch_that_does_not_fit_stops_before_anything_and_names_one_that_does(
    examples_dir, numpy_teacher, tmp_path
):
    wanted = settings(examples_dir, tmp_path / "out", batch_tokens=400)
    # 16 rows of 24 tokens are too many; half the budget, 8 rows, are 192 slots.
    with pytest.raises(UsageError, match=r"batch_tokens is 400.*--token-budget 200 fits"):
        extract(wanted, teacher=numpy_teacher(fits_slots=200))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="not even one row fits"):
        extract(wanted, teacher=numpy_teacher(fits_slots=5))


def test_nan_of_one_record_stops_naming_it(examples_dir, numpy_teacher, tmp_path):
    with open_dataset(examples_dir) as examples:
        rows = examples.read(np.arange(examples.num_rows))
    row = int(np.flatnonzero(rows["num_masked"] > 0)[7])
    ids = rows["ids"][row, : rows["num_tokens"][row]].astype(np.int32)
    key = rows["key"][row].tobytes().hex()
    families = {"sparse": FAMILIES["sparse"]}
    for window_rows in (2048, 4):
        out = tmp_path / f"out-{window_rows}"
        wanted = settings(examples_dir, out, families=families, window_rows=window_rows)
        with pytest.raises(LimbeckError, match=f"family sparse: record {key} .*not finite"):
            extract(wanted, teacher=numpy_teacher(nan_ids=ids))
        assert not list(out.rglob("manifest.json"))
    extract(wanted, teacher=numpy_teacher())  # a sound teacher goes on from there
    assert list(out.rglob("manifest.json"))


def test_constant_answers_stop_naming_a_record(examples_dir, numpy_teacher, tmp_path):
    families = {"states": HiddenSignal(layer=1)}
    wanted = settings(examples_dir, tmp_path / "out", families=families)
    with pytest.raises(LimbeckError, match="family states: record .* same for every id or channel"):
        extract(wanted, teacher=numpy_teacher(constant=True))
    assert not list((tmp_path / "out").rglob("*.tfrecord"))


def test_answers_that_change_are_found_by_the_check_at_the_end(
    examples_dir, numpy_teacher, tmp_path
):
    families = {"states": HiddenSignal(layer=1, codec="float32")}
    wanted = settings(examples_dir, tmp_path / "out", families=families)
    with pytest.raises(LimbeckError, match="record .*what is stored is not what the teacher says"):
        extract(wanted, teacher=numpy_teacher(noise=0.05))
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_small_differences_are_reported_and_accepted(examples_dir, numpy_teacher, tmp_path):
    families = {"states": HiddenSignal(layer=1, codec="float32")}
    lines = []
    wanted = settings(examples_dir, tmp_path / "out", families=families)
    extract(wanted, teacher=numpy_teacher(noise=1e-6), say=lines.append)
    assert any("differ by rounding" in line for line in lines)


def test_dry_run_estimates_and_writes_nothing(examples_dir, numpy_teacher, tmp_path):
    lines = []
    wanted = settings(examples_dir, tmp_path / "out")
    dry_run(wanted, teacher=numpy_teacher(), say=lines.append)
    assert lines[0].startswith("60 examples, 812 tokens, 113 labelled positions in 3 shards")
    assert any("to be written at most" in line and "free" in line for line in lines)
    assert any(line.startswith("estimate: ") and "tokens/s" in line for line in lines)
    assert lines[-1] == "dry run: nothing was written"
    assert not (tmp_path / "out").exists()


def test_metrics_file_holds_what_the_progress_shows(labels):
    (path,) = (labels[0] / "metrics").glob("*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "end"]
    last = lines[-1]
    assert last["tokens"] == last["tokens_total"] == 812 and last["shards"] == 3
    assert last["bytes"] == sum(
        p.stat().st_size for p in labels[0].rglob("*") if p.suffix in (".tfrecord", ".index")
    )
    assert last["tokens_per_s"] > 0 and last["bytes_per_s"] > 0


def test_worker_beats_for_a_supervisor(labels):
    beat = read_heartbeats(labels[0] / "metrics")[0]
    assert (beat["step"], beat["ended"]) == (3, True)  # shards
    assert beat["beats"] > 3  # batches too


def test_long_run_says_how_much_of_the_bare_forward_it_reaches(
    examples_dir, numpy_teacher, tmp_path
):
    lines = []
    wanted = settings(examples_dir, tmp_path / "out", batch_tokens=24)  # 812 tokens: 34 batches
    extract(wanted, teacher=numpy_teacher(), say=lines.append)
    assert any("% of the bare forward" in line and "MB/s" in line for line in lines)


def test_two_workers_end_in_the_bytes_of_one(labels, examples_dir, numpy_teacher, tmp_path):
    out, errors = tmp_path / "out", []

    def work(index):
        try:
            extract(settings(examples_dir, out, worker=f"{index}/2"), teacher=numpy_teacher())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert shard_files(out) == shard_files(labels[0])
    for name, manifest in labels[1].items():
        with open_dataset(str(out / name)) as family:
            assert family.id == manifest.id


def test_seed_that_changed_is_refused_and_listed(labels, examples_dir, numpy_teacher):
    with pytest.raises(UsageError, match="seed is 0 there and 5 here"):
        extract(settings(examples_dir, labels[0], seed=5), teacher=numpy_teacher())
    with pytest.raises(UsageError, match="settings.window_rows is 2048 there and 9 here"):
        extract(settings(examples_dir, labels[0], window_rows=9), teacher=numpy_teacher())
