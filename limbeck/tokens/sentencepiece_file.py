"""SentencePiece model files: just enough of their protocol buffer to read pieces and change types.

The fields are those of the library's `sentencepiece_model.proto`. Reading them here spares its
generated classes, which register a file name in the process's pool of protocol buffers that other
libraries register too.
"""

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from limbeck.config.errors import LimbeckError

__all__ = [
    "CONTROL",
    "UNKNOWN",
    "Piece",
    "make_control",
    "meaning",
    "read_pieces",
    "without_trainer_facts",
]

NORMAL, UNKNOWN, CONTROL = 1, 2, 3  # of ModelProto.SentencePiece.Type

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3  # fields of ModelProto
_PIECE, _SCORE, _TYPE = 1, 2, 3  # fields of ModelProto.SentencePiece
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

# Fields of TrainerSpec that encoding reads: model_type, treat_whitespace_as_suffix, byte_fallback
# and the spellings of unk, bos, eos, pad.
_TRAINER_KEPT = frozenset({3, 24, 35, 45, 46, 47, 48})


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One piece of the vocabulary."""

    text: str
    """Its spelling; U+2581 stands for a space."""
    score: float
    """Log-probability (unigram) or minus the number of its merge (BPE)."""
    kind: int
    """1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte."""


def read_pieces(model: bytes, *, where: str) -> tuple[Piece, ...]:
    """Returns the pieces of a model by id.

    Raises:
      LimbeckError: it is not a SentencePiece model.
    """
    try:
        pieces = tuple(_piece(value) for number, _, value in _fields(model) if number == _PIECES)
    except (IndexError, struct.error, UnicodeDecodeError, ValueError, TypeError):
        pieces = ()
    if not pieces:
        raise LimbeckError(f"{where}: not a SentencePiece model, or a damaged one")
    return pieces


def make_control(model: bytes, texts: Collection[str]) -> bytes:
    """Returns the model with these pieces as control symbols, which no text can produce."""
    result = []
    for number, wire, value in _fields(model):
        if number == _PIECES:
            piece = _piece(value)
            if piece.text in texts and piece.kind != UNKNOWN:
                value = _piece_bytes(replace(piece, kind=CONTROL))
        result.append(_field(number, wire, value))
    return b"".join(result)


def meaning(model: bytes) -> bytes:
    """Returns the part of a model that decides which ids a text gets, in canonical bytes."""
    return without_trainer_facts(model, kept=_TRAINER_KEPT)


def without_trainer_facts(model: bytes, *, kept: Collection[int] = _TRAINER_KEPT) -> bytes:
    """Returns the model with only the `kept` fields of its trainer's settings.

    The others say where and with how many threads it was trained.
    """
    result = []
    for number, wire, value in _fields(model):
        if number == _TRAINER and isinstance(value, bytes):
            value = b"".join(_field(*field) for field in _fields(value) if field[0] in kept)
        result.append(_field(number, wire, value))
    return b"".join(result)


def _piece(message: bytes | int) -> Piece:
    if not isinstance(message, bytes):
        raise ValueError("not a message")
    text, score, kind = "", 0.0, NORMAL
    for number, wire, value in _fields(message):
        if number == _PIECE and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif number == _SCORE and wire == _FIXED32 and isinstance(value, bytes):
            score = struct.unpack("<f", value)[0]
        elif number == _TYPE and isinstance(value, int):
            kind = value
    return Piece(text=text, score=score, kind=kind)


def _piece_bytes(piece: Piece) -> bytes:
    return (
        _field(_PIECE, _BYTES, piece.text.encode())
        + _field(_SCORE, _FIXED32, struct.pack("<f", piece.score))
        + _field(_TYPE, _VARINT, piece.kind)
    )


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes | int]]:
    """Yields (field number, wire type, value) of a message, in order."""
    place = 0
    while place < len(message):
        tag, place = _read_varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, place = _read_varint(message, place)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, place = _read_varint(message, place)
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire}")
        if place + size > len(message):
            raise ValueError("cut short")
        yield number, wire, message[place : place + size]
        place += size


def _field(number: int, wire: int, value: bytes | int) -> bytes:
    tag = _varint(number << 3 | wire)
    if isinstance(value, int):
        return tag + _varint(value)
    return tag + (_varint(len(value)) if wire == _BYTES else b"") + value


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7


def _varint(value: int) -> bytes:
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)
