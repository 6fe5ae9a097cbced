"""The stream as a plain `tf.data.Dataset`, for training loops that are not ours.

Batches are whole and already in order, checked and padded to a static number of rows; the stream's
own threads have read ahead. So nothing is shuffled, sharded, skipped or cached behind it: AutoShard
is off and the order is deterministic. To resume, make another one at the position that a finished
step led to (`RankBatch.next_position`, or `Source.global_rows(position).next_position`).
"""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from train.reading.batch import MicroBatch
from train.step import batch_spec
from train.stream import Source, Stream

__all__ = ["as_tf_dataset"]


def as_tf_dataset(
    source: Source, *, position: int, num_batches: int, threads: int = 2, depth: int = 3
) -> Any:
    """Returns micro-batches of this rank, those of one global batch after the other.

    Args:
      source: what to read, such as `Inputs.source(world, ("masked",))`.
      position: running position of the first global batch.
      num_batches: global batches; each gives `source.num_micro` elements.
      threads: reading threads.
      depth: global batches read ahead.

    Returns:
      A dataset of nested dicts as `train.reading.batch` describes them; rows and lists have
      different lengths.
    """
    first = source.read(source.global_rows(position)).micro[0]

    def elements() -> Iterator[MicroBatch]:
        with Stream(
            source, position=position, num_batches=num_batches, threads=threads, depth=depth
        ) as stream:
            for batch in stream:
                yield from batch.micro

    dataset = tf.data.Dataset.from_generator(elements, output_signature=batch_spec(first))
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)
