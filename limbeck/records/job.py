"""What a directory is being filled with: every setting that decides its bytes, in `job.json`.

Two runs with the same job write the same bytes, so the second may go on where the first stopped.
Anything else found in the directory is refused, with a list of what differs.
"""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.records.canonical import canonical, differences, parse_canonical, plain, sha256_of
from limbeck.records.errors import FormatError
from limbeck.records.files import is_temporary
from limbeck.records.layout import DIGEST, Layout
from limbeck.records.shard import DATASET_NAME, MAX_SHARDS, SHARD_FILE, ShardSummary

__all__ = [
    "FORMAT_VERSION",
    "KINDS",
    "Job",
    "check_format",
    "describe_attachments",
    "seal",
    "unseal",
]

FORMAT_VERSION = 1
KINDS = ("documents", "examples", "labels")
ATTACHMENT_NAME = re.compile(r"[a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)+")
RESERVED = ("manifest.json", "job.json")


def describe_attachments(contents: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Returns name -> {bytes, sha256} of files that lie beside a dataset's shards."""
    return {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(contents.items())
    }


def seal(value: dict[str, Any]) -> bytes:
    """Returns the bytes of a JSON file that carries the SHA-256 of its other fields."""
    return canonical({**value, "sha256": sha256_of(value)}) + b"\n"


def unseal(data: bytes, where: str) -> dict[str, Any]:
    """Reads what `seal` wrote, without the hash.

    Raises:
      LimbeckError: not canonical JSON, of another format version, or not what its hash says.
    """
    value = parse_canonical(data, where)
    if not isinstance(value, dict):
        raise LimbeckError(f"{where}: expected a JSON object, found {type(value).__name__}")
    version = value.get("content", value)
    check_format(version.get("format_version") if isinstance(version, dict) else None, where)
    stored = value.pop("sha256", None)
    if stored != sha256_of(value):
        raise LimbeckError(
            f"{where}: its content has SHA-256 {sha256_of(value)} and it says {stored}; "
            "it was edited or damaged"
        )
    return value


def check_format(version: Any, where: str) -> None:
    """Refuses a format version that this program does not read."""
    if version != FORMAT_VERSION or type(version) is not int:
        way_out = (
            "use the newer limbeck that wrote it"
            if type(version) is int and version > FORMAT_VERSION
            else "it was not written by limbeck, or damaged"
        )
        raise FormatError(
            f"{where}: format_version is {version!r} and this program reads {FORMAT_VERSION}: "
            f"{way_out}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """Every setting that decides a dataset's bytes."""

    name: str
    """Dataset name, the start of its files' names."""
    kind: str
    """One of `KINDS`."""
    layout: Layout
    """Feature table."""
    num_shards: int
    """Number of shards."""
    settings: dict[str, Any]
    """Every setting that affects content."""
    parents: dict[str, str]
    """Role -> dataset id of each dataset that this one was made from."""
    tokenizer: dict[str, Any] | None
    """Tokenizer kind, fingerprint, vocab_size; None where there is none."""
    teacher: dict[str, Any] | None
    """Teacher fingerprint and shape; None where there is none."""
    seed: int | None
    """Seed of every random choice; None where there is none."""
    attachments: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """File name -> {bytes, sha256} of what lies beside the shards, such as a decoder matrix."""

    def __post_init__(self) -> None:
        """Refuses names that are no file names, unknown kinds, and what JSON cannot hold."""
        if not isinstance(self.name, str) or not DATASET_NAME.fullmatch(self.name):
            raise ValueError(
                f"dataset name {self.name!r}: use letters, digits and _, with single . or - between"
            )
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; it must be one of {KINDS}")
        if type(self.num_shards) is not int or not 1 <= self.num_shards <= MAX_SHARDS:
            raise UsageError(f"num_shards is {self.num_shards!r}; it must be in [1, {MAX_SHARDS}]")
        if self.kind == "labels" and DIGEST not in self.layout.fields:
            raise ValueError(f"a labels layout needs the field {DIGEST}")
        if self.seed is not None and type(self.seed) is not int:
            raise ValueError(f"seed is {self.seed!r}; it must be an integer or None")
        for name in ("settings", "parents", "tokenizer", "teacher", "attachments"):
            value = getattr(self, name)
            may_be_none = name in ("tokenizer", "teacher")
            if not isinstance(value, dict) and not (may_be_none and value is None):
                raise ValueError(f"{name} is {value!r}; it must be a dict")
            object.__setattr__(self, name, plain(value, name))
        for role, dataset_id in self.parents.items():
            if not isinstance(dataset_id, str):
                raise ValueError(f"parents.{role} is {dataset_id!r}; it must be a dataset id")
        for name, described in self.attachments.items():
            _check_attachment(name, described)

    def to_json(self) -> dict[str, Any]:
        """Returns the job as a JSON object; attachments only where there are any."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if not self.attachments:
            del fields["attachments"]
        return {**fields, "format_version": FORMAT_VERSION, "layout": self.layout.to_json()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the job's canonical JSON, hex."""
        return sha256_of(self.to_json())

    def to_bytes(self) -> bytes:
        """Returns the content of `job.json`."""
        return seal(self.to_json())

    def differences(self, there: dict[str, Any]) -> list[str]:
        """Lists how the job `there` (as JSON) differs, as `settings.k is 16 there and 32 here`."""
        return differences(_by_name(there), _by_name(self.to_json()))

    def shard_bytes(self, summary: ShardSummary) -> bytes:
        """Returns the content of a shard's JSON file."""
        return seal(
            {
                "format_version": FORMAT_VERSION,
                "job": self.fingerprint,
                "shard": summary.to_json(),
            }
        )

    def read_shard(self, data: bytes, where: str) -> ShardSummary:
        """Reads a shard's JSON file, refusing another job's.

        Raises:
          LimbeckError: damaged, or of another job.
        """
        value = unseal(data, where)
        if value.keys() != {"format_version", "job", "shard"}:
            raise LimbeckError(f"{where}: not the summary of a shard")
        if value["job"] != self.fingerprint:
            raise LimbeckError(f"{where}: written by another job (other settings, same names)")
        return ShardSummary.from_json(value["shard"], where)


def _check_attachment(name: str, described: Any) -> None:
    taken = name in RESERVED or SHARD_FILE.fullmatch(name) or is_temporary(name)
    if not ATTACHMENT_NAME.fullmatch(name) or taken:
        raise ValueError(
            f"attachment {name!r}: use a-z, 0-9, _ and -, with a suffix, as in tensors.safetensors"
        )
    good = (
        isinstance(described, dict)
        and described.keys() == {"bytes", "sha256"}
        and type(described["bytes"]) is int
        and isinstance(described["sha256"], str)
    )
    if not good:
        raise ValueError(f"attachment {name!r}: expected bytes and sha256, got {described!r}")


def _by_name(job: dict[str, Any]) -> dict[str, Any]:
    """Returns the job with its layout as a dict, so that differences name the field."""
    layout = job.get("layout")
    if not isinstance(layout, list):
        return job
    fields = {f"{i} {f.get('name')}": f for i, f in enumerate(layout) if isinstance(f, dict)}
    return {**job, "layout": fields}
