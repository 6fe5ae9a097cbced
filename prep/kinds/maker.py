"""Puts a kind of examples together from its settings and a tokenizer."""

# V vocabulary

from typing import Protocol

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import UsageError
from limbeck.tokens.tokenizer import Tokenizer
from prep.kinds.blocks import Blocks
from prep.kinds.frame import frame_of, line_frame_of
from prep.kinds.lines import Lines
from prep.kinds.packed import Packed
from prep.kinds.paired import Paired, Partner
from prep.kinds.rows import Made, TokenisedDocument, row_dtype
from prep.kinds.settings import ExampleSettings
from prep.maskings.masker import Masker
from prep.maskings.weights import token_chances

__all__ = ["Maker", "chances_of", "make_maker"]

_MIN_PAIR = 2  # tokens of a pair beside the special ones


class Maker(Protocol):
    """Documents -> rows."""

    def make(self, documents: list[TokenisedDocument]) -> Made:
        """Makes the rows of documents that may share rows, or of any documents if none may."""
        ...


def make_maker(
    settings: ExampleSettings,
    tokenizer: Tokenizer,
    *,
    chances: npt.NDArray[np.float64] | None = None,
    partner: Partner | None = None,
) -> Maker:
    """Returns what makes the rows.

    Args:
      settings: the kind and its options.
      tokenizer: that makes the documents' tokens.
      chances: (V,) probability that a token is masked, for weighted masking.
      partner: gives other documents, for kinds that need them.

    Raises:
      UsageError: the tokenizer cannot make this kind, or rows are too short for it.
    """
    dtype = row_dtype(settings.layout(tokenizer.vocab_size))
    if settings.kind == "clm":
        return Blocks(settings=settings, end_of_text=_end_of_text(tokenizer), dtype=dtype)
    masker = _masker(settings, tokenizer, chances) if settings.is_masked else None
    if settings.kind == "lines":
        frame = line_frame_of(tokenizer)
        return Lines(settings=settings, frame=frame, masker=masker, dtype=dtype)
    frame = frame_of(tokenizer, what=f"--kind {settings.kind}")
    if not settings.is_paired:
        return Packed(settings=settings, frame=frame, masker=masker, dtype=dtype)
    if settings.max_seq_length < frame.num_around_pair + _MIN_PAIR:
        raise UsageError(
            f"max_seq_length is {settings.max_seq_length}; a pair of this tokenizer has "
            f"{frame.num_around_pair} special tokens, so it must be at least "
            f"{frame.num_around_pair + _MIN_PAIR}"
        )
    if settings.needs_partners and partner is None:
        raise ValueError(f"{settings.kind} examples need partners")
    return Paired(
        settings=settings,
        frame=frame,
        masker=masker,
        dtype=dtype,
        partner=partner if settings.needs_partners else None,
    )


def chances_of(
    settings: ExampleSettings, tokenizer: Tokenizer, counts: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Returns the probability (V,) that each token is masked, from counts (V,)."""
    if len(counts) != tokenizer.vocab_size:
        raise UsageError(
            f"the token counts are of {len(counts)} tokens and the vocabulary has "
            f"{tokenizer.vocab_size}; count with this tokenizer"
        )
    return token_chances(
        counts,
        exponent=settings.rare_exponent,
        rate=settings.masked_lm_prob,
        special=tokenizer.special.known().values(),
    )


def _masker(
    settings: ExampleSettings, tokenizer: Tokenizer, chances: npt.NDArray[np.float64] | None
) -> Masker:
    if tokenizer.special.mask is None:
        raise UsageError(
            f"--kind {settings.kind} needs a tokenizer with a mask token; this one "
            f"({tokenizer.info().get('kind')}) has none: it can make --kind clm, and --kind lines "
            "with --masking none"
        )
    return Masker(
        settings=settings,
        mask_id=tokenizer.special.mask,
        vocab_size=tokenizer.vocab_size,
        word_starts=np.asarray(tokenizer.word_starts),
        chances=chances,
    )


def _end_of_text(tokenizer: Tokenizer) -> int:
    end = tokenizer.special.eos
    if end is None:
        raise UsageError(
            f"--kind clm needs a tokenizer with an end-of-text token; this one "
            f"({tokenizer.info().get('kind')}) has none"
        )
    return end
