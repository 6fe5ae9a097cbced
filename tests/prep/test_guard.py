import subprocess
import sys
import time

import psutil
import pytest

from limbeck.config.errors import LimbeckError
from prep.article import FUNCTION, clean_page
from prep.guard import Guard, Limits

EVAL = "builtins:eval"  # any work, where no page of wikitext is known to do it
ENDLESS = "sum(range(10**12))"
GREEDY = "[bytearray(1 << 20) for _ in range(100_000)]"


def wiki(text):
    return {"text": text, "language": "en", "dropped_namespaces": [], "keep_lists": True}


def test_results_come_in_order_and_equal_a_plain_call():
    items = [wiki(f"Page {n}. " * (n % 50)) for n in range(300)]
    with Guard(FUNCTION, limits=Limits()) as guard:
        verdicts = list(guard.map(items))
    assert [v.value for v in verdicts] == [clean_page(item) for item in items]
    assert {v.reason for v in verdicts} == {""}


def test_large_items_and_results_do_not_block_each_other():
    items = [wiki(f"Sentence {n} is here. " * 60_000) for n in range(8)]  # over a megabyte each
    with Guard(FUNCTION, limits=Limits()) as guard:
        assert [len(v.value["sentences"]) for v in guard.map(items)] == [60_000] * 8


def test_endless_page_is_given_up_and_the_next_ones_are_done():
    items = ["1", ENDLESS, "2", "3", "4"]
    with Guard(EVAL, limits=Limits(seconds=3)) as guard:
        started = time.monotonic()
        verdicts = list(guard.map(items))
        assert 3 <= time.monotonic() - started < 60
    assert [v.reason for v in verdicts] == ["", "timeout", "", "", ""]
    assert [v.value for v in verdicts] == [1, None, 2, 3, 4]
    assert verdicts[1].detail == "over 3 s"


def test_greedy_page_is_given_up_and_the_next_ones_are_done():
    items = ["1", GREEDY, "2"]
    with Guard(EVAL, limits=Limits(megabytes=300)) as guard:
        verdicts = list(guard.map(items))
    assert [v.reason for v in verdicts] == ["", "memory", ""]
    assert verdicts[2].value == 2


def test_memory_is_bounded_while_a_greedy_page_is_in_work():
    program = (
        "import resource\n"
        "from prep.guard import Guard, Limits\n"
        f"guard = Guard({EVAL!r}, limits=Limits(megabytes=300))\n"
        f"[verdict] = guard.map([{GREEDY!r}])\n"
        "guard.close()\n"
        "print(verdict.reason, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)\n"
    )
    out = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True).stdout
    reason, peak_megabytes = out.split()
    # Looked at 20 times a second; a busy machine looks less often, the address space is the end.
    assert reason == b"memory" and int(peak_megabytes) < 300 + 1024


@pytest.mark.parametrize(
    ("function", "item", "reason", "detail"),
    [
        ("time:sleep", 1000, "timeout", "over 1 s"),  # waits without using the processor
        ("os:_exit", 3, "crashed", "exit code 3"),
        ("os:abort", None, "failed", "TypeError"),
        ("os:listdir", "/no/such", "failed", "FileNotFoundError"),
        ("json:loads", "[" * 100_000, "failed", "RecursionError"),
    ],
)
def test_every_way_to_fail_has_its_reason(function, item, reason, detail):
    with Guard(function, limits=Limits(seconds=1)) as guard:
        [verdict] = guard.map([item])
    assert verdict.value is None and verdict.reason == reason and detail in verdict.detail


def test_worker_that_is_killed_loses_no_item():
    items = [wiki(f"Page {n}.") for n in range(40)]
    with Guard(FUNCTION, limits=Limits()) as guard:
        values = []
        for number, verdict in enumerate(guard.map(items)):
            values.append(verdict.value["sentences"])
            if number == 10:
                assert guard._worker is not None
                guard._worker.kill()
    assert values == [[f"Page {n}."] for n in range(40)]


def test_map_may_be_left_early_and_called_again():
    with Guard(FUNCTION, limits=Limits()) as guard:
        for verdict in guard.map([wiki(f"{n} a.") for n in range(20)]):
            assert verdict.value["sentences"] == ["0 a."]
            break
        [verdict] = guard.map([wiki("Again.")])
        assert verdict.value["sentences"] == ["Again."]


def test_error_of_the_source_is_raised_and_leaves_no_process():
    def source():
        yield wiki("One.")
        raise LimbeckError("the dump is damaged")

    with Guard(FUNCTION, limits=Limits()) as guard:
        with pytest.raises(LimbeckError, match="damaged"):
            list(guard.map(source()))
        assert guard._worker is None


def test_function_that_does_not_exist_is_a_clear_error(capfd):
    with pytest.raises(LimbeckError, match="worker process for prep.nothing:f did not start"):
        list(Guard("prep.nothing:f", limits=Limits()).map([1]))
    assert "No module named 'prep.nothing'" in capfd.readouterr().err


def test_what_a_library_prints_is_no_result(capfd):
    with Guard("builtins:print", limits=Limits()) as guard:
        verdicts = list(guard.map(["hello", "world"]))
    assert [(v.value, v.reason) for v in verdicts] == [(None, ""), (None, "")]
    assert capfd.readouterr().out == ""


def test_worker_ends_when_its_parent_is_killed():
    program = (
        "from prep.guard import Guard, Limits\n"
        "import sys, time\n"
        "guard = Guard('time:sleep', limits=Limits(seconds=2))\n"
        "list(guard.map([0]))\n"
        "print(guard._worker.pid, flush=True)\n"
        "list(guard.map([1000]))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.3)
        parent.kill()
    # It is in the middle of an item: the kernel's alarm ends it, at twice the limit.
    worker.wait(timeout=30)


@pytest.mark.parametrize("options", [{"seconds": 0}, {"seconds": -1}, {"megabytes": 10}])
def test_impossible_limits_are_refused(options):
    with pytest.raises(ValueError, match="limit is"):
        Limits(**options)


def test_guard_costs_little():
    items = [wiki("One. Two.")] * 2000
    with Guard(FUNCTION, limits=Limits()) as guard:
        list(guard.map(items[:10]))
        started = time.monotonic()
        list(guard.map(items))
        per_item = (time.monotonic() - started) / len(items)
    assert per_item < 0.005  # some 0.0002 on an idle machine; a real page takes 0.04
