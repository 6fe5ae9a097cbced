"""What a command prints, as JSON in a file: for programs that read it."""

import json
import os
from typing import Any

from limbeck.records.files import atomic_write

__all__ = ["write_json"]


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes a JSON value, whole or not at all; keys are sorted.

    Raises:
      OSError: the file cannot be written.
    """
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
    atomic_write(path, f"{text}\n".encode())
