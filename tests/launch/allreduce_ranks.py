"""Run by test_horovod_build.py under mpirun: one named grouped allreduce inside a tf.function."""

import sys

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf


def main() -> None:
    """Sums a small and a large tensor over the ranks and checks every element."""
    hvd.init()
    rank, size = hvd.rank(), hvd.size()
    small = tf.fill([3], float(rank + 1))
    # Well past Open MPI's eager limit, so that shared memory's large-message path is used too.
    large = tf.range(1_000_000, dtype=tf.float32) * (rank + 1)

    @tf.function
    def total(tensors):
        return hvd.grouped_allreduce(tensors, op=hvd.Sum, name="gradients")

    ranks_sum = size * (size + 1) / 2
    for _ in range(3):
        got_small, got_large = total([small, large])
        np.testing.assert_array_equal(got_small, np.full(3, ranks_sum, np.float32))
        np.testing.assert_allclose(got_large, np.arange(1e6, dtype=np.float32) * ranks_sum)
    # One write a line: ranks share the pipe.
    sys.stdout.write(f"rank {rank} of {size} agrees\n")
    sys.stdout.flush()
    hvd.shutdown()


if __name__ == "__main__":
    main()
