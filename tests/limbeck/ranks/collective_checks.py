"""Run under mpirun by test_ranks.py: `python collective_checks.py WHAT`."""

import sys
import time

from limbeck import ranks
from limbeck.config.errors import LimbeckError, UsageError


def collectives(world: ranks.World) -> None:
    """Checks every collective on every rank."""
    import keras
    import numpy as np
    import tensorflow as tf

    sum_of_ranks = sum(range(world.size))

    @tf.function
    def total(tensors):
        return ranks.sum_group(tensors, name="group")

    for _ in range(3):
        small, large = total(
            [tf.fill([3], float(world.rank)), tf.range(200_000, dtype=tf.float32) * world.rank]
        )
        assert small.numpy().tolist() == [float(sum_of_ranks)] * 3
        np.testing.assert_array_equal(large, np.arange(2e5, dtype=np.float32) * sum_of_ranks)

    counts = ranks.sum_vector(np.array([1, 2**60 + world.rank], np.int64), name="counts")
    assert counts.tolist() == [world.size, world.size * 2**60 + sum_of_ranks]

    variables = [tf.Variable([float(world.rank)]), keras.Variable([5.0 * world.rank] * 2)]
    ranks.broadcast_variables(variables, root=1)
    assert variables[0].numpy().tolist() == [1.0]
    assert variables[1].value.numpy().tolist() == [5.0, 5.0]

    texts = ranks.gather_bytes(b"x" * world.rank)  # the first is empty
    assert texts == [b"x" * rank for rank in range(world.size)]
    assert ranks.gather_bytes(b"") == [b""] * world.size
    assert ranks.broadcast_bytes(b"from the leader" if world.is_leader else b"") == (
        b"from the leader"
    )
    ranks.barrier()
    sys.stdout.write(f"rank {world.rank} of {world.size} agrees\n")


def disagreement(world: ranks.World) -> None:
    """One rank finds a bad input before work starts."""

    def prepare() -> None:
        if world.rank == 1:
            raise UsageError("no such directory here")

    ranks.agree(world, prepare, prog="check")


def bug(world: ranks.World) -> None:
    """One rank has a bug while the others wait for it in a collective."""
    if world.rank == 1:
        raise KeyError("a bug")
    ranks.barrier()


def failure(world: ranks.World) -> None:
    """One rank finds damaged data while the others wait for it."""
    with ranks.fail_alone(world, prog="check"):
        if world.rank == 1:
            time.sleep(0.5)
            raise LimbeckError("damaged record")
        ranks.barrier()


if __name__ == "__main__":
    globals()[sys.argv[1]](ranks.init())
