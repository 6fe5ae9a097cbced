"""Students of a smaller vocabulary: the ids that a corpus uses, and a map back to the teacher's.

New id i stands for the teacher's id kept[i]; ids keep their order. A student folder holds the map
as `vocabulary_map.json` and, for a WordPiece, the tokenizer of the kept tokens. On text whose
every token is kept that tokenizer gives the same pieces; elsewhere it spells with what is left.

Labels of a teacher hold the teacher's ids. Learning from them with a trimmed vocabulary is not
there yet: `refuse_untrimmed` says so before a run starts.
"""

# V the teacher's vocabulary, n ids kept

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.models.constructions.axes import take_along
from limbeck.models.constructions.construction import Construction
from limbeck.tokens import Tokenizer, WordPiece
from limbeck.tokens.wordpiece import VOCAB_NAME

__all__ = [
    "MAP_NAME",
    "frequent_ids",
    "read_map",
    "refuse_untrimmed",
    "trim_vocabulary",
    "trimmed_files",
    "trimmed_shape",
    "vocabulary_map",
]

MAP_NAME = "vocabulary_map.json"

_FORMAT = 1


def frequent_ids(
    counts: np.ndarray,
    *,
    special_ids: Iterable[int],
    min_count: int = 1,
    size: int | None = None,
) -> np.ndarray:
    """The ids worth keeping: special ones, and those that a corpus uses.

    Args:
      counts: (V,) how often each id occurs.
      special_ids: kept whatever their counts.
      min_count: others are kept from this count on.
      size: at most so many ids are kept, the most frequent ones (of equal counts the lower id);
        None for all.

    Returns:
      (n,) int64, ascending.

    Raises:
      UsageError: fewer ids than there are special ones, or a special id that is not there.
    """
    special = np.unique(np.fromiter(special_ids, np.int64))
    if len(special) and special[-1] >= len(counts):
        raise UsageError(
            f"trim_vocabulary: special id {special[-1]} is beyond the {len(counts)} counts"
        )
    if size is not None and size < len(special):
        raise UsageError(
            f"trim_vocabulary: size is {size}, but {len(special)} special ids must be kept"
        )
    others = np.flatnonzero(np.asarray(counts) >= max(min_count, 0))
    others = np.setdiff1d(others, special)
    by_count = others[np.argsort(-np.asarray(counts)[others], kind="stable")]
    room = len(others) if size is None else size - len(special)
    return np.sort(np.concatenate([special, by_count[:room]])).astype(np.int64)


def trimmed_shape(architecture: EncoderArchitecture, kept: np.ndarray) -> EncoderArchitecture:
    """The shape with the kept ids only.

    Raises:
      UsageError: no ids, ids out of order or range, or padding that would move or go.
    """
    kept = np.asarray(kept)
    if kept.ndim != 1 or len(kept) == 0 or kept.dtype.kind not in "iu":
        raise UsageError("trim_vocabulary: the kept ids must be a list of at least one integer")
    if (np.diff(kept) <= 0).any() or kept[0] < 0 or kept[-1] >= architecture.vocab_size:
        raise UsageError(
            f"trim_vocabulary: the kept ids must ascend from 0 to at most "
            f"{architecture.vocab_size - 1}, each once"
        )
    pad = int(np.searchsorted(kept, architecture.pad_id))
    if pad == len(kept) or kept[pad] != architecture.pad_id:
        raise UsageError(
            f"trim_vocabulary: id {architecture.pad_id}, padding, is not among the kept ids"
        )
    if architecture.position_offset and pad != architecture.pad_id:
        raise UsageError(
            f"trim_vocabulary: padding would become id {pad}, and the positions count from it; "
            f"keep all ids below {architecture.pad_id}"
        )
    return dataclasses.replace(architecture, vocab_size=len(kept), pad_id=pad)


def trim_vocabulary(teacher: Construction, kept: np.ndarray) -> Construction:
    """Takes the rows of the kept ids from the token embedding and the decoder's bias.

    The student's logits of kept ids are the teacher's, bit for bit, wherever the input has kept
    ids only; its probabilities are the teacher's given that the token is a kept one.

    Args:
      teacher: to take from.
      kept: (n,) the teacher's ids, ascending.

    Raises:
      UsageError: ids that do not fit, see `trimmed_shape`.
    """
    old = teacher.architecture
    kept = np.asarray(kept)
    new = trimmed_shape(old, kept)
    tensors = take_along(teacher.tensors, "vocabulary", kept, old)
    cut = f", {len(kept)} of {old.vocab_size} ids"
    changed = {n for n, tensor in tensors.items() if tensor.shape != teacher.tensors[n].shape}
    origins = {n: origin + (cut if n in changed else "") for n, origin in teacher.origins.items()}
    total = kept if teacher.kept_ids is None else teacher.kept_ids[kept]
    return dataclasses.replace(
        teacher,
        architecture=new,
        tensors=tensors,
        origins=origins,
        kept_ids=np.asarray(total, np.int64),
    ).with_lines(f"trim_vocabulary: {len(kept):,} of {old.vocab_size:,} ids kept")


def trimmed_files(tokenizer: Tokenizer, kept: np.ndarray) -> dict[str, bytes]:
    """The files of the tokenizer folder of the kept ids, by name.

    Raises:
      UsageError: not a WordPiece; the pieces of other kinds follow from merges or scores that a
        smaller vocabulary would contradict.
    """
    return trimmed_tokenizer(tokenizer, kept).files()


def trimmed_tokenizer(tokenizer: Tokenizer, kept: np.ndarray) -> WordPiece:
    """The WordPiece of the kept ids; see `trimmed_files`."""
    if not isinstance(tokenizer, WordPiece):
        raise UsageError(
            f"trim_vocabulary: only WordPiece vocabularies can be trimmed, and this one is "
            f"{tokenizer.info().get('kind')}"
        )
    tokens = [tokenizer.token(int(number)) for number in kept]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / VOCAB_NAME
        path.write_bytes("".join(f"{token}\n" for token in tokens).encode())
        return WordPiece(
            path,
            tokenizer.lower_case,
            strip_accents=tokenizer.strip_accents,
            split_chinese=tokenizer.split_chinese,
        )


def vocabulary_map(
    kept: np.ndarray, *, source: Mapping[str, Any], trimmed: Mapping[str, Any]
) -> bytes:
    """The contents of `vocabulary_map.json`.

    Args:
      kept: (n,) the teacher's ids.
      source: what the teacher's tokenizer says of itself (`Tokenizer.info`).
      trimmed: what the student's says.
    """
    value = {
        "format": _FORMAT,
        "source": dict(source),
        "trimmed": dict(trimmed),
        "kept": [int(number) for number in kept],
    }
    return (json.dumps(value) + "\n").encode()


def read_map(directory: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Reads the map of a student folder: source and trimmed tokenizer, and kept as (n,) int64.

    Returns:
      None where the folder has no map: its vocabulary was not trimmed.

    Raises:
      LimbeckError: the map is damaged.
    """
    path = Path(directory) / MAP_NAME
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_bytes())
        kept = np.array(value["kept"])
        fits = (
            value["format"] == _FORMAT
            and kept.dtype.kind == "i"
            and kept.shape == (value["trimmed"]["vocab_size"],)
            and bool((np.diff(kept) > 0).all())
            and 0 <= kept[0] <= kept[-1] < value["source"]["vocab_size"]
            and isinstance(value["source"]["fingerprint"], str)
        )
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        fits = False
    if not fits:
        raise LimbeckError(f"{path}: not a map of a trimmed vocabulary, or a damaged one")
    return {**value, "kept": kept.astype(np.int64)}


def refuse_untrimmed(
    recorded: Mapping[str, Any] | None, *, examples: str, model: str | os.PathLike[str]
) -> None:
    """Refuses examples of the teacher's tokenizer for a student of a trimmed vocabulary.

    Args:
      recorded: what the examples' manifest says of their tokenizer; None where nothing is known.
      examples: their directory, for the message.
      model: the student's folder.

    Raises:
      UsageError: the examples hold ids of the vocabulary that the student's was cut from.
    """
    mapping = read_map(model)
    if mapping is None or recorded is None:
        return
    if recorded["fingerprint"] == mapping["source"]["fingerprint"]:
        raise UsageError(
            f"{examples}: its ids are of the whole vocabulary ({recorded['vocab_size']}), and that "
            f"of {model} is trimmed to {len(mapping['kept'])}; learning through {MAP_NAME} is not "
            "there yet: prepare the examples with the student's own tokenizer"
        )
