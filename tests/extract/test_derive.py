"""Sparse families of a final family: as extracted ones to tolerance, and as safe as `run`."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from extract.derive import DeriveSettings, derive_families
from extract.run import extract
from extract.settings import ExtractSettings
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import FinalSignal, HiddenSignal, SparseSignal, codecs, sparse
from limbeck.labels.family import read_fitted
from limbeck.records.dataset import check_rows_match, open_dataset
from limbeck.records.keys import chosen
from limbeck.records.manifest import read_manifest
from limbeck.records.verify import verify, verify_digests
from limbeck.records.writer import DatasetWriter

SPARSE = {
    "grid": SparseSignal(k=5, temperatures=(1.0, 2.0)),
    "drawn": SparseSignal(k=1, threshold=0.05, sample=True),
    "half": SparseSignal(k=3, records=0.5),
}
# Equal states through another matrix product: float32 logits of size 10 differ by 1e-6 of it.
FLOAT32 = 2e-5


def derive(final, examples_dir, out, families=SPARSE, **changes):
    settings = DeriveSettings(
        families=families, final=str(final), examples=examples_dir, out=str(out), **changes
    )
    lines = []
    return derive_families(settings, say=lines.append), lines


@pytest.fixture(scope="module")
def extracted(examples_dir, numpy_teacher, tmp_path_factory):
    """OUT with final families and the same sparse ones, extracted."""
    out = tmp_path_factory.mktemp("extracted")
    families = {
        "final": FinalSignal(codec="float32"),
        "everywhere": FinalSignal(codec="float32", positions="all"),
        "some": FinalSignal(codec="float32", records=0.5),
        "small": FinalSignal(),
        "first": SparseSignal(k=4, positions="first"),
        **SPARSE,
    }
    extract(
        ExtractSettings(
            examples=examples_dir,
            teacher="numpy",
            out=str(out),
            families=families,
            batch_tokens=128,
            recheck_batches=0,
        ),
        teacher=numpy_teacher(),
        say=lambda line: None,
    )
    return out


@pytest.fixture(scope="module")
def derived(extracted, examples_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("derived")
    derive(extracted / "final", examples_dir, out)
    return out


def decoded(directory):
    """Keys of the records and the decoded labels at all positions."""
    with open_dataset(str(directory), kind="labels") as dataset:
        rows = dataset.read(np.arange(dataset.num_rows))
        fitted = read_fitted(dataset)
        arrays, flat = codecs.from_records(fitted, rows)
        return rows["key"][flat.rows], codecs.decode(fitted, arrays), fitted, arrays


def contents(directory):
    """Every file but the manifests, whose provenance holds times."""
    files = (p for p in sorted(directory.rglob("*")) if p.is_file() and p.name != "manifest.json")
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


def ids(directory):
    return {p.parent.name: read_manifest(p.parent).id for p in directory.rglob("manifest.json")}


def assert_alike(ours, theirs, *, atol=FLOAT32):
    (ours_keys, a, _, _), (their_keys, b, _, _) = decoded(ours), decoded(theirs)
    np.testing.assert_array_equal(ours_keys, their_keys)
    width = min(a.ids.shape[-1], b.ids.shape[-1])
    np.testing.assert_array_equal(a.ids[:, :width], b.ids[:, :width])
    np.testing.assert_allclose(np.exp(a.log_tail), np.exp(b.log_tail), atol=atol)
    # Stored as fp16: a difference of float32's size may round to the other neighbour.
    np.testing.assert_allclose(a.logits[:, :width], b.logits[:, :width], rtol=2**-10, atol=atol)


@pytest.mark.parametrize("name", ["grid", "half"])
def test_derived_families_are_those_the_teacher_gives(extracted, derived, name):
    assert_alike(derived / name, extracted / name)


def test_a_sampled_family_draws_what_extraction_draws(extracted, derived):
    (_, _, fitted, ours), (_, _, other, theirs) = (
        decoded(out / "drawn") for out in (derived, extracted)
    )
    ids_a, weights_a = sparse.sampled_target(fitted, ours, temperature=1.0)
    ids_b, weights_b = sparse.sampled_target(other, theirs, temperature=1.0)
    # A probability at the edge of the threshold or of a draw may fall on the other side.
    same = (ids_a == ids_b).all(-1)
    assert same.mean() > 0.95
    np.testing.assert_allclose(weights_a[same], weights_b[same], atol=2e-3)


def test_manifests_say_what_they_come_from(extracted, derived, examples_dir):
    final, content = read_manifest(extracted / "final"), read_manifest(derived / "grid").content
    with open_dataset(examples_dir) as examples:
        assert content.parents == {"examples": examples.id, "final": final.id}
        for name in SPARSE:
            with open_dataset(str(derived / name)) as family:
                check_rows_match(examples, family)
                verify_digests(examples, family)
            assert not list(verify(str(derived / name)))
    assert content.settings["derived_from"] == final.id
    assert content.teacher == final.content.teacher


def test_a_fraction_holds_the_rows_that_its_keys_choose(derived, examples_dir):
    with open_dataset(examples_dir) as examples, open_dataset(str(derived / "half")) as half:
        keys = examples.keys(np.arange(examples.num_rows))
        expected = np.flatnonzero(chosen(keys, 0.5, 0))
        np.testing.assert_array_equal(half.parent_rows(), expected)
        assert half.content.accounting["kept"] == len(expected) < examples.num_rows


def test_a_quantised_final_family_gives_distributions_within_its_gate(
    extracted, examples_dir, tmp_path
):
    derive(extracted / "small", examples_dir, tmp_path, {"grid": SPARSE["grid"]})
    (_, a, _, _), (_, b, _, _) = decoded(tmp_path / "grid"), decoded(extracted / "grid")
    same = (a.ids == b.ids).all(-1)
    p, q = (np.exp(sparse.target(x, temperature=1.0).astype(float))[same] for x in (b, a))
    kl = (p * np.log(p / q)).sum(-1)
    # Rounded states may change which id is fifth, but the first only where two are almost equal.
    assert same.mean() > 0.7 and (a.ids[:, 0] == b.ids[:, 0]).mean() > 0.95
    # The gate of a final family lets pass a mean KL of 1e-3 over all ids; k + 1 outcomes see less.
    assert kl.mean() < 1e-3


def test_positions_may_be_a_part_of_the_final_familys(extracted, derived, examples_dir, tmp_path):
    families = {"grid": SPARSE["grid"], "first": SparseSignal(k=4, positions="first")}
    derive(extracted / "everywhere", examples_dir, tmp_path, families)
    assert_alike(tmp_path / "grid", extracted / "grid")
    assert_alike(tmp_path / "first", extracted / "first")


def test_two_workers_and_an_interrupted_one_write_the_same_bytes(
    extracted, derived, examples_dir, tmp_path
):
    derive(extracted / "final", examples_dir, tmp_path, worker="1/2")
    assert contents(tmp_path) == contents(derived) and ids(tmp_path) == ids(derived)
    for name in ("grid", "drawn"):  # as if killed before the manifest and in the second shard
        (tmp_path / name / "manifest.json").unlink()
        for path in (tmp_path / name).glob(f"{name}-00001-of-*"):
            path.unlink()
    whole = read_manifest(tmp_path / "half")
    derive(extracted / "final", examples_dir, tmp_path, worker="0/2")
    assert contents(tmp_path) == contents(derived) and ids(tmp_path) == ids(derived)
    assert read_manifest(tmp_path / "half") == whole  # not touched, not even its times


def test_the_default_output_stands_beside_the_final_family(extracted, examples_dir, tmp_path):
    shutil.copytree(extracted / "final", tmp_path / "final")
    manifests, lines = derive(tmp_path / "final", examples_dir, "", {"grid": SPARSE["grid"]})
    assert (tmp_path / "grid" / "manifest.json").is_file() and list(manifests) == ["grid"]
    assert any(line.startswith("derive: grid: 60 records") for line in lines)


@pytest.mark.parametrize(
    "source, families, message",
    [
        ("grid", SPARSE, "holds a signal of kind sparse; derive needs a family of kind final"),
        ("final", {"h": HiddenSignal(layer=1)}, "none is of kind sparse"),
        ("final", {"a": SparseSignal(k=2, positions="all")}, "families.a: positions is all, but"),
        ("final", {"a": SparseSignal(k=98)}, "k is 98 but the teacher's vocabulary has 97 ids"),
        ("some", {"a": SparseSignal(k=2)}, "labels a fraction of the records"),
    ],
)
def test_what_is_not_there_is_refused_before_work(
    extracted, examples_dir, tmp_path, source, families, message
):
    with pytest.raises(UsageError, match=message):
        derive(extracted / source, examples_dir, tmp_path / "out", families)
    assert not (tmp_path / "out").exists()


def test_a_smaller_fraction_of_a_fraction_is_derived(extracted, examples_dir, tmp_path):
    families = {"a": SparseSignal(k=2, records=0.25)}
    manifests, _ = derive(extracted / "some", examples_dir, tmp_path, families)
    assert 0 < manifests["a"].content.totals["records"] < 30


def test_other_examples_and_another_jobs_output_are_refused(
    extracted, derived, make_examples, examples_dir, tmp_path
):
    other = make_examples(tmp_path / "other", num_rows=60, seed=6)
    with pytest.raises(UsageError, match="does not go with"):
        derive(extracted / "final", other, tmp_path / "out")
    with pytest.raises(UsageError, match=r"settings\.signal\.k is 5 there and 6 here"):
        derive(extracted / "final", examples_dir, derived, {"grid": SparseSignal(k=6)})


def test_a_broken_state_stops_the_job_with_its_records_key(extracted, examples_dir, tmp_path):
    with open_dataset(str(extracted / "final")) as final:
        content, fitted = final.content, read_fitted(final)
        rows = final.read(np.arange(final.num_rows))
        starts = final.shard_starts
        tensors = final.attachment("tensors.safetensors")
    bad = int(np.flatnonzero(rows["num_positions"])[-1])
    rows["states"][bad, 0, 3] = np.nan
    assert fitted.signal.codec == "float32"
    writer = DatasetWriter(
        str(tmp_path / "final"),
        name="final",
        kind="labels",
        layout=content.layout,
        num_shards=len(content.shards),
        settings=content.settings,
        parents=content.parents,
        tokenizer=content.tokenizer,
        teacher=content.teacher,
        attachments={"tensors.safetensors": tensors},
    )
    writer.open()
    for index, (start, stop) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        writer.write_shard(index, {name: values[start:stop] for name, values in rows.items()})
    writer.finish()
    key = rows["key"][bad].tobytes().hex()
    with pytest.raises(LimbeckError, match=f"family grid: record {key} .*not finite"):
        derive(tmp_path / "final", examples_dir, tmp_path, {"grid": SPARSE["grid"]})
    assert not (tmp_path / "grid" / "manifest.json").exists()


@pytest.mark.slow  # two processes with TensorFlow: some 20 s
@pytest.mark.faults
def test_a_killed_command_goes_on_to_the_same_bytes(extracted, derived, examples_dir, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "families:\n"
        "  grid: {kind: sparse, k: 5, temperatures: [1, 2]}\n"
        "  drawn: {kind: sparse, k: 1, threshold: 0.05, sample: true}\n"
        "  half: {kind: sparse, k: 3, records: 0.5}\n"
        "  other: {kind: hidden, layer: 1}\n"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-m", "extract", "derive", str(recipe), "--final"]
    command += [str(extracted / "final"), "--examples", examples_dir, "--out", str(out)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    deadline = time.monotonic() + 200
    while len(list(out.rglob("*-of-*.json"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(out.rglob("manifest.json"))
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert result.returncode == 0, result.stderr
    assert contents(out) == contents(derived) and ids(out) == ids(derived)
