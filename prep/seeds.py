"""Randomness that belongs to a record, never to a process.

Every random choice of preparation comes from a generator made for one (seed, key, duplicate,
stage). Nothing is shared, so the output does not depend on the order, the number or the fate of
the workers. Philox is counter-based: making one costs microseconds and needs no warm-up.

All draws go through `Generator.random()`, which is the top 53 bits of the next raw word over 2**53.
NumPy promises the raw words for ever, but not what `integers`, `choice` or `permutation` make of
them, so those are not used.
"""

import hashlib
import struct

import numpy as np

__all__ = ["below", "generator", "keyed_hash"]

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


def below(rng: np.random.Generator, limit: int) -> int:
    """Draws a whole number in [0, limit); the bias is below limit / 2**53."""
    return min(int(rng.random() * limit), limit - 1)


def _digest(seed: int, key: bytes, stage: str, counter: int, *, size: int) -> bytes:
    name = stage.encode()
    # Lengths first: no two different argument lists give the same bytes.
    header = struct.pack("<qQHH", seed, counter, len(key), len(name))
    return hashlib.blake2b(header + key + name, digest_size=size, person=_DOMAIN).digest()
