"""Training vocabularies: the same lines in the same order give the same tokenizer, byte for byte.

Three things would make it otherwise, and are kept out. The unigram trainer's result depends on the
order of its lines and on its threads: it gets sorted lines and one thread. A SentencePiece model
records paths and thread counts: those fields are dropped. The WordPiece trainer of the
`tokenizers` library numbers pieces such as "##a" in the order of a hash table seeded anew in each
process, and settles ties by those numbers (measured: 4 vocabularies in 5 runs): here all of them
are numbered before it starts.
"""

import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import sentencepiece
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.tokens import SPECIAL_TOKENS, ByteBPE, SentencePiece, SpecialIds, Tokenizer, WordPiece
from limbeck.tokens.sentencepiece_file import without_trainer_facts

__all__ = ["VocabularyKind", "VocabularySettings", "train_vocabulary", "training_lines"]

VocabularyKind = Literal["wordpiece", "unigram", "bpe", "byte-bpe"]
"""WordPiece, SentencePiece's two models, and byte-level BPE."""

_ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
_MAX_PIECE = 16  # characters of a SentencePiece piece, the library's default
_RESERVED = "\u2585"  # stands for unknown characters in SentencePiece's training
_MAX_LINE = 1 << 12  # characters of a line; SentencePiece leaves longer ones out


@dataclass(frozen=True, kw_only=True)
class VocabularySettings:
    """What to train."""

    kind: VocabularyKind = "wordpiece"
    """wordpiece, unigram or bpe (SentencePiece), or byte-bpe."""
    vocab_size: int = 30522
    """Number of tokens, special ones included."""
    lower_case: bool = True
    """Lower-case the text; byte-bpe never does."""
    character_coverage: float = 0.9995
    """Share of the text's characters that get a token of their own; not for byte-bpe."""
    min_frequency: int = 2
    """A pair is merged only if it occurs this often; not for SentencePiece."""

    def __post_init__(self) -> None:
        """Checks every setting."""
        if not 16 <= self.vocab_size <= 1 << 24:
            raise UsageError(f"vocab_size is {self.vocab_size}; it must be from 16 to {1 << 24}")
        if not 0.98 <= self.character_coverage <= 1:  # SentencePiece's own bounds
            raise UsageError(
                f"character_coverage is {self.character_coverage}; it must be from 0.98 to 1"
            )
        if self.min_frequency < 1:
            raise UsageError(f"min_frequency is {self.min_frequency}; it must be at least 1")
        if self.kind == "byte-bpe" and self.lower_case:
            raise UsageError("byte-bpe keeps the case of the text; say --no-lower-case")
        unused = {
            "character_coverage": self.kind == "byte-bpe",
            "min_frequency": self.kind in ("unigram", "bpe"),
        }
        for name, is_unused in unused.items():
            if is_unused and getattr(self, name) != getattr(VocabularySettings, name):
                raise UsageError(f"{name} has no effect on kind {self.kind}; leave it out")


def training_lines(sentence: str) -> list[str]:
    """Returns a sentence as the trainers get it: cut where it is too long for one of them."""
    text = " ".join(sentence.replace(_RESERVED, " ").split())
    return [text[begin : begin + _MAX_LINE] for begin in range(0, len(text), _MAX_LINE)]


def train_vocabulary(
    lines: Iterable[str], *, settings: VocabularySettings, directory: str
) -> Tokenizer:
    """Trains a tokenizer.

    Args:
      lines: what `training_lines` returned, in an order that does not depend on chance.
      settings: what to train.
      directory: an existing directory for working files.

    Raises:
      LimbeckError: there is no text, or too little for so large a vocabulary.
    """
    held = [line for line in lines if line]
    if not held:
        raise LimbeckError("no text to train a vocabulary on")
    if settings.kind == "wordpiece":
        tokenizer: Tokenizer = _train_wordpiece(held, settings, directory)
    elif settings.kind == "byte-bpe":
        tokenizer = _train_byte_bpe(held, settings)
    else:
        tokenizer = _train_sentencepiece(held, settings)
    if tokenizer.vocab_size != settings.vocab_size:
        raise _too_large(settings, tokenizer.vocab_size)
    return tokenizer


def _too_large(settings: VocabularySettings, possible: int) -> LimbeckError:
    return LimbeckError(
        f"vocab_size is {settings.vocab_size}, but the sample gives {possible} tokens; lower "
        "--vocab-size or raise --sample-megabytes"
    )


def _train_wordpiece(
    lines: Sequence[str], settings: VocabularySettings, directory: str
) -> WordPiece:
    engine = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer(lowercase=settings.lower_case)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    alphabet = _alphabet(map(engine.normalizer.normalize_str, lines), settings)
    inner = [f"##{char}" for char in alphabet if _joins(engine, char)]
    least = len(SPECIAL_TOKENS) + len(inner) + len(alphabet)
    if least > settings.vocab_size:
        raise LimbeckError(
            f"vocab_size is {settings.vocab_size}, but the {len(alphabet)} characters to cover "
            f"take {least} tokens; raise --vocab-size or lower --character-coverage"
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        special_tokens=[*SPECIAL_TOKENS, *inner],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    engine.train_from_iterator(lines, trainer)
    vocabulary = engine.get_vocab(with_added_tokens=False)
    path = os.path.join(directory, "vocab.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.__getitem__))
    return WordPiece(path, settings.lower_case)


def _alphabet(lines: Iterable[str], settings: VocabularySettings) -> list[str]:
    """Returns the most frequent characters that make up the wanted share of the text, sorted."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(line)
    for char in [char for char in counts if char.isspace()]:
        del counts[char]
    wanted = settings.character_coverage * counts.total()
    covered, chosen = 0, []
    for char, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if covered >= wanted:
            break
        chosen.append(char)
        covered += count
    return sorted(chosen)


def _joins(engine: tokenizers.Tokenizer, char: str) -> bool:
    """Says whether a character can stand inside a word, or else is one by itself."""
    return len(engine.pre_tokenizer.pre_tokenize_str(f"a{char}a")) == 1


def _train_byte_bpe(lines: Sequence[str], settings: VocabularySettings) -> ByteBPE:
    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=settings.min_frequency,
        special_tokens=list(_ROBERTA_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator(lines, trainer)
    model = json.loads(engine.to_str())["model"]
    tokens = tuple(sorted(model["vocab"], key=model["vocab"].__getitem__))
    merges = [m.split(" ") if isinstance(m, str) else m for m in model["merges"]]
    return ByteBPE(
        tokens,
        [(left, right) for left, right in merges],
        special=SpecialIds(cls=0, pad=1, sep=2, unk=3, mask=4, bos=0, eos=2),
    )


def _train_sentencepiece(lines: Sequence[str], settings: VocabularySettings) -> SentencePiece:
    model = io.BytesIO()
    pad, unk, *control = SPECIAL_TOKENS
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=settings.kind,
            vocab_size=settings.vocab_size,
            character_coverage=settings.character_coverage,
            normalization_rule_name="nmt_nfkc_cf" if settings.lower_case else "nmt_nfkc",
            # Nothing may depend on threads, on a shuffle, or on which lines were left out.
            num_threads=1,
            shuffle_input_sentence=False,
            input_sentence_size=0,
            max_sentence_length=4 * _MAX_LINE,  # bytes
            max_sentencepiece_length=_MAX_PIECE,
            pad_id=0,
            unk_id=1,
            bos_id=-1,
            eos_id=-1,
            pad_piece=pad,
            unk_piece=unk,
            control_symbols=",".join(control),
            minloglevel=3,
        )
    except RuntimeError as error:
        raise LimbeckError(
            f"vocab_size is {settings.vocab_size}, which the sample does not allow; lower "
            f"--vocab-size or raise --sample-megabytes ({str(error).splitlines()[-1].strip()})"
        ) from None
    config = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    config |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    return SentencePiece(without_trainer_facts(model.getvalue()), config=config)
