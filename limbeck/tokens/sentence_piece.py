"""SentencePiece models (unigram and BPE), through the `sentencepiece` library.

Kudo and Richardson 2018. Ids are the model's own (ALBERT, Llama, T5 and most others), or shifted
as fairseq does it (XLM-R): 0 <s>, 1 <pad>, 2 </s>, 3 <unk>, then the model's piece n as n + 1,
and <mask> after the last.

Special pieces are made control symbols when a model is loaded: no text can produce one.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import sentencepiece

from limbeck.config.errors import LimbeckError
from limbeck.tokens.configuration import config_file, extend_tokens, flag, role_fields, special_ids
from limbeck.tokens.engine import piece_name, trim_span, word_starts
from limbeck.tokens.rewriting import KEEP, Rewriting
from limbeck.tokens.sentencepiece_file import UNKNOWN, make_control, meaning, read_pieces
from limbeck.tokens.tokenizer import SpecialIds

__all__ = ["Convention", "SentencePiece", "read_sentencepiece"]

Convention = Literal["plain", "fairseq"]
"""How ids follow from the model's."""

_FAIRSEQ = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 to 3 of fairseq's dictionaries
_FAIRSEQ_ROLES = {
    "pad": "<pad>",
    "unk": "<unk>",
    "cls": "<s>",
    "sep": "</s>",
    "mask": "<mask>",
    "bos": "<s>",
    "eos": "</s>",
}
_FILE_NAMES = {"plain": "tokenizer.model", "fairseq": "sentencepiece.bpe.model"}


class SentencePiece:
    """Text <-> ids of a SentencePiece model, without special tokens around them."""

    def __init__(
        self,
        model: bytes,
        *,
        convention: Convention = "plain",
        config: Mapping[str, Any] | None = None,
        rewriting: Rewriting = KEEP,
        where: str = "SentencePiece model",
    ) -> None:
        """Reads a model; `read_sentencepiece` does it from a file.

        Args:
          model: content of the model's file.
          convention: how ids follow from the model's.
          config: which tokens are special and which are added behind the model's; from
            `read_config`.
          rewriting: what happens to the text first.
          where: file, for messages.

        Raises:
          LimbeckError: it is no such model, or does not fit convention or configuration.
        """
        self.convention = convention
        self.rewriting = rewriting
        self._model = model
        self._config = dict(config or {})
        pieces = read_pieces(model, where=where)
        names = [piece.text for piece in pieces]
        unknown = next((n for n, piece in enumerate(pieces) if piece.kind == UNKNOWN), 0)
        self._ids = _ids_of_pieces(names, unknown, convention, where=where)
        if convention == "fairseq":
            names = [*_FAIRSEQ, *names[3:], "<mask>"]
        self._tokens = extend_tokens(names, self._config, where=where)
        self.vocab_size = len(self._tokens)
        self.special = _special(self._tokens, convention, self._config, unknown, where=where)
        special_names = {self._tokens[number] for number in self.special.known().values()}
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(make_control(model, special_names))
        except (RuntimeError, OSError, ValueError) as error:
            raise LimbeckError(f"{where}: {error}") from None
        leads = self._processor.EncodeAsPieces("a")[:1]
        self._lead = "" if leads and leads[0].startswith("\u2581") else " "

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._model, self.convention, self._config, self.rewriting)

    @property
    def word_starts(self) -> npt.NDArray[np.bool_]:
        """(V,) True where a piece begins a word; True for special ids."""
        return word_starts(self._tokens, self.special)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each text; an empty list where nothing is left of it."""
        # One thread: stages run several processes.
        rows = self._processor.EncodeAsIds([self.rewriting(t) for t in texts], num_threads=1)
        if self.convention == "plain":
            return [list(row) for row in rows]
        return [[self._ids[number] for number in row] for row in rows]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Returns the pieces of each word; those after the first as they follow a space."""
        return self.encode([*words[:1], *(self._lead + word for word in words[1:])])

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Returns ids and (begin, end) in characters of `text`, without white space around."""
        rewritten, places = self.rewriting.aligned(text)
        found = self._processor.EncodeAsOffsetMapping(rewritten)
        spans = [(places[begin], places[end]) for begin, end in found["offsets"]]
        return [self._ids[number] for number in found["ids"]], [trim_span(text, *s) for s in spans]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns readable text; special tokens by their names. For people's eyes."""
        special = set(self.special.known().values())
        own = {number: place for place, number in enumerate(self._ids)}
        parts: list[str] = []
        run: list[int] = []
        for number in ids:
            if number in own and number not in special:
                run.append(own[number])
                continue
            parts += [self._processor.DecodeIds(run), self.token(number)]
            run = []
        parts.append(self._processor.DecodeIds(run))
        return " ".join(part for part in parts if part)

    def token(self, number: int) -> str:
        """Returns the token of an id, as the vocabulary spells it.

        Raises:
          IndexError: there is no such id.
        """
        return piece_name(self._tokens, number)

    def fingerprint(self) -> str:
        """Returns the SHA-256, in hex, of everything that decides which ids a text gets."""
        settings = {
            "kind": "sentencepiece",
            "convention": self.convention,
            "rewriting": self.rewriting.describe(),
            "special": self.special.known(),
            "tokens": self._tokens,
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode() + b"\n")
        digest.update(meaning(self._model))
        return digest.hexdigest()

    def info(self) -> dict[str, Any]:
        """Returns what manifests say about the tokenizer."""
        return {
            "kind": "sentencepiece",
            "fingerprint": self.fingerprint(),
            "vocab_size": self.vocab_size,
            "convention": self.convention,
        }

    def files(self) -> dict[str, bytes]:
        """Returns the files of its folder by name."""
        config = {
            **{k: v for k, v in self._config.items() if k in _KEPT_FIELDS},
            **role_fields(self.special, self._tokens),
        }
        if self.convention == "fairseq":
            config["tokenizer_class"] = "XLMRobertaTokenizer"
        return {_FILE_NAMES[self.convention]: self._model, **config_file(config, self.info())}


# Fields of the configuration that decide about ids and are kept in a folder of ours.
_KEPT_FIELDS = ("added_tokens_decoder", "tokenizer_class", "do_lower_case", "keep_accents")


def _restore(
    model: bytes, convention: Convention, config: dict[str, Any], rewriting: Rewriting
) -> SentencePiece:
    return SentencePiece(model, convention=convention, config=config, rewriting=rewriting)


def read_sentencepiece(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    *,
    convention: Convention = "plain",
) -> SentencePiece:
    """Reads a model file.

    Args:
      path: the file.
      config: from `read_config`; of ALBERT's, `do_lower_case` and `keep_accents` count.
      convention: how ids follow from the model's.

    Raises:
      LimbeckError: it is no such model, or does not fit convention or configuration.
    """
    with open(path, "rb") as file:
        model = file.read()
    rewriting = KEEP
    if str(config.get("tokenizer_class", "")).startswith("Albert"):
        where = "tokenizer_config.json"
        rewriting = Rewriting(
            plain_quotes=True,
            lower_case=bool(flag(config, "do_lower_case", True, where=where)),
            strip_accents=not flag(config, "keep_accents", False, where=where),
        )
    return SentencePiece(
        model, convention=convention, config=config, rewriting=rewriting, where=os.fspath(path)
    )


def _ids_of_pieces(
    names: Sequence[str], unknown: int, convention: Convention, *, where: str
) -> list[int]:
    """Returns the id of each of the model's pieces."""
    if convention == "plain":
        return list(range(len(names)))
    if list(names[:3]) != ["<unk>", "<s>", "</s>"] or unknown != 0:
        raise LimbeckError(
            f"{where}: begins with the pieces {', '.join(names[:3])}; a model of XLM-R begins "
            "with <unk>, <s>, </s>"
        )
    return [3, 0, 2, *range(4, len(names) + 1)]


def _special(
    tokens: Sequence[str],
    convention: Convention,
    config: Mapping[str, Any],
    unknown: int,
    *,
    where: str,
) -> SpecialIds:
    vocabulary = {token: number for number, token in enumerate(tokens)}
    named = any(config.get(f"{role}_token") for role in _FAIRSEQ_ROLES)
    if convention == "fairseq" and not named:
        return SpecialIds(**{role: vocabulary[name] for role, name in _FAIRSEQ_ROLES.items()})
    found = special_ids(config, vocabulary, where=where)
    if found.unk is None and convention == "plain":
        return SpecialIds(**{**found.known(), "unk": unknown})
    return found
