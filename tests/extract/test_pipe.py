import threading

import pytest

from extract.pipe import Pipe


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_items_come_out_in_order_and_end():
    pipe = Pipe(2)

    def feed():
        for i in range(50):
            assert pipe.put(i)
        pipe.end()

    thread = in_thread(feed)
    assert list(pipe) == list(range(50))
    thread.join(10)


def test_error_of_the_feeder_reaches_the_reader_at_once():
    pipe = Pipe(3)
    pipe.put(1)
    pipe.end(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):  # what waited is dropped
        next(iter(pipe))


def test_reader_that_leaves_wakes_the_feeder():
    pipe = Pipe(1)
    said = []

    def feed():
        said.append(pipe.put(1))
        said.append(pipe.put(2))  # waits: there is room for one
        said.append(pipe.put(3))

    thread = in_thread(feed)
    pipe.leave()
    thread.join(10)
    assert not thread.is_alive()
    assert said[1:] == [False, False]


def test_feeder_waits_while_it_is_full():
    pipe = Pipe(1)
    done = []

    def feed():
        for i in range(3):
            pipe.put(i)
            done.append(i)
        pipe.end()

    thread = in_thread(feed)
    reader = iter(pipe)
    assert next(reader) == 0
    assert len(done) <= 2
    assert list(reader) == [1, 2]
    thread.join(10)
