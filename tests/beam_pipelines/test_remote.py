"""Input and output on a remote file system: a local server that speaks S3."""

import json
import shutil
import subprocess
import sys
import warnings

import pytest

from beam_pipelines.inputs import input_files
from beam_pipelines.remote import RemoteWriter
from beam_pipelines.storage import (
    is_remote,
    list_files,
    read_bytes,
    write_bytes,
)
from beam_pipelines.text import TextSettings, text
from limbeck.config.errors import LimbeckError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def inputs(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(3):
        lines = [json.dumps({"text": f"File {number}, line {n}. It ends."}) for n in range(20)]
        (tmp_path / "in" / f"{number}.jsonl").write_text("\n".join([*lines, "no json"]))
    return tmp_path / "in"


def settings(where, out, **options):
    options = {"corpus": "mine", "num_shards": 2, "format": "jsonl", **options}
    return TextSettings(input=(f"{where}/*.jsonl",), out=str(out), **options)


def copy_down(url, directory):
    directory.mkdir()
    for name in list_files(url):
        (directory / name).write_bytes(read_bytes(f"{url}/{name}"))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_remote_output_is_the_local_one(bucket, inputs, tmp_path, tree, workers):
    local = text(settings(inputs, tmp_path / "local"))
    out = f"{bucket}/sets/text"
    assert text(settings(inputs, out, workers=workers)).id == local.id
    copy_down(out, tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(tmp_path / "local")
    letters = read_bytes(f"{out}.dead-letters.jsonl")
    assert letters == (tmp_path / "local.dead-letters.jsonl").read_bytes()
    verify = [sys.executable, "-m", "limbeck.records", "verify", str(tmp_path / "copy")]
    assert subprocess.run(verify, stdout=subprocess.DEVNULL).returncode == 0


def test_remote_input_is_the_local_one(bucket, inputs, tmp_path):
    for path in inputs.iterdir():
        write_bytes(f"{bucket}/in/{path.name}", path.read_bytes())
    assert [file.size for file in input_files([f"{bucket}/in/*.jsonl"])] == [
        path.stat().st_size for path in sorted(inputs.iterdir())
    ]
    remote = text(settings(f"{bucket}/in", tmp_path / "remote"))
    assert remote.id == text(settings(inputs, tmp_path / "local")).id


@pytest.mark.slow
def test_finished_dataset_is_left_alone_and_another_job_refused(bucket, inputs):
    out = f"{bucket}/text"
    first = text(settings(inputs, out))
    assert text(settings(inputs, out)).id == first.id
    with pytest.raises(UsageError, match=r"s3://.*/text holds another run's output: .*corpus"):
        text(settings(inputs, out, corpus="other"))


@pytest.mark.slow
def test_unfinished_dataset_is_gone_on_with(bucket, inputs, monkeypatch):
    """What is whole is kept: only the shards whose files are cut or missing are written again."""
    import boto3

    out = f"{bucket}/text"
    first = text(settings(inputs, out))
    client = boto3.client("s3")
    client.delete_object(Bucket="limbeck-test", Key="text/manifest.json")
    write_bytes(f"{out}/documents-00000-of-00002.tfrecord", b"cut")
    written = []
    write = RemoteWriter.write_batches
    monkeypatch.setattr(
        RemoteWriter,
        "write_batches",
        lambda self, index, batches: written.append(index) or write(self, index, batches),
    )
    assert text(settings(inputs, out)).id == first.id
    assert sorted(written) == [0]


def test_foreign_file_is_refused(bucket, inputs):
    write_bytes(f"{bucket}/text/notes.txt", b"x")
    with pytest.raises(UsageError, match=r"s3://limbeck-test/text: .*notes.txt"):
        text(settings(inputs, f"{bucket}/text"))


def test_bucket_that_is_not_there_is_one_line(bucket, inputs):
    with pytest.raises(
        LimbeckError, match=r"^s3://no-such-bucket/text/job.json: .*bucket does not"
    ):
        text(settings(inputs, "s3://no-such-bucket/text"))


def test_scheme_without_a_file_system_says_what_is_missing(inputs):
    assert is_remote("nofs://bucket/x") and not is_remote("/data/x")
    with pytest.raises(UsageError, match="nofs://bucket/x.*is Beam's extra for it installed"):
        text(settings(inputs, "nofs://bucket/x"))


@pytest.mark.slow
def test_endpoint_may_be_an_option(s3_address, bucket, inputs, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    options = (f"s3_endpoint_url={s3_address}", "s3_region_name=us-east-1")
    options += ("s3_access_key_id=test", "s3_secret_access_key=test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = f"{bucket}/text"
        manifest = text(settings(inputs, out, beam_options=options, workers=2))
    assert manifest.content.totals["records"] == 60
    shutil.rmtree(inputs)
