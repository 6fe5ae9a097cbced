"""What the sources of documents share: the rows they write and the checks of their options."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

from beam_pipelines.outcomes import Outcome
from beam_pipelines.sink import Block, ShardRows
from limbeck.config.errors import UsageError
from limbeck.records.documents import document_row, documents_layout
from limbeck.records.keys import make_key, shard_of
from limbeck.records.writer import DatasetWriter
from prep.accounting import KEPT
from prep.document import Document

__all__ = ["NAME", "assemble_documents", "document_block", "documents_writer", "file_identity"]

NAME = "documents"
"""Name of the dataset."""

_HASH_BYTES = 1 << 22


def documents_writer(out: str, *, num_shards: int, settings: Mapping[str, Any]) -> DatasetWriter:
    """Returns the writer of a documents dataset in the directory `out`."""
    if num_shards < 1:
        raise UsageError(f"num_shards is {num_shards}; it must be at least 1")
    return DatasetWriter(
        out,
        name=NAME,
        kind="documents",
        layout=documents_layout(),
        num_shards=num_shards,
        settings=settings,
    )


def file_identity(path: str) -> dict[str, Any]:
    """Returns size and SHA-256 of a source file: what it is, wherever it lies."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_HASH_BYTES):
            digest.update(block)
        size = os.fstat(file.fileno()).st_size
    return {"bytes": size, "sha256": digest.hexdigest()}


def document_block(
    *, corpus: str, page: int, title: str, document: Document, num_shards: int
) -> tuple[Block, list[Outcome]]:
    """Returns a document for the sink, and the outcomes that say so."""
    key = make_key(corpus=corpus, page=page)
    block = ((0, shard_of(key, num_shards)), (key, title, document.to_json()))
    return block, [(f"{NAME}/{KEPT}", 1, ""), (f"{NAME}/rows", 1, "")]


def assemble_documents(blocks: Iterable[Any]) -> ShardRows:
    """Returns the rows of a shard; a block is one document."""
    rows = [document_row(key=key, title=title, **document) for key, title, document in blocks]
    return ShardRows(rows=rows, num_rows=len(rows))
