import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from limbeck import ranks
from limbeck.config.errors import LimbeckError
from limbeck.ranks import ElasticState, HostsChanged, World, collectives, is_elastic
from limbeck.ranks.elastic import MAX_FAILURES, is_failed_collective


class Variable:
    """Stands for a Keras variable."""

    def __init__(self, value):
        self.value = np.array(value, np.float32)

    def numpy(self):
        return self.value.copy()

    def assign(self, value):
        self.value = np.array(value)


class Ranks:
    """Stands for the collectives of two ranks, of which the other one answers as it is told."""

    def __init__(self, *, other_step=-1, other_record=b"", other_told=0):
        self.other_step, self.other_record, self.other_told = other_step, other_record, other_told
        self.roots = []

    def gather_bytes(self, data):
        return [data, str(self.other_step).encode()]

    def broadcast_bytes(self, data, *, root=0):
        return data if root == 0 else self.other_record

    def broadcast_variables(self, variables, *, root=0):
        self.roots.append(root)

    def sum_vector(self, values, *, name):
        return values + self.other_told


@pytest.fixture
def with_other(monkeypatch):
    def replace(**settings):
        other = Ranks(**settings)
        for name in ("gather_bytes", "broadcast_bytes", "broadcast_variables", "sum_vector"):
            monkeypatch.setattr(collectives, name, getattr(other, name))
        return other

    return replace


def state_of(value, **options):
    state = ElasticState(**options)
    state.variables = [Variable(value)]
    return state


def test_restored_state_is_that_of_the_last_save():
    state = state_of([1.0, 2.0])
    state.restore()  # nothing is saved yet, so nothing happens
    state.save(step=3, record=b"three")
    state.variables[0].value[:] = 9.0
    state.restore()
    assert state.variables[0].value.tolist() == [1.0, 2.0]
    state.variables[0].value[:] = 5.0  # what was restored is no view of what is kept
    state.restore()
    assert state.variables[0].value.tolist() == [1.0, 2.0]


def test_sync_alone_undoes_what_was_not_committed():
    state = state_of([1.0])
    state.save(step=3, record=b"three")
    state.variables[0].value[:] = 9.0
    state.sync()
    assert (state.step, state.record) == (3, b"three")
    assert state.variables[0].value.tolist() == [1.0]


def test_sync_without_any_state_is_refused():
    with pytest.raises(LimbeckError, match="no rank has a state"):
        state_of([1.0]).sync()


@pytest.mark.parametrize(
    ("other", "root", "step", "record"),
    [
        (2, 0, 3, b"mine"),  # the other one is a commit behind
        (3, 0, 3, b"mine"),  # equal: the lower rank's
        (4, 1, 4, b"other's"),  # it has committed and this one has not
        (-1, 0, 3, b"mine"),  # it has just been started
    ],
)
def test_sync_takes_the_latest_commit_of_any_rank(with_other, other, root, step, record):
    state = state_of([1.0])
    state.save(step=3, record=b"mine")
    ranks_there = with_other(other_step=other, other_record=b"other's")
    state.sync()
    assert ranks_there.roots == [root]
    assert (state.step, state.record) == (step, record)


def test_commit_is_made_at_its_interval_only():
    state = state_of([1.0], commit_every=3)
    for step in range(1, 8):
        state.commit(step=step, record=lambda: b"r")
    assert state.step == 6
    with pytest.raises(ValueError, match="commit_every is 0"):
        ElasticState(commit_every=0)


def test_news_of_hosts_ends_the_next_commit_once_it_is_saved():
    state = state_of([1.0], commit_every=2)
    state.on_hosts_updated(17, 1)
    state.commit(step=1, record=lambda: b"r")  # not due
    with pytest.raises(HostsChanged):
        state.commit(step=2, record=lambda: b"two")
    assert (state.step, state.record) == (2, b"two")
    state.forget_news()
    state.commit(step=4, record=lambda: b"four")
    assert state.step == 4


def test_news_that_another_rank_has_end_the_commit_on_all(with_other):
    with_other(other_told=1)
    with pytest.raises(HostsChanged):
        state_of([1.0]).commit(step=1, record=lambda: b"one")


def test_commit_that_fails_keeps_the_one_before(with_other, monkeypatch):
    """All ranks have to reach a commit: what a leader logs before it is then there."""
    with_other()
    state = state_of([1.0])
    state.commit(step=1, record=lambda: b"one")

    def fail(values, *, name):
        raise RuntimeError("Horovod has been shut down")

    monkeypatch.setattr(collectives, "sum_vector", fail)
    with pytest.raises(RuntimeError):
        state.commit(step=2, record=lambda: b"two")
    assert (state.step, state.record) == (1, b"one")


def grouped_failure():
    import tensorflow as tf

    text = "Horovod has been shut down [[{{node HorovodGroupedAllreduce}}]]"
    return tf.errors.UnknownError(None, None, text)


def test_failed_group_of_sums_starts_anew_and_is_no_end():
    """Horovod's own wrapper returns None here, as if the work were done."""
    state, worlds = ElasticState(), [World(rank=1, size=2)]

    def function(world):
        worlds.append(world)
        if world.size > 1:
            raise grouped_failure()
        return "trained"

    result = ranks.run_elastic(function, state, worlds.pop(), again=World)
    assert result == "trained"
    assert worlds == [World(rank=1, size=2), World()]
    assert state.reason == "a rank was lost"


def test_changed_hosts_start_anew_without_old_news():
    state, calls = ElasticState(), []

    def function(world):
        calls.append(world.size)
        if len(calls) == 1:
            state.on_hosts_updated(1, 2)
            state.commit(step=1, record=lambda: b"")
        state.commit(step=2, record=lambda: b"")
        return True

    assert ranks.run_elastic(function, state, World(), again=lambda: World(size=3)) is True
    assert calls == [1, 3]
    assert state.reason == "hosts were added or removed"


def test_function_that_returns_nothing_is_refused():
    with pytest.raises(LimbeckError, match="must return what it has made"):
        ranks.run_elastic(lambda world: None, ElasticState(), World())


@pytest.mark.parametrize(
    "error", [LimbeckError("damaged, says Horovod"), ValueError("a bug"), KeyError("a")]
)
def test_other_errors_pass_through(error):
    def function(world):
        raise error

    with pytest.raises(type(error)):
        ranks.run_elastic(function, ElasticState(), World(), again=lambda: pytest.fail("again"))


def test_collective_that_always_fails_ends_the_run_with_its_error():
    calls = []

    def function(world):
        calls.append(world)
        raise grouped_failure()

    with pytest.raises(Exception, match="HorovodGroupedAllreduce"):
        ranks.run_elastic(function, ElasticState(), World(), again=World)
    assert len(calls) == MAX_FAILURES + 1


def test_progress_forgives_failures():
    state, calls = ElasticState(), []

    def function(world):
        calls.append(world)
        if len(calls) > 3 * MAX_FAILURES:
            return "trained"
        state.commit(step=len(calls), record=lambda: b"")
        raise grouped_failure()

    assert ranks.run_elastic(function, state, World(), again=World) == "trained"


@pytest.mark.parametrize(
    ("make", "lost"),
    [
        (lambda tf: tf.errors.UnknownError(None, None, "Connection closed by peer"), True),
        (lambda tf: tf.errors.InternalError(None, None, "anything"), True),
        (lambda tf: ValueError("Horovod has not been initialized; use hvd.init()."), True),
        (lambda tf: type("HorovodInternalError", (RuntimeError,), {})("gone"), True),
        (lambda tf: RuntimeError("no such thing"), False),
        (lambda tf: LimbeckError("horovod is 1 on a and 2 on b"), False),
    ],
)
def test_what_may_come_from_a_lost_rank(make, lost):
    import tensorflow as tf

    assert is_failed_collective(make(tf)) is lost


@pytest.mark.parametrize(
    ("environment", "elastic"),
    [
        ({}, False),
        ({"HOROVOD_RANK": "0"}, False),
        ({"HOROVOD_RANK": "0", "HOROVOD_ELASTIC": "0"}, False),
        ({"HOROVOD_ELASTIC": "1"}, False),  # left over from somewhere: nobody started us
        ({"HOROVOD_RANK": "0", "HOROVOD_ELASTIC": "1"}, True),
    ],
)
def test_elastic_run_is_known_by_its_environment(environment, elastic):
    assert is_elastic(environment) is elastic


def test_listener_is_registered_for_the_run_only(monkeypatch):
    """Horovod's part of telling, replaced: which object hears of hosts, and until when."""
    listeners = set()
    manager = SimpleNamespace(
        init=lambda: None,
        register_listener=listeners.add,
        remove_listener=listeners.remove,
    )
    module = SimpleNamespace(notification_manager=manager)
    monkeypatch.setitem(sys.modules, "horovod.common.elastic", module)
    monkeypatch.setenv("HOROVOD_RANK", "0")
    monkeypatch.setenv("HOROVOD_ELASTIC", "1")
    state = ElasticState()
    assert ranks.run_elastic(lambda world: listeners == {state}, state, World()) is True
    assert not listeners


def test_module_can_be_had_without_tensorflow_and_horovod():
    code = (
        "import sys; from limbeck.ranks import ElasticState; ElasticState().restore();"
        "assert not {'tensorflow', 'horovod'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
