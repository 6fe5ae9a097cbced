"""Files that lie beside a dataset's shards, such as a decoder matrix."""

import dataclasses
import json

import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records import open_dataset
from limbeck.records.manifest import MANIFEST
from limbeck.records.show import summary_lines
from limbeck.records.verify import verify

NAME = "tensors.safetensors"
CONTENT = b"\x00kernel\xff" * 100


def write(tools, directory, **changes):
    writer = tools.examples_writer(directory, attachments={NAME: CONTENT}, **changes)
    writer.open()
    tools.write_shards(writer, tools.example_rows(12))
    return writer, writer.finish()


def test_attachment_comes_back_and_is_part_of_the_id(tools, masters, tmp_path):
    _, manifest = write(tools, tmp_path / "out")
    assert verify(str(tmp_path / "out")) == ()
    with open_dataset(tmp_path / "out") as dataset, open_dataset(masters / "examples") as plain:
        assert dataset.attachment(NAME) == CONTENT
        assert dataset.content.attachments[NAME]["bytes"] == len(CONTENT)
        assert any(NAME in line for line in summary_lines(dataset))
        with pytest.raises(UsageError, match="no attachment 'other.bin'; it has tensors"):
            dataset.attachment("other.bin")
        with pytest.raises(UsageError, match="it has none"):
            plain.attachment(NAME)
    other = dataclasses.replace(manifest.content, attachments={})
    assert other.id != manifest.id


def test_datasets_without_attachments_say_nothing_of_them(masters):
    for name in (MANIFEST, "job.json"):
        value = json.loads((masters / "examples" / name).read_bytes())
        assert "attachments" not in value.get("content", value)


def test_job_with_another_attachment_is_refused(tools, tmp_path):
    write(tools, tmp_path / "out")
    other = tools.examples_writer(tmp_path / "out", attachments={NAME: b"other"})
    with pytest.raises(UsageError, match=rf"attachments\.{NAME}.* is .* there and"):
        other.open()
    with pytest.raises(UsageError, match="attachments"):
        tools.examples_writer(tmp_path / "out").open()


@pytest.mark.parametrize("fault", ["flip", "cut", "remove"])
def test_damaged_attachment_is_named_and_opening_the_job_mends_it(tools, tmp_path, fault):
    writer, manifest = write(tools, tmp_path / "out")
    path = tmp_path / "out" / NAME
    if fault == "remove":
        path.unlink()
    else:
        path.write_bytes(b"\x01" + CONTENT[1:] if fault == "flip" else CONTENT[:-1])
    problems = verify(str(tmp_path / "out"))
    assert len(problems) == 1 and problems[0].startswith(f"{path}: ")
    with pytest.raises(LimbeckError, match=str(path)), open_dataset(tmp_path / "out") as dataset:
        dataset.attachment(NAME)
    writer.open()
    assert path.read_bytes() == CONTENT
    finished = writer.finished()
    assert finished is not None and finished.id == manifest.id


@pytest.mark.parametrize(
    "name",
    ["job.json", "manifest.json", "train-00000-of-00002.index", "a/b.bin", "..", "A.bin"]
    + ["noend", "x.tmp-12-0123abcd", ""],
)
def test_names_that_are_taken_or_no_files_are_refused(tools, tmp_path, name):
    with pytest.raises(ValueError, match="attachment"):
        tools.examples_writer(tmp_path / "out", attachments={name: b""})


def test_killed_before_the_attachment_was_written_goes_on(tools, tmp_path):
    writer = tools.examples_writer(tmp_path / "out", attachments={NAME: CONTENT})
    writer.open()
    (tmp_path / "out" / NAME).unlink()
    writer.open()
    assert (tmp_path / "out" / NAME).read_bytes() == CONTENT
