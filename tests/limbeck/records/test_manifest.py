"""The manifest: its hashes, its checks, and what other spellings of it are refused with."""

import json
import os

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records import Provenance, open_dataset
from limbeck.records.canonical import canonical, sha256_of
from limbeck.records.job import seal
from limbeck.records.manifest import MANIFEST, read_manifest

KEY_COLUMN = {"name": "key", "dtype": "uint8", "shape": [16]}


def value_of(directory):
    return json.loads((directory / MANIFEST).read_bytes())


def reseal(directory, value):
    """Writes a manifest whose hashes fit its blocks, whatever these say."""
    value.pop("sha256", None)
    value["id"] = sha256_of(value["content"])
    (directory / MANIFEST).write_bytes(seal(value))


def test_manifest_survives_and_names_the_dataset(masters):
    manifest = read_manifest(masters / "examples")
    value = value_of(masters / "examples")
    assert manifest.to_bytes() == (masters / "examples" / MANIFEST).read_bytes()
    assert manifest.id == value["id"] == sha256_of(value["content"])
    assert manifest.content.totals["records"] == 12
    assert manifest.content.settings == {"rate": 0.15, "grid": [1, 2, 4]}
    assert manifest.provenance.command == ("make",)


def test_id_does_not_depend_on_provenance(tools, tmp_path, masters):
    tools.write_examples(tmp_path / "again")
    writer = tools.examples_writer(tmp_path / "again")
    os.unlink(tmp_path / "again" / MANIFEST)
    provenance = Provenance(host="elsewhere", workers=8, seconds=99.5)
    again = writer.finish(accounting={"in": 12, "kept": 12}, provenance=provenance)
    assert again.id == read_manifest(masters / "examples").id
    assert read_manifest(tmp_path / "again").provenance == provenance


def test_provenance_since_a_time_says_who_and_when():
    found = Provenance.since(0.0, command=["x"], paths={"in": "y"}, workers=2)
    assert found.started == "1970-01-01T00:00:00Z" and found.seconds > 1e9
    assert found.host and found.device == "cpu" and found.workers == 2
    assert Provenance.since(1e12).seconds == 0  # the clock jumped back


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format_version=2), "format_version is 2 .*use the newer limbeck"),
        (lambda c: c.update(format_version=0), "format_version is 0 .*not written by limbeck"),
        (lambda c: c.update(format_version="1"), "format_version is '1'"),
        (lambda c: c.update(format_version=True), "format_version is True"),
        (lambda c: c.pop("format_version"), "format_version is None"),
        (lambda c: c.pop("seed"), "expected the fields"),
        (lambda c: c.update(extra=1), "expected the fields"),
        (lambda c: c.update(kind="weights"), "kind is 'weights'"),
        (lambda c: c.update(name="../x"), "dataset name '../x'"),
        (lambda c: c.update(name="x/y"), "dataset name 'x/y'"),
        (lambda c: c.update(name=".."), "dataset name '..'"),
        (lambda c: c.update(name=7), "dataset name 7"),
        (lambda c: c.update(settings=[]), "settings is "),
        (lambda c: c.update(parents={"x": 1}), "parents.x is 1"),
        (lambda c: c.update(seed="7"), "seed is '7'"),
        (lambda c: c.update(layout=[KEY_COLUMN, KEY_COLUMN]), "layout: .*'key' is there twice"),
        (lambda c: c.update(layout=[]), r"the field key uint8\[16\] is missing"),
        (lambda c: c.update(shards=[]), "num_shards is 0"),
        (lambda c: c.update(shards={}), "shards is not a list"),
        (lambda c: c["shards"].append({}), r"shards\[2\]: expected the fields"),
        (lambda c: c["shards"].append(None), r"shards\[2\]: expected the fields"),
        (lambda c: c["shards"].pop(), "shard 0 is named"),
        (lambda c: c["shards"].reverse(), "shard 0 is named"),
        (lambda c: c["shards"][0].update(name="../../etc/passwd"), "is named '../../etc/passwd'"),
        (lambda c: c["shards"][0].update(name="/etc/passwd"), "is named '/etc/passwd'"),
        (lambda c: c["shards"][0].update(records=-1), r"shards\[0\]: records cannot be -1"),
        (lambda c: c["shards"][0].update(records=1.0), r"shards\[0\]: records cannot be 1.0"),
        (lambda c: c["shards"][0].update(records=True), r"shards\[0\]: records cannot be True"),
        (lambda c: c["shards"][0].update(sha256="AB"), r"shards\[0\]: sha256 cannot be 'AB'"),
        (lambda c: c["shards"][0].update(first_key="x"), r"shards\[0\]: first_key cannot be 'x'"),
        (lambda c: c["shards"][0].update(first_key=""), "records and keys do not go together"),
        (lambda c: c["shards"][0].update(bytes=7), "totals are .*; the shards add up to"),
        (lambda c: c["totals"].update(records=13), "totals are .*; the shards add up to"),
        (lambda c: c.update(totals=None), "totals are None"),
    ],
)
def test_impossible_content_is_refused_even_with_fitting_hashes(copies, change, message):
    directory = copies / "examples"
    value = value_of(directory)
    change(value["content"])
    reseal(directory, value)
    with pytest.raises(LimbeckError, match=f"{directory / MANIFEST}: .*{message}"):
        open_dataset(directory)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("id"), "expected content, id and provenance"),
        (lambda v: v.update(id="0" * 64), "id is '000"),
        (lambda v: v.update(extra=1), "expected content, id and provenance"),
        (lambda v: v["provenance"].pop("host"), "provenance does not have the fields"),
        (lambda v: v.update(provenance=3), "provenance does not have the fields"),
        (lambda v: v["provenance"].update(command="x"), "command must be a list"),
        (lambda v: v.update(content=5), "format_version is None"),
    ],
)
def test_wrong_frame_is_refused_even_with_a_fitting_hash(copies, change, message):
    directory = copies / "examples"
    value = value_of(directory)
    value.pop("sha256")
    change(value)
    (directory / MANIFEST).write_bytes(seal(value))
    with pytest.raises(LimbeckError, match=f"{directory / MANIFEST}: .*{message}"):
        open_dataset(directory)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "damaged or not ours"),
        (b"{}\n", "format_version is None"),
        (b"[]\n", "expected a JSON object, found list"),
        (b"\x00" * 100, "damaged or not ours"),
        (b'{"id":"a","id":"b"}\n', "damaged or not ours: key 'id' is there twice"),
        (b'{"a":NaN}\n', "damaged or not ours: NaN is not a number"),
    ],
)
def test_file_that_is_no_manifest_is_refused(copies, data, message):
    (copies / "examples" / MANIFEST).write_bytes(data)
    with pytest.raises(LimbeckError, match=f"{MANIFEST}: {message}"):
        open_dataset(copies / "examples")


def test_manifest_that_was_prettified_or_edited_is_refused(copies):
    path = copies / "examples" / MANIFEST
    value = json.loads(path.read_bytes())
    path.write_text(json.dumps(value, indent=1))
    with pytest.raises(LimbeckError, match="not the canonical JSON that we write"):
        open_dataset(copies / "examples")
    value["content"]["seed"] = 8
    path.write_bytes(canonical(value) + b"\n")
    with pytest.raises(LimbeckError, match="its content has SHA-256 .* edited or damaged"):
        open_dataset(copies / "examples")


def test_cut_manifest_is_refused_at_every_length(copies):
    path = copies / "examples" / MANIFEST
    data = path.read_bytes()
    for cut in range(0, len(data), 7):
        path.write_bytes(data[:cut])
        with pytest.raises(LimbeckError, match=MANIFEST):
            open_dataset(copies / "examples")


def test_settings_that_json_would_change_are_refused_by_name(tools, tmp_path):
    with pytest.raises(ValueError, match="settings.k: np.int64"):
        tools.examples_writer(tmp_path, settings={"k": np.int64(3)})
    with pytest.raises(ValueError, match="settings.rate: nan"):
        tools.examples_writer(tmp_path, settings={"rate": float("nan")})


def test_directory_without_manifest_says_what_it_is(tools, copies, tmp_path):
    with pytest.raises(UsageError, match="nowhere: no such directory"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(LimbeckError, match=f"did you mean {copies}/documents"):
        open_dataset(copies)
    os.unlink(copies / "examples" / MANIFEST)
    with pytest.raises(LimbeckError, match="has not finished; run its command again"):
        open_dataset(copies / "examples")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LimbeckError, match="empty: no manifest.json: not a dataset directory"):
        open_dataset(tmp_path / "empty")


def test_other_kind_is_refused(masters):
    with pytest.raises(UsageError, match="examples: holds examples; expected labels"):
        open_dataset(masters / "examples", kind="labels")
    with open_dataset(masters / "examples", kind="examples") as dataset:
        assert dataset.content.kind == "examples"
