import numpy as np
import pytest

from extract.faults import find_constant
from limbeck.labels.signals import HiddenSignal, SparseSignal

# M positions, D width
RNG = np.random.default_rng(0)
INPUTS = np.repeat(np.arange(8), 5)  # 40 positions of 8 inputs
STATES = RNG.normal(size=(40, 16)).astype(np.float32)
HIDDEN = HiddenSignal(layer=1)


def sparse_arrays(**changes):
    arrays = {
        "zmax": RNG.normal(size=40).astype(np.float32),
        "ids": np.argsort(RNG.random((40, 50)), axis=1)[:, :8].astype(np.int32),
        "logits": -np.sort(RNG.random((40, 8)), axis=1).astype(np.float16),
        "log_tail": -RNG.random((40, 3)).astype(np.float32),
        "true_logit": RNG.normal(size=40).astype(np.float32),
    }
    return {**arrays, **changes}


def test_answers_of_a_sound_teacher_pass():
    assert find_constant(HIDDEN, {"states": STATES}, inputs=INPUTS) is None
    assert find_constant(SparseSignal(k=8), sparse_arrays(), inputs=INPUTS) is None


def test_state_equal_in_all_channels_names_its_position():
    states = STATES.copy()
    states[7] = 0.0
    fault = find_constant(HIDDEN, {"states": states}, inputs=INPUTS)
    assert fault.position == 7 and "same for every id or channel" in fault.reason


def test_logits_equal_for_all_ids_name_their_position():
    arrays = sparse_arrays()
    arrays["logits"][3], arrays["ids"][3] = 0.0, np.arange(8)
    fault = find_constant(SparseSignal(k=8), arrays, inputs=INPUTS)
    assert fault.position == 3


def test_one_answer_for_all_inputs_is_found():
    states = np.broadcast_to(STATES[:1], STATES.shape)
    fault = find_constant(HIDDEN, {"states": states}, inputs=INPUTS)
    assert fault.position == 0 and "all 39 other positions of 8 inputs" in fault.reason
    truths = RNG.normal(size=40).astype(np.float32)  # differ whatever the teacher says
    same = {n: np.broadcast_to(v[:1], v.shape) for n, v in sparse_arrays().items()}
    assert find_constant(SparseSignal(k=8), {**same, "true_logit": truths}, inputs=INPUTS)


@pytest.mark.parametrize(
    ("signal", "inputs", "count"),
    [
        (HIDDEN, INPUTS, 20),  # too few to be sure
        (HIDDEN, np.repeat([0, 1], 20), 40),  # the same two texts again and again
        (HiddenSignal(layer=0, positions="first"), INPUTS, 40),  # [CLS] before any attention
    ],
)
def test_equal_answers_that_may_be_right_pass(signal, inputs, count):
    states = np.broadcast_to(STATES[:1], (count, 16))
    assert find_constant(signal, {"states": states}, inputs=inputs[:count]) is None
