"""Claims: who does which shard when workers come, go, stand still and die."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from extract.processes import is_gone, this_process
from extract.worker import Worker
from extract.workers import CLAIMS, Assigned, Claims
from limbeck.config.errors import UsageError

LEASE_S = 0.4  # long enough that a busy machine renews in time (every fifth of it)


class Family:
    """Stands for a writer: some shards are there."""

    def __init__(self, directory, done=()):
        self.directory = str(directory)
        self.done = set(done)

    def has_shard(self, index):
        return index in self.done

    def remove_leftovers(self):
        raise AssertionError("not complete: nothing may be removed")


def claims(out, index=0, count=2, **options):
    return Claims(str(out), worker=Worker(index=index, count=count), lease_s=LEASE_S, **options)


def test_worker_that_is_alone_takes_every_shard_once_and_leaves_nothing(tmp_path):
    out = tmp_path / "labels" / "teacher"
    with claims(out, count=1) as mine:
        taken = []
        while (shard := mine.take([4, 1, 7])) is not None:
            taken.append(shard)
            mine.release(shard)
        with mine.finishing():
            pass
        (out / "family").mkdir()
    assert taken == [4, 1, 7]
    assert os.listdir(out) == ["family"]


def test_output_that_nobody_wrote_to_is_not_left_behind(tmp_path):
    with pytest.raises(RuntimeError), claims(tmp_path / "out", count=1):
        raise RuntimeError("refused before work")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("first, second", [(1, 1), (1, 2), (2, 1)])
def test_second_job_beside_a_lone_worker_is_refused_in_one_line(tmp_path, first, second):
    code = (
        "import sys; from extract.worker import Worker; from extract.workers import Claims\n"
        "with Claims(sys.argv[1], worker=Worker(count=int(sys.argv[2]))): pass"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "out"), str(second)]
    with claims(tmp_path / "out", count=first):
        done = subprocess.run(command, capture_output=True, text=True)
    line = done.stderr.splitlines()[-1]
    assert f"UsageError: {tmp_path / 'out'} is in use by process {os.getpid()} (" in line


def test_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("x")
    with pytest.raises(UsageError, match="is a file"), claims(tmp_path / "out"):
        pass


def test_workers_begin_apart_and_no_shard_is_taken_twice(tmp_path):
    family = Family(tmp_path / "out" / "f")
    with claims(tmp_path / "out", 0) as one, claims(tmp_path / "out", 1) as two:
        one.watch([family])
        two.watch([family])
        assert one.take(range(6)) == 0
        assert two.take(range(6)) == 3
        assert [one.take(range(6)) for _ in range(4)] == [1, 2, 4, 5]
        # All are claimed: a worker that holds some is not made to wait for those of the other.
        assert one.take(range(6)) is None and two.take(range(6)) is None
        family.done |= {0, 1, 2, 4, 5}
        for shard in (0, 1, 2, 4, 5):
            one.release(shard)
        assert two.take(range(6)) is None
        family.done.add(3)
        two.release(3)
        assert two.take(range(6)) is None and one.take(range(6)) is None
        assert sorted(os.listdir(tmp_path / "out" / CLAIMS)) == ["lock"]
    assert not (tmp_path / "out").exists()


def test_worker_waits_for_what_others_are_at_and_does_it_if_they_give_up(tmp_path):
    family = Family(tmp_path / "out" / "f", done={0})
    with claims(tmp_path / "out", 0) as one, claims(tmp_path / "out", 1) as two:
        one.watch([family])
        two.watch([family])
        assert two.take([0, 1]) == 1
        threading.Timer(LEASE_S / 2, lambda: two.release(1)).start()
        assert one.take([0, 1]) == 1  # not done: the other has only let go of it
        family.done.add(1)
        one.release(1)
        assert two.take([0, 1]) is None


def test_waiting_for_others_ends_when_the_worker_leaves(tmp_path):
    with claims(tmp_path / "out", 0) as one, claims(tmp_path / "out", 1) as two:
        assert two.take([0]) == 0
        threading.Timer(LEASE_S / 4, one.leave).start()
        assert one.take([0]) is None


def test_assigned_shards_are_taken_once():
    shards = Assigned(3, 1)
    assert [shards.take(range(9)) for _ in range(3)] == [3, 1, None]
    shards.release(3)
    with shards.finishing():
        pass
    shards = Assigned(3, 1)
    shards.leave()
    assert shards.take([3]) is None


def test_claim_that_is_renewed_outlives_its_lease_and_one_that_is_not_is_taken_over(tmp_path):
    with claims(tmp_path / "out", 0) as one, claims(tmp_path / "out", 1) as two:
        assert two.take([5]) == 5
        path = tmp_path / "out" / CLAIMS / "00005"
        counters = set()
        deadline = time.monotonic() + 2 * LEASE_S
        while time.monotonic() < deadline:
            counters.add(json.loads(path.read_bytes())["renewed"])
            assert not one._files.take(5)
            time.sleep(0.02)
        assert len(counters) > 3
        two._stop.set()  # its thread stands still, as in a machine that was suspended
        two._thread.join()
        assert one.take([5]) == 5
        owner = json.loads(path.read_bytes())["owner"]
        two._files.renew({5})  # awake again: what was taken over stays so
        two.release(5)
        assert json.loads(path.read_bytes())["owner"] == owner


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"owner": "x", "process": 3}'])
def test_claim_that_cannot_be_read_is_waited_for_and_taken_over(tmp_path, content):
    with claims(tmp_path / "out") as mine:
        (tmp_path / "out" / CLAIMS / "00000").write_bytes(content)
        started = time.monotonic()
        assert mine.take([0]) == 0
        assert time.monotonic() - started >= LEASE_S


def test_claim_of_a_process_that_is_gone_from_this_machine_is_taken_at_once(tmp_path):
    code = (
        "import json; from extract.processes import this_process; print(json.dumps(this_process()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    process = json.loads(done.stdout)
    assert is_gone(process) and not is_gone(this_process())
    assert not is_gone({**process, "place": "another machine"})
    assert not is_gone(None) and not is_gone({})
    assert is_gone({**this_process(), "started": 0})  # the number was given to another since
    out = tmp_path / "out"
    with Claims(str(out), worker=Worker(count=2), lease_s=1e6) as mine:
        (out / CLAIMS / "00000").write_text(json.dumps({"owner": "x", "process": process}))
        assert mine.take([0]) == 0


def test_of_many_who_find_a_claim_left_behind_one_gets_it(tmp_path):
    """Over and over, so that the threads meet inside the take-over."""
    with claims(tmp_path / "out"):
        gone = json.dumps({"owner": "x", "process": {**this_process(), "started": 0}})
        for shard in range(30):
            (tmp_path / "out" / CLAIMS / f"{shard:05d}").write_text(gone)
            rivals = [claims(tmp_path / "out", i, 4)._files for i in range(4)]
            won: list[bool] = []
            threads = [
                threading.Thread(target=lambda r=r, s=shard, won=won: won.append(r.take(s)))
                for r in rivals
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sum(won) == 1


def test_complete_families_are_cleared_of_what_killed_workers_left(tmp_path):
    cleared = []
    family = Family(tmp_path / "out" / "f", done={0})
    family.remove_leftovers = lambda: cleared.append("f")
    with claims(tmp_path / "out", 0) as one:
        with claims(tmp_path / "out", 1) as two:
            one.watch([family])
            two.watch([family])
            (tmp_path / "out" / "f").mkdir()
            (tmp_path / "out" / "f" / "manifest.json").write_text("{}")
        assert not cleared  # the other may still be writing
    assert cleared == ["f"]
    assert os.listdir(tmp_path / "out") == ["f"]


def test_only_one_worker_at_a_time_finishes(tmp_path):
    inside, most = [], []
    with claims(tmp_path / "out", 0) as one, claims(tmp_path / "out", 1) as two:

        def finish(mine):
            for _ in range(10):
                with mine.finishing():
                    inside.append(mine)
                    most.append(len(inside))
                    time.sleep(0.002)
                    inside.remove(mine)

        threads = [threading.Thread(target=finish, args=(mine,)) for mine in (one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert max(most) == 1 and len(most) == 20
