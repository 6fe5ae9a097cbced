"""The step of the examples pipeline: rows of the documents dataset -> blocks of examples."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt

from beam_pipelines.outcomes import Outcome
from beam_pipelines.progress import tick
from beam_pipelines.sink import ShardRows
from limbeck.records.dataset import Dataset, open_dataset
from limbeck.records.examples import check_examples
from limbeck.records.keys import shards_of
from limbeck.tokens import load_tokenizer
from prep.accounting import IN, KEPT
from prep.examples import ExampleSettings, SpecialIds, build_examples, row_dtype
from prep.partners import LazyTokens, PartnerPool, TokenCache
from prep.split import Split, split_of

__all__ = ["Pairing", "PairDocuments", "assemble_examples", "split_rows"]


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """How examples are made of a documents dataset."""

    documents: str
    """Directory of the documents dataset."""
    tokenizer: str
    """Tokenizer folder."""
    vocab_size: int
    """Of that tokenizer."""
    heldout_fraction: float
    """Share of the documents that is held out."""
    splits: tuple[Split, ...]
    """The splits to write, as the sink numbers them."""
    num_shards: int
    """Of each split's dataset."""
    settings: ExampleSettings
    """Lengths, probabilities, passes, seed."""

    @property
    def row_dtype(self) -> np.dtype[Any]:
        """Of one example as it travels to the sink."""
        return row_dtype(self.settings.layout(self.vocab_size))


def split_rows(
    documents: Dataset, *, seed: int, heldout_fraction: float
) -> dict[Split, npt.NDArray[np.int64]]:
    """Returns the rows of the documents dataset in each split, ascending."""
    keys = documents.keys(np.arange(documents.num_rows))
    heldout = np.array(
        [
            split_of(key.tobytes(), seed=seed, heldout_fraction=heldout_fraction) == "heldout"
            for key in keys
        ],
        dtype=bool,
    )
    return {"train": np.flatnonzero(~heldout), "heldout": np.flatnonzero(heldout)}


class PairDocuments(beam.DoFn):
    """Ranges of rows -> blocks of examples for the sink; outcomes of every document."""

    def __init__(self, pairing: Pairing, progress: str) -> None:
        super().__init__()
        self._pairing = pairing
        self._progress = progress

    def setup(self) -> None:
        """Opens the documents and the tokenizer."""
        pairing = self._pairing
        self._documents = open_dataset(pairing.documents, kind="documents")
        tokenizer = load_tokenizer(pairing.tokenizer)
        self._special = SpecialIds(
            cls_id=tokenizer.cls_id,
            sep_id=tokenizer.sep_id,
            mask_id=tokenizer.mask_id,
            vocab_size=tokenizer.vocab_size,
        )
        self._cache = TokenCache(functools.partial(_load, self._documents, tokenizer.encode))
        self._dtype = pairing.row_dtype
        rows = split_rows(
            self._documents,
            seed=pairing.settings.seed,
            heldout_fraction=pairing.heldout_fraction,
        )
        self._pools = {split: PartnerPool(rows[split]) for split in pairing.splits}
        self._heldout = frozenset(rows["heldout"].tolist())

    def teardown(self) -> None:
        """Closes the documents."""
        self._documents.close()

    def process(self, extent: tuple[int, int]) -> Iterator[Any]:
        """Makes the examples of the documents in rows [begin, end)."""
        pairing = self._pairing
        made: dict[Split, list[npt.NDArray[Any]]] = {split: [] for split in pairing.splits}
        for row in range(*extent):
            split: Split = "heldout" if row in self._heldout else "train"
            examples = self._examples(row, split)
            made[split].extend(examples)
            kept = any(len(block) for block in examples)
            for outcome in _outcomes(split, pairing.splits, kept=kept):
                yield beam.pvalue.TaggedOutput("outcomes", outcome)
            tick(self._progress)
        for number, split in enumerate(pairing.splits):
            yield from self._blocks(number, split, made[split])

    def _examples(self, row: int, split: Split) -> list[npt.NDArray[Any]]:
        """Returns the examples of one document, an array a pass."""
        sentences = [tokens for tokens in self._cache.get(row).all() if tokens]
        pool = self._pools[split]
        return [
            build_examples(
                sentences,
                document_key=self._documents.keys([row])[0].tobytes(),
                duplicate=duplicate,
                settings=self._pairing.settings,
                special=self._special,
                dtype=self._dtype,
                partner=lambda value: self._cache.get(pool.choose(row, value)),
            )
            for duplicate in range(self._pairing.settings.dupe_factor)
        ]

    def _blocks(
        self, number: int, split: Split, examples: Sequence[npt.NDArray[Any]]
    ) -> Iterator[Any]:
        """Yields the examples by shard, as bytes."""
        rows = np.concatenate(examples) if examples else np.zeros(0, self._dtype)
        shards = shards_of(np.ascontiguousarray(rows["key"]), self._pairing.num_shards)
        for shard in np.unique(shards).tolist():
            yield (number, shard), rows[shards == shard].tobytes()
        yield beam.pvalue.TaggedOutput("outcomes", (f"{split}/rows", len(rows), ""))


def _load(
    documents: Dataset, encode: Callable[[Sequence[str]], list[list[int]]], row: int
) -> LazyTokens:
    return LazyTokens(documents.record(row)["sentences"], encode)


def _outcomes(split: Split, splits: tuple[Split, ...], *, kept: bool) -> Iterator[Outcome]:
    """Yields what each dataset counts of one document: all of them go into each."""
    for name in splits:
        yield f"{name}/{IN}", 1, ""
        fate = split if name != split else KEPT if kept else "no_tokens"
        yield f"{name}/{fate}", 1, ""


def assemble_examples(
    blocks: Iterable[bytes], *, dtype: np.dtype[Any], vocab_size: int
) -> ShardRows:
    """Returns the rows of a shard; a block is some structured rows as bytes."""
    rows = np.frombuffer(b"".join(blocks), dtype)
    columns = {name: np.ascontiguousarray(rows[name]) for name in dtype.names or ()}
    check_examples(columns, vocab_size=vocab_size)
    return ShardRows(
        rows=columns,
        num_rows=len(rows),
        lengths=columns["num_tokens"],
        labelled_positions=int(columns["num_masked"].sum(dtype=np.int64)),
    )
