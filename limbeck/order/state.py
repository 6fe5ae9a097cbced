"""Where a run stands in its data: a few hundred bytes in the checkpoint, equal on all ranks."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.order.batches import Boundary
from limbeck.order.permutation import ORDER_VERSION

__all__ = ["MAX_STATE_BYTES", "StreamState"]

MAX_STATE_BYTES = 512
ID_DIGITS = 24  # 96 bits of a dataset's id: enough against accidents
MAX_IDS = 8  # more are kept as one hash of them all: a mixture may have dozens


@dataclass(frozen=True, kw_only=True)
class StreamState:
    """The position of a run in its data; anything else about the order follows from it."""

    dataset_ids: tuple[str, ...]
    """Ids of the examples and of every label family, cut to their first 24 hex digits; of more
    than eight the number and one hash."""

    seed: int
    """Seed of the order."""

    boundary: Boundary
    """How epochs end: `run_on` or `close`."""

    epoch: int
    """Epoch of `position`: position div number of rows."""

    position: int
    """Running position of the next row to be fed, over all epochs."""

    global_batch: int
    """B at the last step; another one may be used from here on."""

    order_version: int = ORDER_VERSION
    """Version of the permutation that `position` counts in."""

    mode: str = "full"
    """Kind of order: `full`, `two_level 128x1024`, and a digest of the mixture if there is one."""

    def __post_init__(self) -> None:
        """Shortens the ids; refuses values out of range and a state that would grow too large."""
        object.__setattr__(self, "dataset_ids", _short(self.dataset_ids))
        if self.epoch < 0 or self.position < 0 or self.global_batch < 1:
            raise ValueError(
                f"epoch is {self.epoch}, position {self.position} and global_batch "
                f"{self.global_batch}; they must be >= 0, >= 0 and >= 1"
            )
        size = len(self.to_json())
        if size > MAX_STATE_BYTES:
            raise UsageError(
                f"the stream's state takes {size} bytes; at most {MAX_STATE_BYTES} are allowed"
            )

    def to_json(self) -> str:
        """Returns canonical JSON (sorted keys, no spaces) of at most 512 bytes."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "StreamState":
        """Reads what `to_json` wrote.

        Raises:
          LimbeckError: not JSON, or fields missing, unknown or of another type.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise LimbeckError(f"the stream's state is not JSON: {error}") from error
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if isinstance(values, dict):
            values = {"mode": "full", **values}  # states of the first version have none
        if not isinstance(values, dict) or set(values) != set(fields):
            found = sorted(values) if isinstance(values, dict) else type(values).__name__
            raise LimbeckError(f"the stream's state has {found}; expected {sorted(fields)}")
        ids, boundary = values.pop("dataset_ids"), values.pop("boundary")
        mode = values.pop("mode")
        if not (isinstance(ids, list) and all(isinstance(i, str) for i in ids)):
            raise LimbeckError(f"the stream's state has dataset_ids {ids!r}; expected strings")
        if boundary not in ("run_on", "close"):
            raise LimbeckError(f"the stream's state has boundary {boundary!r}")
        if not isinstance(mode, str):
            raise LimbeckError(f"the stream's state has mode {mode!r}; expected a text")
        wrong = [name for name, value in values.items() if type(value) is not int]
        if wrong:
            raise LimbeckError(f"the stream's state has no whole number in {', '.join(wrong)}")
        return cls(dataset_ids=tuple(ids), boundary=boundary, mode=mode, **values)

    def check_fits(
        self,
        *,
        dataset_ids: Iterable[str],
        seed: int,
        boundary: Boundary,
        num_rows: int,
        order_version: int = ORDER_VERSION,
        mode: str = "full",
    ) -> None:
        """Refuses to go on with other data or another order than the state was made with.

        The global batch may differ: positions count rows. The datasets' order is of no account.

        Raises:
          UsageError: lists every difference.
        """
        theirs, ours = set(self.dataset_ids), set(_short(tuple(dataset_ids)))
        differences = [f"dataset {i} is missing here" for i in sorted(theirs - ours)]
        differences += [f"dataset {i} is new here" for i in sorted(ours - theirs)]
        for name, here in (
            ("seed", seed),
            ("boundary", boundary),
            ("order_version", order_version),
            ("mode", mode),
            ("epoch", self.position // num_rows if num_rows else 0),
        ):
            there = getattr(self, name)
            if there != here:
                differences.append(f"{name} is {there!r} in the checkpoint and {here!r} here")
        if differences:
            raise UsageError(
                "the checkpoint's stream does not fit this run: " + "; ".join(differences)
            )


def _short(ids: tuple[str, ...]) -> tuple[str, ...]:
    """Ids as a state keeps them; what is short already stays."""
    short = tuple(dataset_id[:ID_DIGITS] for dataset_id in ids)
    if len(short) <= MAX_IDS:
        return short
    digest = hashlib.sha256(" ".join(sorted(short)).encode()).hexdigest()
    return (f"{len(short)}x{digest}"[:ID_DIGITS],)
