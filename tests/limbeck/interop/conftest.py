"""Files of another system's records, which the tests only read."""

from pathlib import Path

import pytest

from tests.limbeck.interop.tf_records import make_records, write_with_tensorflow


@pytest.fixture(scope="module")
def bert_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pre-training records, written by TensorFlow."""
    path = tmp_path_factory.mktemp("bert") / "bert.tfrecord"
    return write_with_tensorflow(path, make_records(40, labelled=False))


@pytest.fixture(scope="module")
def labelled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty labelled records, written by TensorFlow."""
    path = tmp_path_factory.mktemp("labelled") / "labelled.tfrecord"
    return write_with_tensorflow(path, make_records(40, labelled=True))
