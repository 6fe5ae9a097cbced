"""What can be asked of examples made of documents, and which options each kind takes."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from limbeck.config.errors import UsageError
from limbeck.records.examples import kind_layout
from limbeck.records.layout import Layout

__all__ = ["DocumentKind", "ExampleSettings", "MaskingName", "SecondSegment"]

DocumentKind = Literal["pairs", "mlm", "unmasked-pairs", "clm", "lines"]
MaskingName = Literal["token", "whole-word", "weighted", "span", "ngram", "none"]
SecondSegment = Literal["random", "next", "none"]

_MAX_DUPLICATES = 1 << 16  # what a key holds

# Names of the ways rows are made and masked: raise a number with any change of output.
_RECIPES: dict[DocumentKind, str] = {
    "pairs": "bert-pairs-1",
    "mlm": "full-sentences-1",
    "unmasked-pairs": "unmasked-1",
    "clm": "blocks-1",
    "lines": "lines-1",
}
_MASKING_RECIPES: dict[MaskingName, str] = {
    "token": "bert-1",
    "whole-word": "bert-whole-word-1",
    "weighted": "weighted-1",
    "span": "spanbert-1",
    "ngram": "albert-ngram-1",
}


@dataclass(frozen=True, kw_only=True)
class ExampleSettings:
    """How examples are made of documents; names and defaults are BERT's where BERT has them."""

    kind: DocumentKind = "pairs"
    """What a row is: pairs, masked sentence pairs with the next-sentence question (BERT); mlm,
    masked full sentences (RoBERTa); unmasked-pairs, without masks (MiniLM); clm, blocks of running
    text; lines, a row for each sentence of a document."""
    max_seq_length: int = 128
    """Tokens of an example, special ones included."""
    max_predictions_per_seq: int = 20
    """Masked positions of an example, at most."""
    short_seq_prob: float = 0.1
    """Probability that a document gets a shorter target length."""
    masked_lm_prob: float = 0.15
    """Share of the tokens to mask."""
    dupe_factor: int = 10
    """Passes over each document, each with pairs and masks of its own."""
    masking: MaskingName = "token"
    """What is chosen together: token, whole-word, ngram or span; weighted chooses tokens, rare ones
    more often; none leaves lines unmasked."""
    interleaved: bool = False
    """Deal the tokens of a row out to the dupe-factor passes, so that each is labelled once."""
    rare_exponent: float = 0.7
    """Weighted masking: a token's weight is its count to the power of minus this."""
    within_documents: bool = False
    """Never put two documents into one row."""
    second_segment: SecondSegment = "random"
    """Unmasked pairs: random, of another document in half of the rows; next, always what follows;
    none, single sequences of full sentences."""
    drop_tails: bool = False
    """Leave out blocks shorter than max-seq-length, so that no row is padded."""
    seed: int = 12345
    """Seed of every random choice."""

    def __post_init__(self) -> None:
        """Checks every setting, and that each has an effect."""
        lowest = 5 if self.is_paired else 3
        _check("max_seq_length", self.max_seq_length, lowest, 65535)
        if self.is_masked:
            _check("max_predictions_per_seq", self.max_predictions_per_seq, 1, self.max_seq_length)
        _check("short_seq_prob", self.short_seq_prob, 0, 1)
        _check("masked_lm_prob", self.masked_lm_prob, 0, 1)
        _check("dupe_factor", self.dupe_factor, 1, _MAX_DUPLICATES)
        _check("rare_exponent", self.rare_exponent, 0, 10)
        _check("seed", self.seed, -(1 << 63), (1 << 63) - 1)
        if self.masking == "none" and self.kind in ("pairs", "mlm"):
            raise UsageError(
                f"--masking none leaves --kind {self.kind} without a question; take --kind "
                "unmasked-pairs or lines"
            )
        self._refuse_unused()
        if self.interleaved:
            self._check_interleaved()

    def _refuse_unused(self) -> None:
        used = self.options
        for field in dataclasses.fields(self):
            if field.name not in used and getattr(self, field.name) != field.default:
                raise UsageError(
                    f"--{field.name.replace('_', '-')} has no effect with {self._choices()}"
                )

    def _choices(self) -> str:
        """Returns the choices that decide which options count, for a message."""
        words = [f"--kind {self.kind}"]
        if self.kind == "unmasked-pairs":
            words.append(f"--second-segment {self.second_segment}")
        if self.is_masked or self.kind == "lines":
            words.append(f"--masking {self.masking}")
        if self.is_masked and self.interleaved:
            words.append("--interleaved")
        return " ".join(words)

    def _check_interleaved(self) -> None:
        if self.masking not in ("token", "whole-word"):
            raise UsageError(
                f"--interleaved deals out tokens or words; --masking {self.masking} chooses by "
                "another rule"
            )
        if self.dupe_factor * self.max_predictions_per_seq < self.max_seq_length - 2:
            raise UsageError(
                f"--interleaved labels up to {self.max_seq_length - 2} tokens of a row in "
                f"{self.dupe_factor} passes of at most {self.max_predictions_per_seq}; raise "
                "--dupe-factor or --max-predictions-per-seq"
            )

    @property
    def is_masked(self) -> bool:
        """Whether rows carry masked positions."""
        return self.kind in ("pairs", "mlm") or (self.kind == "lines" and self.masking != "none")

    @property
    def is_paired(self) -> bool:
        """Whether rows have two segments."""
        return self.kind == "pairs" or (
            self.kind == "unmasked-pairs" and self.second_segment != "none"
        )

    @property
    def needs_partners(self) -> bool:
        """Whether second segments are taken from other documents."""
        return self.is_paired and self.second_segment == "random"

    @property
    def crosses_documents(self) -> bool:
        """Whether a row may hold tokens of several documents."""
        may = self.kind in ("mlm", "clm", "unmasked-pairs") and not self.is_paired
        return may and not self.within_documents

    @property
    def options(self) -> frozenset[str]:
        """Names of the settings that have an effect."""
        names = {"kind", "max_seq_length", "seed"}
        if self.kind in ("mlm", "clm"):
            names.add("within_documents")
        if self.kind == "pairs":
            names.add("short_seq_prob")
        if self.kind == "lines":
            names.add("masking")
        if self.kind == "clm":
            names.add("drop_tails")
        if self.kind == "unmasked-pairs":
            names.add("second_segment")
            names |= {"short_seq_prob", "dupe_factor"} if self.is_paired else {"within_documents"}
        if self.is_masked:
            names |= {"masking", "interleaved", "dupe_factor", "max_predictions_per_seq"}
            names |= set() if self.interleaved else {"masked_lm_prob"}
            names |= {"rare_exponent"} if self.masking == "weighted" else set()
        return frozenset(names)

    def layout(self, vocab_size: int) -> Layout:
        """Returns the layout of the examples."""
        return kind_layout(
            self.kind,
            seq_length=self.max_seq_length,
            max_predictions=self.max_predictions_per_seq if self.is_masked else None,
            vocab_size=vocab_size,
        )

    def content(self) -> dict[str, Any]:
        """Returns what the manifest says: the settings that have an effect, but for the seed."""
        names = sorted(self.options - {"kind", "seed"})
        facts: dict[str, Any] = {"example_kind": self.kind, "recipe": _RECIPES[self.kind]}
        if self.is_masked:
            facts["masking_recipe"] = _MASKING_RECIPES[self.masking]
        return facts | {name: getattr(self, name) for name in names}


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}; it must be from {low} to {high}")
