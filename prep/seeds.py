"""Randomness that belongs to a record, never to a process.

Every random choice of preparation comes from a generator made for one (seed, key, duplicate,
stage). Nothing is shared, so the output does not depend on the order, the number or the fate of
the workers. Philox is counter-based: making one costs microseconds and needs no warm-up.

All draws go through `Generator.random()`, which is the top 53 bits of the next raw word over 2**53.
NumPy promises the raw words for ever, but not what `integers`, `choice` or `permutation` make of
them, so those are not used.
"""

import hashlib
import math
import struct

import numpy as np
import numpy.typing as npt

__all__ = ["below", "generator", "hashes_below", "keyed_hash", "keyed_hashes"]

_DOMAIN = b"limbeck-seed-1"


def generator(*, seed: int, key: bytes, stage: str, duplicate: int = 0) -> np.random.Generator:
    """Returns the generator of one record at one stage.

    Args:
      seed: the run's seed, a signed 64-bit number.
      key: the record's 16-byte key.
      stage: name of the stage, such as `pairs`; stages of one record are independent.
      duplicate: which pass over the record.
    """
    digest = _digest(seed, key, stage, duplicate, size=16)
    words = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
    return np.random.Generator(np.random.Philox(key=words))


def keyed_hash(*, seed: int, key: bytes, stage: str, counter: int = 0) -> int:
    """Returns a uniform number in [0, 2**64) that depends on the arguments alone."""
    return int.from_bytes(_digest(seed, key, stage, counter, size=8), "little")


def keyed_hashes(
    *, seed: int, keys: npt.NDArray[np.uint8], stage: str, counter: int = 0
) -> npt.NDArray[np.uint64]:
    """Returns `keyed_hash` of each row of `keys` (N, bytes) as uint64 (N,)."""
    size, name = keys.shape[1], stage.encode()
    start = _hasher(seed, counter, size, len(name), digest_size=8)
    data = np.ascontiguousarray(keys).tobytes()
    digests = bytearray()
    for begin in range(0, len(data), size):
        # The header is hashed once: a copy costs less than starting again.
        hasher = start.copy()
        hasher.update(data[begin : begin + size] + name)
        digests += hasher.digest()
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def hashes_below(hashes: npt.NDArray[np.uint64], fraction: float) -> npt.NDArray[np.bool_]:
    """Returns which hashes (N,) lie in the first `fraction` of all 64-bit numbers."""
    limit = math.ceil(fraction * 2.0**64)  # exact: the comparison below is of whole numbers
    if limit >= 1 << 64:
        return np.ones(len(hashes), bool)
    return hashes < np.uint64(limit)


def below(rng: np.random.Generator, limit: int) -> int:
    """Draws a whole number in [0, limit); the bias is below limit / 2**53."""
    return min(int(rng.random() * limit), limit - 1)


def _digest(seed: int, key: bytes, stage: str, counter: int, *, size: int) -> bytes:
    name = stage.encode()
    hasher = _hasher(seed, counter, len(key), len(name), digest_size=size)
    hasher.update(key + name)
    return hasher.digest()


def _hasher(
    seed: int, counter: int, key_size: int, name_size: int, *, digest_size: int
) -> "hashlib.blake2b":
    # Lengths first: no two different argument lists give the same bytes.
    header = struct.pack("<qQHH", seed, counter, key_size, name_size)
    return hashlib.blake2b(header, digest_size=digest_size, person=_DOMAIN)
