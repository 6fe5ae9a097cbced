"""The error of one bad record, with its place as attributes for a reader that quarantines rows."""

from limbeck.config.errors import LimbeckError

__all__ = ["FIX", "FIX_JSON", "CorruptRecord", "FormatError"]

# The same way out for every damaged file of a finished dataset.
FIX = (
    "restore the file from a copy, or delete it together with manifest.json and run the command "
    "that wrote the directory again"
)
# job.json and manifest.json are written anew from the shards.
FIX_JSON = (
    "restore the file from a copy, or delete it and run the command that wrote the directory again"
)


class FormatError(LimbeckError):
    """A file of a format version that this program does not read."""


class CorruptRecord(LimbeckError):
    """A record that is not the one that was written."""

    def __init__(
        self, message: str, *, path: str = "", row: int = -1, offset: int = -1, reason: str = ""
    ) -> None:
        """Keeps the place.

        Args:
          message: the whole line, with file, row, offset, reason and fix.
          path: the shard's file.
          row: row of the dataset (not of the shard).
          offset: byte of the file where the record starts.
          reason: what was expected and what was found.
        """
        super().__init__(message)
        self.path = path
        self.row = row
        self.offset = offset
        self.reason = reason
