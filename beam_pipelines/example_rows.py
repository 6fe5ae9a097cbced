"""The step of the examples pipeline: places of a split -> blocks of examples."""

# D documents of a split

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
from limbeck.records.examples import check_examples, labelled_positions
from limbeck.records.keys import shards_of
from limbeck.tokens import load_tokenizer
from limbeck.tokens.tokenizer import Tokenizer
from prep.accounting import IN, KEPT, NOTE
from prep.kinds.chains import begins_chain, chains_from
from prep.kinds.maker import make_maker
from prep.kinds.rows import Made, TokenisedDocument, row_dtype
from prep.kinds.settings import ExampleSettings
from prep.pairs import Sentences
from prep.partners import LazyTokens, PartnerPool, TokenCache
from prep.split import Split, SplitMap
from prep.texts import marks_spaces, running_text, spaced

__all__ = ["Interval", "MakeExamples", "Making", "assemble_examples", "note", "row_blocks"]

_CACHED_DOCUMENTS = 1024  # for partners, which are drawn from all documents

Interval = tuple[int, int, int]
"""Number of a split, and the places [begin, end) of some of its documents."""


@dataclass(frozen=True, kw_only=True)
class Making:
    """How examples are made of a documents dataset."""

    documents: str
    """Directory of the documents dataset."""
    tokenizer: str
    """Tokenizer folder."""
    vocab_size: int
    """Of that tokenizer."""
    splits: tuple[Split, ...]
    """The splits to write, as the sink numbers them."""
    split_map: SplitMap
    """Which document is in which."""
    num_shards: int
    """Of each split's dataset."""
    settings: ExampleSettings
    """The kind and its options."""
    chances: npt.NDArray[np.float64] | None = None
    """(V,) for weighted masking."""

    @property
    def row_dtype(self) -> np.dtype[Any]:
        """Of one example as it travels to the sink."""
        return row_dtype(self.settings.layout(self.vocab_size))


class MakeExamples(beam.DoFn):
    """Intervals of a split -> blocks of examples for the sink; outcomes of every document."""

    def __init__(self, making: Making, progress: str) -> None:
        super().__init__()
        self._making = making
        self._progress = progress

    def setup(self) -> None:
        """Opens the documents and the tokenizer."""
        making = self._making
        self._documents = open_dataset(making.documents, kind="documents")
        self._rows = {split: making.split_map.rows(split) for split in making.splits}
        tokenizer = load_tokenizer(making.tokenizer)
        self._texts = _Texts(self._documents, tokenizer, making.settings)
        self._makers = {
            split: make_maker(
                making.settings,
                tokenizer,
                chances=making.chances,
                partner=self._partner(split) if making.settings.needs_partners else None,
            )
            for split in making.splits
        }

    def teardown(self) -> None:
        """Closes the documents."""
        self._documents.close()

    def process(self, interval: Interval) -> Iterator[Any]:
        """Makes the examples of the documents, or chains, that begin in an interval."""
        number, begin, end = interval
        making = self._making
        split = making.splits[number]
        made = []
        for first, stop in self._groups(split, begin, end):
            rows = self._rows[split][first:stop]
            keys = self._documents.keys(rows)
            documents = [
                TokenisedDocument(row=row, key=key.tobytes(), sentences=self._texts.tokens(row))
                for row, key in zip(rows.tolist(), keys, strict=True)
            ]
            made.append(self._makers[split].make(documents))
            for outcome in _outcomes(made[-1], split, making.splits):
                yield beam.pvalue.TaggedOutput("outcomes", outcome)
            tick(self._progress, len(documents))
        if made:
            rows = np.concatenate([part.rows for part in made])
            yield from row_blocks(rows, number=number, num_shards=making.num_shards, dataset=split)

    def _groups(self, split: Split, begin: int, end: int) -> list[tuple[int, int]]:
        """Returns the places [first, stop) of documents that go into rows together."""
        settings, rows = self._making.settings, self._rows[split]
        if not settings.crosses_documents:
            return [(place, place + 1) for place in range(begin, end)]

        def starts(first: int, stop: int) -> npt.NDArray[np.bool_]:
            return begins_chain(self._documents.keys(rows[first:stop]), seed=settings.seed)

        return chains_from(begin, end, total=len(rows), starts=starts)

    def _partner(self, split: Split) -> Callable[[int, int], Sentences]:
        pool = PartnerPool(self._rows[split])
        return lambda row, value: self._texts.lazy(pool.choose(row, value))


class _Texts:
    """The tokens of documents, by row."""

    def __init__(self, documents: Dataset, tokenizer: Tokenizer, settings: ExampleSettings) -> None:
        self._documents = documents
        self._running = settings.kind == "clm"
        self._spaced = settings.kind != "lines" and marks_spaces(tokenizer)
        self._encode = tokenizer.encode
        # Without partners a document is used once.
        capacity = _CACHED_DOCUMENTS if settings.needs_partners else 1
        self._cache = TokenCache(self._load, capacity=capacity)

    def tokens(self, row: int) -> list[list[int]]:
        """Returns the sentences that have tokens."""
        return [tokens for tokens in self._cache.get(row).all() if tokens]

    def lazy(self, row: int) -> LazyTokens:
        """Returns a document of which only some sentences will be asked for."""
        return self._cache.get(row)

    def _load(self, row: int) -> LazyTokens:
        record = self._documents.record(row)
        texts: Sequence[str] = record["sentences"]
        if self._running:
            texts = [running_text(record)]
        elif self._spaced:
            texts = spaced(texts)
        return LazyTokens(texts, self._encode)


def _outcomes(made: Made, split: Split, splits: tuple[Split, ...]) -> Iterator[Outcome]:
    """Yields what each dataset counts of documents: all of them go into each."""
    for name in splits:
        yield f"{name}/{IN}", len(made.filters), ""
        if name != split:
            yield f"{name}/{split}", len(made.filters), ""
    for fate in made.filters:
        yield f"{split}/{fate or KEPT}", 1, ""
    for fact, count in made.notes.items():
        yield note(split, fact, count)


def note(dataset: str, name: str, count: int) -> Outcome:
    """Returns a fact about a dataset that is no item's fate, such as tokens left out."""
    return f"{dataset}/{NOTE}{name}", count, ""


def row_blocks(
    rows: npt.NDArray[Any], *, number: int, num_shards: int, dataset: str
) -> Iterator[Any]:
    """Yields structured rows (n,) by shard, as bytes, and the outcome that counts them."""
    shards = shards_of(np.ascontiguousarray(rows["key"]), num_shards)
    for shard in np.unique(shards).tolist():
        yield (number, shard), rows[shards == shard].tobytes()
    yield beam.pvalue.TaggedOutput("outcomes", (f"{dataset}/rows", len(rows), ""))


def assemble_examples(
    blocks: Iterable[bytes],
    *,
    dtype: np.dtype[Any],
    vocab_size: int,
    num_labels: int | None = None,
) -> ShardRows:
    """Returns the rows of a shard; a block is some structured rows as bytes."""
    rows = np.frombuffer(b"".join(blocks), dtype)
    columns = {name: np.ascontiguousarray(rows[name]) for name in dtype.names or ()}
    check_examples(columns, vocab_size=vocab_size, num_labels=num_labels)
    return ShardRows(
        rows=columns,
        num_rows=len(rows),
        lengths=columns["num_tokens"],
        labelled_positions=labelled_positions(columns),
    )
