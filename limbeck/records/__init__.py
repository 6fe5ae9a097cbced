"""Datasets on disk: layouts, the writer, the reader, and what notices every damaged byte.

TensorFlow-free. A dataset is a directory of TFRecord shards with an index and a summary each, and a
`manifest.json` whose content hash is the dataset's id.
"""

from limbeck.records.dataset import Dataset, check_rows_match, open_dataset
from limbeck.records.documents import (
    document_row,
    documents_layout,
    headings_of,
    paragraphs_of,
)
from limbeck.records.errors import CorruptRecord
from limbeck.records.examples import (
    NO_NEXT_SENTENCE_LABEL,
    attention_mask,
    check_examples,
    examples_layout,
    segment_ids,
)
from limbeck.records.files import atomic_file, atomic_write, fsync_directory
from limbeck.records.keys import (
    Key,
    chosen,
    input_digest,
    make_key,
    order_hash,
    shard_of,
    shards_of,
    split_key,
)
from limbeck.records.layout import DIGEST, KEY, Field, Layout
from limbeck.records.manifest import Content, Manifest, Provenance, ShardSummary
from limbeck.records.writer import DatasetWriter

__all__ = [
    "DIGEST",
    "KEY",
    "NO_NEXT_SENTENCE_LABEL",
    "Content",
    "CorruptRecord",
    "Dataset",
    "DatasetWriter",
    "Field",
    "Key",
    "Layout",
    "Manifest",
    "Provenance",
    "ShardSummary",
    "atomic_file",
    "atomic_write",
    "attention_mask",
    "check_examples",
    "check_rows_match",
    "chosen",
    "document_row",
    "documents_layout",
    "examples_layout",
    "fsync_directory",
    "headings_of",
    "input_digest",
    "make_key",
    "open_dataset",
    "order_hash",
    "paragraphs_of",
    "segment_ids",
    "shard_of",
    "shards_of",
    "split_key",
]
