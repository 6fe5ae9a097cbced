from train.starting.surroundings import promise

HERE = {"world_size": 2, "intra_op_threads": 1, "autotune": "0"}


def test_new_run_promises_its_bytes_for_the_same_surroundings():
    text = promise(HERE, None)
    assert text.startswith("bit-exact") and "2 rank(s)" in text


def test_resume_in_the_same_surroundings_is_bit_exact():
    assert promise(HERE, dict(HERE)).startswith("bit-exact: goes on")


def test_resume_elsewhere_is_batch_exact_and_says_why():
    text = promise(HERE, {**HERE, "world_size": 3, "intra_op_threads": 4})
    assert text.startswith("batch-exact")
    assert "world_size is 3 there and 2 here" in text
    assert "intra_op_threads is 4 there and 1 here" in text


def test_autotune_takes_the_promise_back():
    for there in (None, dict(HERE)):
        assert promise({**HERE, "autotune": "1"}, there).startswith("batch-exact: HOROVOD_AUTOTUNE")
