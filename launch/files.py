"""Files that are either whole or not there, and their hashes. Standard library only."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text_atomically(path: Path, text: str) -> None:
    """Writes a small text file under a temporary name, then renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    _publish(Path(file.name), path)


def copy_atomically(source: IO[bytes], path: Path) -> None:
    """Copies an open binary file to `path` under a temporary name, then renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())
    _publish(Path(file.name), path)


def _publish(temporary: Path, path: Path) -> None:
    temporary.chmod(0o644)  # temporary files are private to their owner
    temporary.replace(path)
