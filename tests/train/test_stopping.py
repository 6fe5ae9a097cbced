"""Signals that ask a run to stop are noted inside the block, and only there."""

import os
import signal
import threading

import pytest

from train.stopping import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_is_noted_and_given_back(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
    assert signal.getsignal(number) is before


def test_elsewhere_than_in_the_main_thread_nothing_is_changed():
    before, seen = signal.getsignal(signal.SIGUSR1), []

    def work():
        with StopRequest() as stop:
            seen.append((signal.getsignal(signal.SIGUSR1), stop.requested))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
