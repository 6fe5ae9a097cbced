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

    float16_wire(world)

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


def float16_wire(world: ranks.World) -> None:
    """Sums of tensors whose magnitudes float16 has not: near float64's, equal on all ranks."""
    import numpy as np
    import tensorflow as tf

    @tf.function
    def total(tensors):
        return ranks.sum_group_float16(tensors, name="half")

    rng = np.random.default_rng(0)  # the same on every rank
    sizes = (1e-30, 1e-8, 1.0, 1e6, 1e30)
    every = [size * rng.standard_normal((world.size, 1000)) for size in sizes]
    every.append(np.zeros((world.size, 3)))
    every.append(np.full((world.size, 2), 60_000.0))  # whose plain sum float16 has not
    mine = [tf.constant(values[world.rank], tf.float32) for values in every]
    for values, got in zip(every, total(mine), strict=True):
        exact = values.astype(np.float32).astype(np.float64).sum(0)
        # 11 bits for each summand and each partial sum, relative to the largest of the tensor.
        bound = 2.0**-11 * 2 * world.size * np.abs(values).max()
        assert np.abs(got.numpy() - exact).max() <= bound
        assert len(set(ranks.gather_bytes(got.numpy().tobytes()))) == 1
    bad = [tf.constant([1.0, np.nan if world.rank else 2.0]), tf.constant([1.0, np.inf])]
    for got in total(bad):
        assert np.isfinite(got.numpy()).tolist() == [True, False]


def adasum(world: ranks.World) -> None:
    """Two ranks' tensors against the formula in float64; each tensor has factors of its own."""
    import numpy as np
    import tensorflow as tf

    combine = tf.function(lambda tensors: ranks.adasum_group(tensors, name="adasum"))
    rng = np.random.default_rng(0)  # the same on every rank
    pairs = [rng.standard_normal((2, *shape)) for shape in ((3,), (50, 7), (200_000,))]
    pairs.append(np.array([[1.0, 0.0], [0.0, 2.0]]))  # at right angles: the sum
    pairs.append(np.array([[1.0, 2.0], [1.0, 2.0]]))  # the same: the mean
    pairs.append(np.array([[0.0, 0.0], [1.0, 2.0]]))  # one is nothing: the other
    for _ in range(2):
        got = combine([tf.constant(pair[world.rank], tf.float32) for pair in pairs])
        for (g, h), combined in zip(pairs, got, strict=True):
            dot, norms = (g * h).sum(), ((g * g).sum() or 1.0, (h * h).sum())
            expected = (1 - dot / (2 * norms[0])) * g + (1 - dot / (2 * norms[1])) * h
            np.testing.assert_allclose(combined, expected, rtol=1e-5, atol=1e-6)
            assert len(set(ranks.gather_bytes(combined.numpy().tobytes()))) == 1
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
