"""`manifest.json`: what a dataset holds, written last, and the hash that is the dataset's id.

    {"content": {...}, "id": SHA-256 of content, "provenance": {...}, "sha256": of the other three}

The content block has everything that decides or describes the bytes; its hash is the dataset's id,
so equal bytes have equal ids wherever they were made. The provenance block (who, when, where)
stands beside it and is no part of the id. Canonical JSON, one line.
"""

import dataclasses
import functools
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from limbeck import __version__
from limbeck.config.errors import LimbeckError
from limbeck.records.canonical import plain, sha256_of
from limbeck.records.errors import FIX_JSON, FormatError
from limbeck.records.job import FORMAT_VERSION, Job, check_format, seal, unseal
from limbeck.records.layout import Layout
from limbeck.records.shard import ShardSummary, shard_files

__all__ = [
    "MANIFEST",
    "Content",
    "Manifest",
    "Provenance",
    "ShardSummary",
    "parse_manifest",
    "read_manifest",
]

MANIFEST = "manifest.json"
TOTALS = ("records", "bytes", "tokens", "labelled_positions")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Content:
    """Everything that decides or describes a dataset's bytes."""

    format_version: int = FORMAT_VERSION
    """Version of the directory's format."""
    kind: str
    """'documents', 'examples' or 'labels'."""
    name: str
    """Dataset name, the start of its files' names."""
    layout: Layout
    """Feature table."""
    shards: tuple[ShardSummary, ...]
    """One summary a shard, in order."""
    settings: dict[str, Any]
    """Every setting that affects content."""
    parents: dict[str, str]
    """Role -> dataset id of each dataset that this one was made from."""
    tokenizer: dict[str, Any] | None = None
    """Tokenizer kind, fingerprint, vocab_size; None where there is none."""
    teacher: dict[str, Any] | None = None
    """Teacher fingerprint and shape; None where there is none."""
    seed: int | None = None
    """Seed of every random choice; None where there is none."""
    accounting: dict[str, Any] | None = None
    """Items in, kept, and filtered by reason; None where nobody counted."""
    attachments: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """File name -> {bytes, sha256} of what lies beside the shards; in JSON only if there is any."""

    def __post_init__(self) -> None:
        """Checks the job's part, the accounting, and that shards have the names they must have."""
        object.__setattr__(self, "accounting", plain(self.accounting, "accounting"))
        job = self.job
        for index, shard in enumerate(self.shards):
            expected = shard_files(job.name, index, job.num_shards)[0]
            if shard.name != expected:
                raise ValueError(f"shard {index} is named {shard.name!r}; expected {expected!r}")

    @functools.cached_property
    def job(self) -> Job:
        """The part that was known before the first record was."""
        return Job(
            name=self.name,
            kind=self.kind,
            layout=self.layout,
            num_shards=len(self.shards),
            settings=self.settings,
            parents=self.parents,
            tokenizer=self.tokenizer,
            teacher=self.teacher,
            seed=self.seed,
            attachments=self.attachments,
        )

    @property
    def totals(self) -> dict[str, int]:
        """Sums over the shards: records, bytes, tokens, labelled_positions."""
        return {name: sum(getattr(shard, name) for shard in self.shards) for name in TOTALS}

    @functools.cached_property
    def id(self) -> str:
        """The dataset's id: SHA-256 of the canonical JSON of the content block, hex."""
        return sha256_of(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Returns the content block."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["layout"] = self.layout.to_json()
        fields["shards"] = [shard.to_json() for shard in self.shards]
        if not self.attachments:
            del fields["attachments"]
        return {**fields, "totals": self.totals}

    @classmethod
    def from_json(cls, value: Any, where: str) -> "Content":
        """Reads a content block.

        Raises:
          LimbeckError: a field is missing, unknown, impossible, or does not fit the others.
        """
        names = {field.name for field in dataclasses.fields(cls)} | {"totals"}
        if isinstance(value, dict) and not value.get("attachments"):
            names.remove("attachments")
        if not isinstance(value, dict) or value.keys() != names:
            found = sorted(value) if isinstance(value, dict) else value
            raise LimbeckError(f"{where}: expected the fields {sorted(names)}, found {found!r}")
        check_format(value["format_version"], where)
        if not isinstance(value["shards"], list):
            raise LimbeckError(f"{where}: shards is not a list")
        fields = {name: value[name] for name in names - {"totals"}}
        fields["layout"] = Layout.from_json(value["layout"], f"{where}: layout")
        fields["shards"] = tuple(
            ShardSummary.from_json(shard, f"{where}: shards[{i}]")
            for i, shard in enumerate(value["shards"])
        )
        try:
            content = cls(**fields)
        except ValueError as error:
            raise LimbeckError(f"{where}: {error}") from error
        if content.totals != value["totals"]:
            raise LimbeckError(
                f"{where}: totals are {value['totals']!r}; the shards add up to {content.totals!r}"
            )
        return content


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """Who wrote a dataset, when and where; no part of its id."""

    version: str = __version__
    """Version of limbeck."""
    command: tuple[str, ...] = ()
    """Command line."""
    paths: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Role -> path of what was read."""
    workers: int = 1
    """Processes that wrote."""
    host: str = ""
    """Host name."""
    started: str = ""
    """UTC, ISO 8601."""
    seconds: float = 0.0
    """Wall time."""
    device: str = ""
    """What computed: cpu, or a GPU's name."""

    @classmethod
    def since(
        cls,
        started_s: float,
        *,
        command: Sequence[str] = (),
        paths: Mapping[str, str] | None = None,
        workers: int = 1,
        device: str = "cpu",
    ) -> "Provenance":
        """Returns the provenance of work on this host that began at `started_s` (time.time())."""
        return cls(
            command=tuple(command),
            paths=dict(paths or {}),
            workers=workers,
            host=socket.gethostname(),
            started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_s)),
            seconds=round(max(0.0, time.time() - started_s), 3),  # clocks may jump back
            device=device,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the provenance block."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        result: dict[str, Any] = plain({**fields, "paths": dict(self.paths)}, "provenance")
        return result

    @classmethod
    def from_json(cls, value: Any, where: str) -> "Provenance":
        """Reads a provenance block."""
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(value, dict) or value.keys() != names:
            raise LimbeckError(f"{where}: provenance does not have the fields {sorted(names)}")
        if not isinstance(value["command"], list) or not isinstance(value["paths"], dict):
            raise LimbeckError(f"{where}: provenance: command must be a list and paths a dict")
        return cls(**{**value, "command": tuple(value["command"])})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """The two blocks of `manifest.json`."""

    content: Content
    """What decides or describes the bytes."""
    provenance: Provenance
    """Who, when, where."""

    @property
    def id(self) -> str:
        """The dataset's id."""
        return self.content.id

    def to_bytes(self) -> bytes:
        """Returns the content of `manifest.json`."""
        return seal(
            {
                "content": self.content.to_json(),
                "id": self.id,
                "provenance": self.provenance.to_json(),
            }
        )


def read_manifest(directory: str | os.PathLike[str]) -> Manifest:
    """Reads and checks `manifest.json`: its own hash, the id, and every field.

    Raises:
      FileNotFoundError: there is none.
      LimbeckError: naming the file, what is wrong with it, and the way out.
    """
    path = os.path.join(directory, MANIFEST)
    with open(path, "rb") as file:
        return parse_manifest(file.read(), path)


def parse_manifest(data: bytes, where: str) -> Manifest:
    """As `read_manifest`, of the file's bytes; `where` names it in errors.

    Raises:
      LimbeckError: what is wrong with it, and the way out.
    """
    try:
        return _read(data, where)
    except FormatError:
        raise
    except LimbeckError as error:
        raise LimbeckError(f"{error}; {FIX_JSON}") from error


def _read(data: bytes, path: str) -> Manifest:
    value = unseal(data, path)
    if value.keys() != {"content", "id", "provenance"}:
        raise LimbeckError(f"{path}: expected content, id and provenance, found {sorted(value)}")
    if value["id"] != sha256_of(value["content"]):
        raise LimbeckError(
            f"{path}: id is {value['id']!r}; the content block's SHA-256 is "
            f"{sha256_of(value['content'])}"
        )
    return Manifest(
        content=Content.from_json(value["content"], path),
        provenance=Provenance.from_json(value["provenance"], path),
    )
