"""What the ranks of a run do together. Without a launcher, each is the identity.

All ranks must call the same collectives in the same order, each with an equal name. Gradients
travel as one named group in fixed order: reduced one by one, three ranks gave other bits from run
to run.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

__all__ = [
    "adasum_group",
    "barrier",
    "broadcast_bytes",
    "broadcast_variables",
    "connect",
    "gather_bytes",
    "num_ranks",
    "sum_group",
    "sum_group_float16",
    "sum_vector",
]

_horovod: ModuleType | None = None


def connect(horovod: ModuleType) -> None:
    """Routes the collectives through an initialised `horovod.tensorflow`."""
    global _horovod
    _horovod = horovod


def num_ranks() -> int:
    """How many ranks the collectives go over at this moment."""
    return 1 if _horovod is None else int(_horovod.size())


def sum_group(tensors: Sequence[Any], *, name: str) -> list[Any]:
    """Sums each dense tensor over all ranks, as one group; inside a `tf.function` or outside.

    Args:
      tensors: dense tensors (no IndexedSlices), the same shapes and dtypes on every rank.
      name: of the group, equal on all ranks; no two groups may be under way with one name.

    Returns:
      The sums in the same order, equal bits on every rank.
    """
    if _horovod is None or _horovod.size() == 1:
        return list(tensors)
    return list(_horovod.grouped_allreduce(list(tensors), op=_horovod.Sum, name=name))


def sum_group_float16(tensors: Sequence[Any], *, name: str) -> list[Any]:
    """Sums float32 tensors over all ranks through a float16 wire, half the traffic.

    Each tensor is first multiplied by a power of two of its own, so that its largest element on any
    rank is just small enough for the sum of all ranks to stay below 2^15: nothing overflows, and
    what is lost are elements about 2^24 times smaller than the largest of their tensor. The powers
    follow from the exponents of the largest elements, which are compared over ranks first, as one
    int32 vector. Products with powers of two are exact, so all rounding is that of float16.

    Args:
      tensors: dense float32 tensors, the same shapes on every rank.
      name: of the group, equal on all ranks; no two groups may be under way with one name.

    Returns:
      The float32 sums in the same order, equal bits on every rank; not finite where a summand is
      not. With one rank the tensors themselves: nothing travels.
    """
    if _horovod is None or _horovod.size() == 1:
        return list(tensors)
    import tensorflow as tf

    mine = tf.stack([_exponent(tensor) for tensor in tensors])
    exponents = _horovod.allreduce(mine, op=_horovod.Max, name=f"{name}_exponents")
    # 2^shift brings numbers below 2^(exponent + 1) to below 2^15 / W; 255 - 127 means inf or nan,
    # which no power helps.
    room = 14 - (_horovod.size() - 1).bit_length()
    shifts = tf.unstack(tf.where(exponents < 128, tf.clip_by_value(room - exponents, -126, 126), 0))
    halves = [
        tf.cast(tensor * _power_of_two(shift), tf.float16)
        for tensor, shift in zip(tensors, shifts, strict=True)
    ]
    sums = _horovod.grouped_allreduce(halves, op=_horovod.Sum, name=f"{name}_float16")
    return [
        tf.cast(total, tf.float32) * _power_of_two(-shift)
        for total, shift in zip(sums, shifts, strict=True)
    ]


def adasum_group(tensors: Sequence[Any], *, name: str) -> list[Any]:
    """Combines each tensor over all ranks as Adasum does (Maleki et al. 2020, section 3).

    Two ranks with g and h get (1 - g.h / 2|g|^2) g + (1 - g.h / 2|h|^2) h: their mean where they
    point the same way, their sum where they are at right angles; more ranks in pairs of pairs.

    Args:
      tensors: dense tensors, the same shapes and dtypes on every rank.
      name: of the group, equal on all ranks; no two groups may be under way with one name.

    Returns:
      The combinations in the same order. With one rank the tensors themselves.

    Raises:
      ValueError: the number of ranks is no power of two.
    """
    if _horovod is None or _horovod.size() == 1:
        return list(tensors)
    if _horovod.size() & (_horovod.size() - 1):
        raise ValueError(f"Adasum needs 2, 4, 8, ... ranks; there are {_horovod.size()}")
    # The public function of Horovod 0.28.1 fails for groups: it uses a variable it never sets.
    group = _horovod.mpi_ops._grouped_allreduce
    return list(group(list(tensors), op=_horovod.Adasum, name=name))


def _exponent(tensor: Any) -> Any:
    """int32 e with 2^e <= the largest magnitude < 2^(e + 1); 128 where that is inf or nan."""
    import tensorflow as tf

    # As integers, the bits of magnitudes are in the order of the magnitudes, with nan above all.
    bits = tf.bitcast(tensor, tf.int32) & 0x7FFFFFFF
    return tf.bitwise.right_shift(tf.reduce_max(bits), 23) - 127


def _power_of_two(exponent: Any) -> Any:
    """2 to the int32 `exponent`, which is in [-126, 126], as float32; exact."""
    import tensorflow as tf

    return tf.bitcast(tf.bitwise.left_shift(exponent + 127, 23), tf.float32)


def sum_vector(values: np.ndarray, *, name: str) -> np.ndarray:
    """Sums one small host array over all ranks; int64 sums are exact.

    Args:
      values: (n,) int64 or float64.
      name: of the collective, equal on all ranks.
    """
    if _horovod is None or _horovod.size() == 1:
        return np.array(values)
    import tensorflow as tf

    return np.asarray(
        _horovod.allreduce(tf.constant(values), op=_horovod.Sum, name=name).numpy(), values.dtype
    )


def broadcast_variables(variables: Sequence[Any], *, root: int = 0) -> None:
    """Overwrites the variables of every rank with those of rank `root`.

    Args:
      variables: Keras or TensorFlow variables, the same list on every rank.
      root: whose values win.
    """
    if _horovod is None or _horovod.size() == 1:
        return
    import tensorflow as tf

    # Horovod takes tf.Variable only; a Keras 3 variable holds one as `.value`.
    plain = [v if isinstance(v, tf.Variable) else v.value for v in variables]
    _horovod.broadcast_variables(plain, root_rank=root)


def broadcast_bytes(data: bytes, *, root: int = 0) -> bytes:
    """Returns the bytes of rank `root`; what the other ranks pass is ignored."""
    if _horovod is None or _horovod.size() == 1:
        return data
    return gather_bytes(data if _horovod.rank() == root else b"")[root]


def gather_bytes(data: bytes) -> list[bytes]:
    """Returns what every rank passed, by rank, on every rank."""
    if _horovod is None or _horovod.size() == 1:
        return [data]
    import tensorflow as tf

    data = b"." + data  # Horovod refuses to gather nothing at all
    sizes = _horovod.allgather(tf.constant([len(data)], tf.int64), name="gather_sizes").numpy()
    mine = tf.constant(np.frombuffer(data, np.uint8))
    joined = _horovod.allgather(mine, name="gather_bytes").numpy().tobytes()
    ends = np.cumsum(sizes)
    return [
        joined[end - size + 1 : end]
        for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)
    ]


def barrier() -> None:
    """Returns once every rank has called it."""
    # horovod.tensorflow 0.28.1 has no barrier of its own.
    sum_vector(np.zeros(1, np.int64), name="barrier")
