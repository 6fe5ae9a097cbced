"""Record keys, the place of a record in its dataset, and the digest that ties a label to its input.

A key is 16 bytes, big-endian so that keys sort like the tuples they stand for:

    bytes 0-3    first 4 bytes of SHA-256 of the corpus name
    bytes 4-9    page, or row of an imported file
    bytes 10-11  duplicate (the n-th masking of the same text)
    bytes 12-15  sequence number inside the page and duplicate

The place depends on the key alone: `order_hash` puts a record into a shard and, together with the
key, gives its rank inside the shard. So no output depends on bundles, workers or their order.
"""

# N rows, S token slots of a row, P label positions of a row

import dataclasses
import hashlib

import numpy as np
import numpy.typing as npt

__all__ = [
    "DIGEST_BYTES",
    "KEY_BYTES",
    "Key",
    "chosen",
    "input_digest",
    "key_rows",
    "make_key",
    "order_hash",
    "order_hashes",
    "row_order",
    "shard_of",
    "shards_of",
    "split_key",
]

KEY_BYTES = 16
DIGEST_BYTES = 8
DIGEST_DOMAIN = b"limbeck-input-1"
CHOICE_DOMAIN = b"limbeck-chosen-1"  # at most 16 bytes: BLAKE2b's personalisation

Uint8 = npt.NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Key:
    """The parts of a record's key."""

    corpus_hash: bytes
    """First 4 bytes of SHA-256 of the corpus name."""
    page: int
    """Page id of the corpus, or row of an imported file."""
    duplicate: int
    """0 for the first masking of a text."""
    sequence: int
    """Number of the sequence inside (page, duplicate)."""

    def __str__(self) -> str:
        """Returns `corpus 1a2b3c4d, page 12, duplicate 0, sequence 3`."""
        return (
            f"corpus {self.corpus_hash.hex()}, page {self.page}, "
            f"duplicate {self.duplicate}, sequence {self.sequence}"
        )


def make_key(*, corpus: str, page: int, duplicate: int = 0, sequence: int = 0) -> bytes:
    """Returns the 16 bytes of a record's key.

    Raises:
      ValueError: a number does not fit its bytes.
    """
    parts = [hashlib.sha256(corpus.encode()).digest()[:4]]
    for name, value, size in (
        ("page", page, 6),
        ("duplicate", duplicate, 2),
        ("sequence", sequence, 4),
    ):
        if not 0 <= value < 1 << 8 * size:
            raise ValueError(f"key: {name} is {value}; it must be in [0, {1 << 8 * size})")
        parts.append(int(value).to_bytes(size, "big"))
    return b"".join(parts)


def split_key(key: bytes | Uint8) -> Key:
    """Returns the parts of a 16-byte key."""
    data = _key_bytes(key)
    return Key(
        corpus_hash=data[:4],
        page=int.from_bytes(data[4:10], "big"),
        duplicate=int.from_bytes(data[10:12], "big"),
        sequence=int.from_bytes(data[12:], "big"),
    )


def order_hash(key: bytes | Uint8) -> int:
    """Returns the 64-bit number (BLAKE2b-8 of the key, big-endian) that places a record."""
    return int.from_bytes(hashlib.blake2b(_key_bytes(key), digest_size=8).digest(), "big")


def shard_of(key: bytes | Uint8, num_shards: int) -> int:
    """Returns the shard of a record: `order_hash * num_shards >> 64`."""
    return order_hash(key) * num_shards >> 64


def key_rows(keys: list[bytes]) -> Uint8:
    """Returns keys as rows of a uint8 array (N, 16)."""
    return np.frombuffer(b"".join(map(_key_bytes, keys)), np.uint8).reshape(-1, KEY_BYTES)


def order_hashes(keys: Uint8) -> npt.NDArray[np.uint64]:
    """Returns `order_hash` of each row of `keys` (N, 16) as uint64 (N,)."""
    data = _keys_array(keys).tobytes()
    digests = b"".join(
        hashlib.blake2b(data[i : i + KEY_BYTES], digest_size=8).digest()
        for i in range(0, len(data), KEY_BYTES)
    )
    return np.frombuffer(digests, ">u8").astype(np.uint64)


def shards_of(keys: Uint8, num_shards: int) -> npt.NDArray[np.int64]:
    """Returns `shard_of` of each row of `keys` (N, 16) as int64 (N,)."""
    hashes = order_hashes(keys)
    # The upper 64 bits of a 128-bit product, in halves that cannot overflow for shards < 2**32.
    low = (hashes & np.uint64(0xFFFFFFFF)) * np.uint64(num_shards) >> np.uint64(32)
    high = (hashes >> np.uint64(32)) * np.uint64(num_shards)
    return ((high + low) >> np.uint64(32)).astype(np.int64)


def row_order(keys: Uint8) -> npt.NDArray[np.int64]:
    """Returns the permutation (N,) that sorts rows by (order_hash, key), as inside a shard."""
    columns = _keys_array(keys).view(">u8")  # (N, 2): big-endian halves compare like the bytes
    return np.lexsort((columns[:, 1], columns[:, 0], order_hashes(keys)))


def chosen(keys: Uint8, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Returns which rows belong to a fraction of a dataset, by a hash of (seed, key) alone.

    The choice is that of no order, shard or worker; of two fractions with one seed the smaller is
    part of the larger. It has nothing to do with `order_hash`: every shard gives its share.

    Args:
      keys: (N, 16).
      fraction: in (0, 1]; 1 chooses all.
      seed: any integer.

    Returns:
      bool (N,).

    Raises:
      ValueError: the fraction is outside (0, 1].
    """
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"fraction is {fraction!r}; it must be in (0, 1]")
    data = _keys_array(keys).tobytes()
    if fraction == 1.0:
        return np.ones(len(keys), np.bool_)
    salt = hashlib.sha256(str(seed).encode()).digest()[: hashlib.blake2b.SALT_SIZE]
    digests = b"".join(
        hashlib.blake2b(
            data[i : i + KEY_BYTES], digest_size=8, salt=salt, person=CHOICE_DOMAIN
        ).digest()
        for i in range(0, len(data), KEY_BYTES)
    )
    limit = int(fraction * 2.0**64)  # exact: a double times a power of two, rounded down
    return np.frombuffer(digests, ">u8").astype(np.uint64) < np.uint64(limit)


def input_digest(
    ids: npt.NDArray[np.integer],
    num_tokens: npt.NDArray[np.integer],
    segment_split: npt.NDArray[np.integer],
    positions: npt.NDArray[np.integer] | None = None,
    num_positions: npt.NDArray[np.integer] | None = None,
) -> Uint8:
    """Returns 8 bytes a row that change when a teacher's input, or its labelled positions, change.

    SHA-256 over `limbeck-input-1`, then the unpadded ids after masking (u32 LE), the segment ids
    (u8) and, where given, the labelled positions (u32 LE); each part behind its length in bytes
    (u64 LE), so that no two inputs run into the same bytes.

    Args:
      ids: (N, S) token ids after masking; slots from `num_tokens` on are padding.
      num_tokens: (N,) real tokens of each row.
      segment_split: (N,) tokens of the first segment; the rest of the real ones are the second.
      positions: (N, P) labelled positions, for position-selective families only.
      num_positions: (N,) real positions of each row.

    Returns:
      uint8 (N, 8).
    """
    if (positions is None) != (num_positions is None):
        raise ValueError("input_digest: positions and num_positions go together")
    words = _words(ids, "ids")
    places = None if positions is None else _words(positions, "positions")
    counts = [0] * len(words) if num_positions is None else np.asarray(num_positions).tolist()
    tokens, splits = np.asarray(num_tokens).tolist(), np.asarray(segment_split).tolist()
    digests = []
    for row, (num, split, count) in enumerate(zip(tokens, splits, counts, strict=True)):
        if not 0 <= split <= num <= words.shape[1]:
            raise ValueError(
                f"input_digest: row {row} has segment_split {split} and num_tokens {num}; "
                f"expected 0 <= split <= tokens <= {words.shape[1]}"
            )
        digest = hashlib.sha256(DIGEST_DOMAIN)
        parts = [words[row, :num].tobytes(), bytes(split) + b"\1" * (num - split)]
        if places is not None:
            if not 0 <= count <= places.shape[1]:
                raise ValueError(
                    f"input_digest: row {row} has num_positions {count}; "
                    f"expected 0 to {places.shape[1]}"
                )
            parts.append(places[row, :count].tobytes())
        for part in parts:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        digests.append(digest.digest()[:DIGEST_BYTES])
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)


def _words(values: npt.NDArray[np.integer], name: str) -> npt.NDArray[np.uint32]:
    if values.ndim != 2 or values.dtype.kind not in "iu":
        raise ValueError(f"{name}: expected integers (N, slots), got {values.dtype} {values.shape}")
    return np.ascontiguousarray(values, "<u4")


def _key_bytes(key: bytes | Uint8) -> bytes:
    data = key if isinstance(key, bytes) else np.asarray(key, np.uint8).tobytes()
    if len(data) != KEY_BYTES:
        raise ValueError(f"key: {len(data)} bytes; a key has {KEY_BYTES}")
    return data


def _keys_array(keys: Uint8) -> Uint8:
    if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != KEY_BYTES:
        raise ValueError(f"keys: {keys.dtype} {keys.shape}; expected uint8 (N, {KEY_BYTES})")
    return np.ascontiguousarray(keys)
