"""What a forward pass has to give for the signals that are wanted of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from limbeck.labels.signals import Group, Signal, Source
from limbeck.labels.signals.base import SourceKind

__all__ = ["GROUPS", "Asked", "asked_of"]

GROUPS: tuple[Group, ...] = ("masked", "all", "first")
_VOCABULARY = ("logits", "final")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Sources and groups of positions, each once and in a fixed order."""

    body: tuple[tuple[Source, Group], ...]
    """What the forward pass itself gives, and where."""
    vocabulary: tuple[tuple[Source, Group], ...]
    """Of those that the head of the vocabulary gives: it runs at these positions only."""

    def layers(self, kind: SourceKind) -> tuple[int, ...]:
        """Layers of which something of a kind is wanted, ascending."""
        found = {source.layer for source, _ in self.body if source.kind == kind}
        return tuple(sorted(layer for layer in found if layer is not None))

    @property
    def task(self) -> bool:
        """Whether the logits of a task are wanted."""
        return any(source.kind == "task" for source, _ in self.body)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Groups of positions that something is wanted at."""
        found = {group for _, group in (*self.body, *self.vocabulary)}
        return tuple(group for group in GROUPS if group in found)

    def head_groups(self) -> tuple[Group, ...]:
        """Groups of positions that the head runs at."""
        return tuple(g for g in GROUPS if any(group == g for _, group in self.vocabulary))


def asked_of(signals: Iterable[Signal]) -> Asked:
    """What these signals need."""
    found = {(signal.source, signal.positions) for signal in signals}
    ordered = sorted(found, key=lambda item: (item[0].kind, item[0].layer or 0, item[1]))
    return Asked(
        body=tuple(item for item in ordered if item[0].kind not in _VOCABULARY),
        vocabulary=tuple(item for item in ordered if item[0].kind in _VOCABULARY),
    )
