"""Run under mpirun by test_knobs.py: groups of ranks, which HOROVOD_DYNAMIC_PROCESS_SETS allows."""

import horovod.tensorflow as hvd
import numpy as np
import tensorflow as tf


def main() -> None:
    """Each rank sums in a group of its own, then both together."""
    hvd.init()
    alone = [hvd.add_process_set([rank]) for rank in range(hvd.size())]
    mine = alone[hvd.rank()]
    value = tf.fill([3], float(hvd.rank() + 1))
    own = hvd.allreduce(value, op=hvd.Sum, name=f"own-{hvd.rank()}", process_set=mine)
    np.testing.assert_array_equal(own, value)
    both = hvd.allreduce(value, op=hvd.Sum, name="both")
    np.testing.assert_array_equal(both, np.full(3, 3.0, np.float32))
    for group in alone:
        assert hvd.remove_process_set(group)
    print(f"rank {hvd.rank()} agrees", flush=True)
    hvd.shutdown()


if __name__ == "__main__":
    main()
