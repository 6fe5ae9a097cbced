import numpy as np
import pytest

from limbeck.teachers import TeacherBatch, TeacherOutOfMemory
from limbeck.teachers.memory import available_bytes, refuse_without_memory

ONES = np.ones((3, 7), np.int32)
BATCH = TeacherBatch(ids=ONES, segment_ids=ONES, attention_mask=ONES)


def refusing():
    return refuse_without_memory(
        BATCH, where="models/t", device="cpu", is_one=lambda error: "oom" in str(error)
    )


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("oom")])
def test_want_of_memory_is_one_error(error):
    message = r"^models/t: a batch of 3 rows of 7 tokens \(21 slots\) .*smaller --token-budget$"
    with pytest.raises(TeacherOutOfMemory, match=message), refusing():
        raise error


def test_other_errors_stay():
    with pytest.raises(RuntimeError, match="^a shape$"), refusing():
        raise RuntimeError("a shape")


def test_available_memory_is_less_than_a_petabyte():
    found = available_bytes()
    assert found is None or 0 < found < 1 << 50
