"""Whether a folder's vocabulary is that of its embeddings."""

import json
import os
from pathlib import Path

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.weights.checkpoint import Checkpoint

__all__ = ["check_vocabulary"]

_PADDED_TO = 8  # rows of embeddings that were filled up for speed come in multiples of it


def check_vocabulary(directory: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Compares `vocab.txt` or `vocab.json` with the token embeddings, where both are there.

    Embeddings may have more rows where they were filled up to a multiple of 8, or where tokens
    were added in other files.

    Raises:
      UsageError: they do not fit; names the file and the tensor.
    """
    rows = checkpoint.architecture.vocab_size
    for name, count in (("vocab.txt", _lines), ("vocab.json", _entries)):
        path = Path(directory) / name
        if not path.is_file():
            continue
        size = count(path)
        side = any((path.parent / n).is_file() for n in ("added_tokens.json", "tokenizer.json"))
        if size > rows or (size < rows and rows % _PADDED_TO and not side):
            tensor = next(
                (checkpoint.found[n].origin for n in _TOKENS if n in checkpoint.found), ""
            )
            raise UsageError(
                f"{path}: {size} tokens, but {tensor or 'the embedding'} has {rows} rows; is it "
                "another model's vocabulary?"
            )


_TOKENS = ("encoder/embeddings/token", "decoder/embeddings/token")


def _lines(path: Path) -> int:
    return len(path.read_bytes().rstrip(b"\r\n").split(b"\n"))


def _entries(path: Path) -> int:
    try:
        vocabulary = json.loads(path.read_bytes())
        return max(int(number) for number in vocabulary.values()) + 1
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise LimbeckError(f"{path}: not a vocabulary ({error}); fetch it again") from error
