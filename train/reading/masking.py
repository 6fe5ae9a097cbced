"""A new mask at every visit of a row: a function of (seed, epoch, record key, position) alone.

So a mask does not depend on ranks, batches or threads, and a resumed run draws the same. Of a row
of n tokens min(P, max(1, round(rate * n))) are chosen, uniformly among those that are not special
(Devlin et al. 2019, section 3.1); each becomes [MASK], a uniform id of the whole vocabulary, or
stays. Needs no TensorFlow; whole batches at once.
"""

# n rows, S token slots, P prediction slots

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from limbeck.config.errors import UsageError
from limbeck.order.permutation import mix_bits
from limbeck.records.dataset import Dataset
from limbeck.tokens import load_tokenizer
from train.reading.merging import CORPUS
from train.reading.mixture import Corpora
from train.recipe.data import DynamicMasking

__all__ = ["KINDS", "Masker", "kind_of", "make_masker", "mask_rows", "open_masker"]

Uint64 = npt.NDArray[np.uint64]

KINDS = ("unmasked-pairs", "lines")
MASKS = ("mask_positions", "mask_ids", "num_masked")
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # splitmix64's step: 2^64 over the golden ratio
CHOICE, FATE, REPLACEMENT = (np.uint64(i) for i in range(3))  # independent draws a token


@dataclass(frozen=True, kw_only=True)
class Masker:
    """All that masking needs beside the rows."""

    settings: DynamicMasking
    """Shares."""
    seed: int
    """Of the run."""
    mask_id: int
    """Id of [MASK]."""
    special_ids: tuple[int, ...]
    """Ids that are never masked."""
    vocab_size: int
    """Replacements are drawn from [0, vocab_size)."""
    max_predictions: int
    """P."""
    corpora: tuple[int, ...] | None = None
    """Numbers of the corpora whose rows are masked; None: all rows are."""

    def __call__(
        self, examples: Mapping[str, np.ndarray], epochs: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Returns the rows masked; `epochs` (n,) says at which visit."""
        if self.corpora is None:
            return mask_rows(examples, epochs, self)
        chosen = np.isin(examples[CORPUS], self.corpora)
        part = {name: values[chosen] for name, values in examples.items()}
        masked = mask_rows(part, epochs[chosen], self)
        whole = {**examples, "ids": examples["ids"].copy()}
        for name in MASKS:
            whole[name] = np.zeros((len(chosen), *masked[name].shape[1:]), masked[name].dtype)
        for name in ("ids", *MASKS):
            whole[name][chosen] = masked[name]
        return whole


def open_masker(
    settings: DynamicMasking | None, corpora: Corpora, *, seed: int, vocab_size: int
) -> Masker | None:
    """What masks the rows of a run; in a mixture those of plain text. None where nothing does.

    Raises:
      UsageError: as `make_masker`, or a mixture without plain text.
    """
    if settings is None:
        return None
    numbers = [
        number
        for number, part in enumerate(corpora.parts)
        if len(corpora.parts) == 1 or kind_of(part.examples) in (None, "pairs", "mlm", *KINDS)
    ]
    if not numbers:
        kinds = ", ".join(f"{p.name}: {kind_of(p.examples)}" for p in corpora.parts)
        raise UsageError(
            f"data.masking has no effect: no corpus is of kind {' or '.join(KINDS)} ({kinds})"
        )
    maskers = [
        make_masker(settings, corpora.parts[n].examples, seed=seed, vocab_size=vocab_size)
        for n in numbers
    ]
    widest = max(maskers, key=lambda masker: masker.max_predictions)
    some = len(numbers) < len(corpora.parts)
    return dataclasses.replace(widest, corpora=tuple(numbers) if some else None)


def kind_of(examples: Dataset) -> str | None:
    """The kind of a directory's examples; None where its manifest does not say."""
    kind: str | None = examples.content.settings.get("example_kind")
    return kind


def make_masker(
    settings: DynamicMasking, examples: Dataset, *, seed: int, vocab_size: int
) -> Masker:
    """Checks that a corpus can be masked, and takes the special ids from the tokenizer.

    Raises:
      UsageError: examples that are masked already or of a kind that is no text to mask, another
        tokenizer than theirs, or one without [MASK].
    """
    where = f"data.masking: {examples.directory}"
    kind = kind_of(examples)
    if "mask_positions" in examples.layout.names:
        raise UsageError(
            f"{where}: these examples are masked already; leave data.masking out, or prepare them "
            "with --kind unmasked-pairs or lines"
        )
    if kind is not None and kind not in KINDS:
        raise UsageError(f"{where}: examples of kind {kind} cannot be masked; {KINDS} can")
    tokenizer = load_tokenizer(settings.tokenizer)
    recorded = examples.content.tokenizer or {}
    if recorded.get("fingerprint", tokenizer.fingerprint()) != tokenizer.fingerprint():
        raise UsageError(
            f"{where}: was tokenized with {recorded['fingerprint'][:12]}, and the tokenizer in "
            f"{settings.tokenizer} is {tokenizer.fingerprint()[:12]}: equal ids would mean other "
            "words"
        )
    special = tokenizer.special
    if special.mask is None:
        raise UsageError(f"{where}: the tokenizer in {settings.tokenizer} has no mask token")
    seq_length = examples.layout.field("ids").shape[0] or 0
    most = settings.max_predictions or math.ceil(settings.rate * seq_length)
    return Masker(
        settings=settings,
        seed=seed,
        mask_id=special.mask,
        special_ids=tuple(sorted({n for name, n in special.known().items() if name != "unk"})),
        vocab_size=vocab_size,
        max_predictions=min(most, seq_length),
    )


def mask_rows(
    examples: Mapping[str, np.ndarray], epochs: np.ndarray, masker: Masker
) -> dict[str, np.ndarray]:
    """Masks rows.

    Args:
      examples: unmasked, (n, ...): `key`, `ids`, `num_tokens` and what else there is.
      epochs: (n,) visit of each row.
      masker: how.

    Returns:
      The fields of masked examples: `ids` masked, `mask_positions` and `mask_ids` (n, P) padded
      with 0, `num_masked` (n,); the others as they were.
    """
    ids = examples["ids"]
    num_rows, slots = ids.shape
    tokens = examples["num_tokens"].astype(np.int64)
    real = np.arange(slots) < tokens[:, None]
    candidates = real & ~np.isin(ids, masker.special_ids)
    settings, most = masker.settings, masker.max_predictions
    wanted = np.minimum(most, np.maximum(1, np.rint(settings.rate * tokens).astype(np.int64)))
    wanted = np.minimum(wanted, candidates.sum(1))

    rows = _row_hashes(examples["key"], epochs, seed=masker.seed)
    draws = _draws(rows, slots, CHOICE)
    draws[~candidates] = np.iinfo(np.uint64).max
    order = np.argsort(draws, axis=1, kind="stable")[:, :most]
    used = np.arange(order.shape[1]) < wanted[:, None]
    # Ascending, with the unused slots behind.
    positions = np.sort(np.where(used, order, slots), axis=1)
    row = np.arange(num_rows)[:, None]
    places = np.where(used, positions, 0)
    true_ids = ids[row, places]

    fate = _uniform(_draws(rows, slots, FATE))[row, places]
    drawn = _uniform(_draws(rows, slots, REPLACEMENT))[row, places]
    replaced = (drawn * masker.vocab_size).astype(np.int64)
    is_random = fate < settings.mask + settings.random
    new = np.where(fate < settings.mask, masker.mask_id, np.where(is_random, replaced, true_ids))
    masked = ids.copy()
    at, slot = np.nonzero(used)
    masked[at, places[at, slot]] = new[at, slot].astype(ids.dtype)
    return {
        **examples,
        "ids": masked,
        "mask_positions": np.where(used, positions, 0).astype(np.uint16),
        "mask_ids": np.where(used, true_ids, 0).astype(ids.dtype),
        "num_masked": wanted.astype(np.uint16),
    }


def _row_hashes(keys: np.ndarray, epochs: np.ndarray, *, seed: int) -> Uint64:
    """(n,) one 64-bit number for each (seed, epoch, key)."""
    digest = hashlib.sha256(f"limbeck-masking 1 {seed}".encode()).digest()
    words = np.ascontiguousarray(keys).view("<u8").astype(np.uint64)
    value = mix_bits(words[:, 0] ^ np.uint64(int.from_bytes(digest[:8], "little")))
    value = mix_bits(value ^ words[:, 1])
    return mix_bits(value ^ epochs.astype(np.uint64) * GOLDEN)


def _draws(rows: Uint64, slots: int, stream: np.uint64) -> Uint64:
    """(n, S) 64-bit numbers, one a token."""
    counters = np.arange(slots, dtype=np.uint64) * np.uint64(3) + stream + np.uint64(1)
    return mix_bits(mix_bits(rows[:, None] + counters * GOLDEN))


def _uniform(bits: Uint64) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) from the upper 53 bits."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
