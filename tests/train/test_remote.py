"""Training from S3: a local server that speaks it. Other remote storage is not exercised."""

import numpy as np
import pytest

from limbeck.config import LimbeckError, UsageError, yaml_file
from limbeck.ranks import World
from limbeck.records import remote
from limbeck.records.dataset import open_dataset
from limbeck.records.errors import CorruptRecord
from limbeck.records.remote import open_remote
from tests.s3 import s3_client, s3_server
from train.inputs import open_inputs
from train.recipe import Recipe
from train.stream import Stream

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
BUCKET = "limbeck-train"


@pytest.fixture(scope="module")
def client():
    """A client of a local server; its address is in the environment meanwhile."""
    with s3_server() as address, s3_client(address) as made:
        made.create_bucket(Bucket=BUCKET)
        yield made


def upload(client, directory, name):
    for path in sorted(directory.iterdir()):
        client.put_object(Bucket=BUCKET, Key=f"{name}/{path.name}", Body=path.read_bytes())
    return f"s3://{BUCKET}/{name}"


@pytest.fixture(scope="module")
def stored(client, shared_toy):
    """URLs of the examples and of both families."""
    return {
        name: upload(client, shared_toy.root / name, f"sets/{name}")
        for name in ("examples", "top", "states")
    }


def fed(toy, data, **training):
    plain = toy.distil(data=data, training={"order_block": 8, "order_window": 3, **training})
    inputs = open_inputs(yaml_file.from_plain(Recipe, plain, "recipe"))
    source = inputs.source(World(), ("masked", "all"))
    with Stream(source, position=0, num_batches=7) as stream:
        out = [
            (batch.keys, batch.micro[0]["ids"], batch.micro[0]["teacher"]["top"]["logits"])
            for batch in stream
        ]
    for part in inputs.corpora.parts:
        part.examples.close()
    return out


@pytest.mark.parametrize("order", ["full", "two_level"])
def test_batches_from_s3_are_the_local_ones(shared_toy, stored, order):
    local = {name: str(shared_toy.root / name) for name in stored}
    sets = [
        {"examples": where["examples"], "labels": {"top": where["top"], "states": where["states"]}}
        for where in (local, stored)
    ]
    expected, found = (fed(shared_toy, data, order=order) for data in sets)
    for a, b in zip(expected, found, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_each_chunk_is_fetched_once(shared_toy, stored, monkeypatch):
    monkeypatch.setattr(remote, "CHUNK_BYTES", 256)
    asked = []
    read = remote.S3Folder.read
    monkeypatch.setattr(
        remote.S3Folder,
        "read",
        lambda self, name, begin, end: (
            asked.append((name, begin, end)) or read(self, name, begin, end)
        ),
    )
    local = open_dataset(shared_toy.root / "examples")
    with open_remote(stored["examples"]) as dataset:
        opening = len(asked)
        assert not any(name.endswith(".tfrecord") for name, _, _ in asked)
        first = dataset.read(np.array([3]))
        assert 1 <= len(asked) - opening <= 2  # a record lies in one chunk or two
        np.testing.assert_array_equal(first["ids"], local.read(np.array([3]))["ids"])
        for seed in range(3):
            rows = np.random.default_rng(seed).permutation(40)
            np.testing.assert_array_equal(dataset.read(rows)["ids"], local.read(rows)["ids"])
        parts = sorted(asked[opening:])
        assert sum(end - begin for _, begin, end in parts) == sum(
            shard.bytes for shard in local.content.shards
        )
        assert [dict(r)["num_tokens"] for r in dataset.iterate()] == [
            dict(r)["num_tokens"] for r in local.iterate()
        ]
        assert sorted(asked[opening:]) == parts
        copy = dataset.directory
    import os

    assert not os.path.exists(copy)


def test_damaged_or_missing_remote_data_is_named(client, shared_toy):
    url = upload(client, shared_toy.root / "examples", "damaged")
    local = open_dataset(shared_toy.root / "examples")
    name = local.content.shards[1].name
    data = bytearray((shared_toy.root / "examples" / name).read_bytes())
    data[-30] ^= 4
    client.put_object(Bucket=BUCKET, Key=f"damaged/{name}", Body=bytes(data))
    with open_remote(url) as dataset, pytest.raises(CorruptRecord, match=name):
        dataset.read(np.arange(40))
    client.put_object(Bucket=BUCKET, Key=f"damaged/{name}", Body=bytes(data[:-1]))
    with pytest.raises(LimbeckError, match=f"{url}/{name}: cut short"):
        open_remote(url)
    client.delete_object(Bucket=BUCKET, Key="damaged/manifest.json")
    with pytest.raises(LimbeckError, match=url):
        open_remote(url)
    with pytest.raises(UsageError, match="s3://limbeck-train/none: no such directory"):
        open_remote(f"s3://{BUCKET}/none")
    with pytest.raises(LimbeckError, match=r"no-such-bucket.*bucket does not exist"):
        open_remote("s3://no-such-bucket/x")
    with pytest.raises(UsageError, match="gs://b/x: only s3:// and local paths"):
        open_remote("gs://b/x")
