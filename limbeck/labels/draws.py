"""Random words of a position, the same wherever and in whatever batch it is encoded.

The words are a pure function of (seed, record key, token position): BLAKE2b of the key under the
seed, once a record, then the finaliser of splitmix64 (Steele, Lea and Flood 2014) over the token's
number and both halves of it.
"""

# n records, M positions

import hashlib

import numpy as np

from limbeck.records.keys import KEY_BYTES

__all__ = ["draws"]

_DOMAIN = b"limbeck-draws-1"
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def draws(seed: int, keys: np.ndarray, rows: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Two random words for each position.

    Args:
      seed: of the job, any integer from 0 below 2**64.
      keys: (n, 16) uint8 record keys.
      rows: (M,) which of the records each position is in.
      tokens: (M,) its token position in the record.

    Returns:
      (M, 2) int32; the bits of uniform unsigned words.

    Raises:
      ValueError: a seed or token outside its range, keys of another shape.
    """
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed is {seed}; it must be in [0, 2**64)")
    if keys.ndim != 2 or keys.shape[1] != KEY_BYTES or keys.dtype != np.uint8:
        raise ValueError(f"keys: {keys.dtype} {keys.shape}; expected uint8 (n, {KEY_BYTES})")
    rows, tokens = np.asarray(rows, np.int64), np.asarray(tokens, np.int64)
    if tokens.size and tokens.min() < 0:
        raise ValueError(f"token position {tokens.min()} is below 0")
    halves = _hash_records(seed, keys, np.unique(rows))[rows]
    word = _mix(halves[:, 0] + (tokens.astype(np.uint64) + np.uint64(1)) * _GOLDEN)
    word = _mix(word ^ halves[:, 1])
    both = np.stack([word >> np.uint64(32), word & np.uint64(0xFFFFFFFF)], axis=-1)
    return both.astype(np.uint32).view(np.int32)


def _hash_records(seed: int, keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """(n, 2) uint64, zero for records that are not wanted."""
    halves = np.zeros((len(keys), 2), np.uint64)
    secret = seed.to_bytes(8, "little")
    for row in wanted.tolist():
        digest = hashlib.blake2b(
            keys[row].tobytes(), digest_size=16, key=secret, person=_DOMAIN
        ).digest()
        halves[row] = np.frombuffer(digest, "<u8")
    return halves


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64; unsigned overflow wraps, as it should."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
