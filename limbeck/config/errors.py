"""The two errors that end a command with one clear line instead of a traceback.

This module imports the standard library only, since every other one imports it.
"""

__all__ = ["LimbeckError", "UsageError"]


class LimbeckError(ValueError):
    """Data or state that cannot be used; names the file, the record and the way out (exit 1)."""


class UsageError(LimbeckError):
    """Found before work started: a bad option, path, recipe or mismatch of inputs (exit 2)."""
