"""Checks a whole dataset: every file, and unless asked to be quick, every byte of it."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from limbeck.config.errors import LimbeckError
from limbeck.records.dataset import Dataset, check_rows_match
from limbeck.records.directory import file_problems, read_finished
from limbeck.records.errors import FIX, FIX_JSON
from limbeck.records.examples import check_examples
from limbeck.records.keys import input_digest, row_order, shards_of
from limbeck.records.manifest import Content
from limbeck.records.rows import FixedRows
from limbeck.records.shard import key_xor
from limbeck.records.shard_reader import ShardReader

__all__ = ["verify", "verify_digests"]

SPAN_BYTES = 1 << 22  # read, hashed and checked at a time
EXAMPLE_FIELDS = {"key", "ids", "num_tokens", "segment_split"}  # of every kind


def verify(
    directory: str,
    *,
    quick: bool = False,
    progress: Callable[[int], object] = lambda num_bytes: None,
) -> tuple[str, ...]:
    """Checks a dataset directory.

    Args:
      directory: of the dataset.
      quick: sizes, counts, JSON files and indexes only; else also every record and every SHA-256.
      progress: called, from several threads, with the number of data bytes just checked.

    Returns:
      One line for each problem; empty if all is well. A shard is left at its first problem.

    Raises:
      LimbeckError: there is no manifest to check against, or it is damaged.
    """
    content = read_finished(directory).content
    problems = list(file_problems(directory, content))
    if problems:  # each shard's own message would only repeat them
        return tuple(problems)
    codec = FixedRows(content.layout) if content.layout.stride_is_fixed else None
    first_rows = np.cumsum([0, *(shard.records for shard in content.shards)]).tolist()

    def check_attachment(name: str) -> str | None:
        path, described = os.path.join(directory, name), content.attachments[name]
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found == described["sha256"]:
            return None
        return f"{path}: expected SHA-256 {described['sha256']}, found {found}; {FIX_JSON}"

    def check(number: int) -> str | None:
        shard = None
        try:
            shard = ShardReader(
                directory,
                content.shards[number],
                content.layout,
                codec=codec,
                first_row=first_rows[number],
            )
            _check_index(shard, number, len(content.shards))
            if not quick:
                _check_data(shard, content, progress)
        except (LimbeckError, OSError) as error:
            return str(error)
        finally:
            if shard is not None:
                shard.close()
        return None

    # Hashing gives up the interpreter lock, so shards are checked side by side.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = [
            *pool.map(check_attachment, [] if quick else sorted(content.attachments)),
            *pool.map(check, range(len(content.shards))),
        ]
        return tuple(problem for problem in found if problem is not None)


def verify_digests(examples: Dataset, family: Dataset) -> None:
    """Checks that every label was made from the input in the same row of `examples`.

    A digest is that of the whole input, or of the input and its masked positions: which one depends
    on the family's signal, and both tie the label to its input.

    Raises:
      UsageError: the two directories do not go together.
      LimbeckError: naming the first row whose key or digest does not fit.
    """
    check_rows_match(examples, family)
    step = 4096
    places = family.parent_rows()
    for start in range(0, family.num_rows, step):
        own = np.arange(start, min(start + step, family.num_rows))
        rows = places[own]
        inputs, labels = examples.read(rows), family.read(own)
        parts = inputs["ids"], inputs["num_tokens"], inputs["segment_split"]
        whole = input_digest(*parts)
        masked = whole
        if "mask_positions" in inputs:
            masked = input_digest(*parts, inputs["mask_positions"], inputs["num_masked"])
        good = (labels["digest"] == whole).all(1) | (labels["digest"] == masked).all(1)
        good &= (labels["key"] == inputs["key"]).all(1)
        if not good.all():
            at = int(np.flatnonzero(~good)[0])
            found, *known = (d[at].tobytes().hex() for d in (labels["digest"], whole, masked))
            raise LimbeckError(
                f"{family.directory}: row {own[at]}: digest {found} is not that of the input in "
                f"{examples.directory} ({known[0]}, with positions {known[1]}); the label belongs "
                "to another input: extract the family again"
            )


def _check_index(shard: ShardReader, number: int, num_shards: int) -> None:
    """Checks keys and lengths of an index against the manifest and against their places."""
    summary, keys = shard.summary, shard.index.keys
    path = os.path.join(os.path.dirname(shard.path), summary.index_name)
    found = {"key_xor": key_xor(keys), "first_key": "", "last_key": ""}
    if len(keys):
        found["first_key"], found["last_key"] = keys[0].tobytes().hex(), keys[-1].tobytes().hex()
    for name, value in found.items():
        if value != getattr(summary, name):
            raise LimbeckError(
                f"{path}: expected {name} {getattr(summary, name)}, found {value}; {FIX}"
            )
    if (keys[1:] == keys[:-1]).all(1).any():
        raise LimbeckError(f"{path}: a key is there twice; {FIX}")
    if (row_order(keys) != np.arange(len(keys))).any() or (
        shards_of(keys, num_shards) != number
    ).any():
        raise LimbeckError(f"{path}: rows are not where their keys put them; {FIX}")
    lengths = shard.index.lengths
    tokens = 0 if lengths is None else int(lengths.sum(dtype=np.int64))
    if tokens != summary.tokens:
        raise LimbeckError(f"{path}: expected {summary.tokens} tokens, found {tokens}; {FIX}")


def _check_data(shard: ShardReader, content: Content, progress: Callable[[int], object]) -> None:
    """Checks every record and both SHA-256 of a shard, reading the data once."""
    summary, digest, row = shard.summary, hashlib.sha256(), 0
    index_path = os.path.join(os.path.dirname(shard.path), summary.index_name)
    with open(index_path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != summary.index_sha256:
        raise LimbeckError(
            f"{index_path}: expected SHA-256 {summary.index_sha256}, found {found}; {FIX}"
        )
    while row < summary.records:
        end = shard.span_end(row, SPAN_BYTES)
        span = shard.read_span(row, end)
        digest.update(span)
        _check_span(shard, content, row, end, span)
        progress(len(span))
        row = end
    if digest.hexdigest() != summary.sha256:
        raise LimbeckError(
            f"{shard.path}: expected SHA-256 {summary.sha256}, found {digest.hexdigest()}; {FIX}"
        )


def _check_span(shard: ShardReader, content: Content, row: int, end: int, span: bytes) -> None:
    """Checks the records of rows [row, end) of a shard, whose bytes are `span`."""
    if shard.codec is None:
        for _ in shard.decode_span(row, end, span):
            pass
        return
    data = np.frombuffer(span, np.uint8).reshape(end - row, shard.codec.stride)
    shard.check(np.arange(row, end), data)
    if content.kind == "examples" and set(content.layout.names) >= EXAMPLE_FIELDS:
        size = (content.tokenizer or {}).get("vocab_size")
        vocab_size = size if isinstance(size, int) else None
        labels = content.settings.get("labels")
        num_labels = len(labels) if isinstance(labels, list) else None
        values = shard.codec.decode(data)
        try:
            check_examples(values, vocab_size=vocab_size, num_labels=num_labels)
        except LimbeckError as error:
            raise LimbeckError(f"{shard.path}: from row {row} of the shard: {error}") from error
        lengths = shard.index.lengths
        if lengths is not None and (lengths[row:end] != values["num_tokens"]).any():
            raise LimbeckError(
                f"{shard.path}: from row {row} of the shard: num_tokens and the index's lengths "
                f"differ; {FIX}"
            )
