"""The same folder and batch in every backend: the same signals."""

import numpy as np
import pytest

from limbeck.labels import HiddenSignal, SparseSignal
from limbeck.teachers import load_teacher

WANTED = {
    "sparse": SparseSignal(k=5, temperatures=(1.0, 2.0)),
    "all-ids": SparseSignal(k=97, temperatures=(1.0,)),
    "embeddings": HiddenSignal(layer=0, dtype="float32"),
    "masked": HiddenSignal(layer=2, dtype="float32", positions="masked"),
    "last": HiddenSignal(layer=3, dtype="float32", positions="first"),
    "halves": HiddenSignal(layer=1),
}
# Logits and states of size 10 at most, in float32, by other orders of summation: a few ulps of 10.
FLOAT32 = 1e-5
FLOAT16 = 2**-10  # of the value: it may round to either neighbour
EXPORTED = ["BertForMaskedLM", "RobertaForMaskedLM", "DistilBertForMaskedLM"]
OURS = [
    *EXPORTED,
    "AlbertForMaskedLM",
    "ElectraForMaskedLM",
    "MegatronBertForMaskedLM",
    "XLMRobertaForMaskedLM",
]


@pytest.fixture(scope="module")
def torch_answers(write_folder, batch):
    def answer(kind):
        teacher = load_teacher(write_folder(kind), backend="pytorch")
        return teacher, teacher.signals(batch, WANTED)

    return answer


def compare(found, expected, batch):
    real = batch.attention_mask.astype(bool)
    for name, arrays in expected.items():
        assert found[name].keys() == arrays.keys()
        for field, values in arrays.items():
            ours = found[name][field]
            assert ours.dtype.kind == values.dtype.kind and ours.shape == values.shape
            if name in ("embeddings", "halves"):  # whatever at padding
                ours, values = ours[real], values[real]
            if field == "ids":
                np.testing.assert_array_equal(ours, values)
            else:
                half = values.dtype == np.float16
                np.testing.assert_allclose(
                    ours.astype(np.float32),
                    values.astype(np.float32),
                    rtol=FLOAT16 if half else FLOAT32,
                    atol=FLOAT32,
                    err_msg=f"{name} {field}",
                )


@pytest.mark.parametrize("kind", OURS)
def test_keras_gives_what_pytorch_gives(kind, write_folder, torch_answers, batch):
    reference, expected = torch_answers(kind)
    teacher = load_teacher(write_folder(kind), backend="keras")
    assert teacher.facts.fingerprint == reference.facts.fingerprint  # the backend has no part
    compare(teacher.signals(batch, WANTED), expected, batch)


@pytest.mark.parametrize("kind", EXPORTED)
def test_onnx_gives_what_pytorch_gives(kind, write_folder, write_onnx, torch_answers, batch):
    pytest.importorskip("onnxruntime")
    reference, expected = torch_answers(kind)
    teacher = load_teacher(write_onnx(write_folder(kind)))
    assert (teacher.facts.backend, teacher.facts.max_positions) == (
        "onnx",
        reference.facts.max_positions,
    )
    compare(teacher.signals(batch, WANTED), expected, batch)
