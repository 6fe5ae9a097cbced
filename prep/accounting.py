"""What became of everything that went in: in = kept + each filter + dead letters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from limbeck.config.errors import LimbeckError

__all__ = ["DEAD", "IN", "KEPT", "NOTE", "Accounting"]

IN = "in"
"""Name of the count of items that went in."""
KEPT = "kept"
"""Name of the count of items that came out."""
DEAD = "dead:"
"""Begins the name of each count of dead letters; every other name is a filter's."""
NOTE = "note:"
"""Begins the name of a count that is no item's fate, such as tokens left out of rows."""


@dataclass(frozen=True, kw_only=True)
class Accounting:
    """Counts of one step's items."""

    num_in: int
    """Items that went in, counted where they were read."""
    kept: int
    """Items that came out."""
    filtered: Mapping[str, int]
    """Filter -> items it took out."""
    dead: Mapping[str, int]
    """Reason -> items that could not be used."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """Facts about what came out, beside the balance."""

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> "Accounting":
        """Makes it of counts by name: `IN`, `KEPT`, `DEAD` or `NOTE` + reason, or a filter."""
        others = {name: counts[name] for name in sorted(counts) if name not in (IN, KEPT)}

        def named(prefix: str) -> dict[str, int]:
            found = {name: n for name, n in others.items() if name.startswith(prefix)}
            return {name.removeprefix(prefix): n for name, n in found.items()}

        return cls(
            num_in=counts.get(IN, 0),
            kept=counts.get(KEPT, 0),
            filtered={name: n for name, n in others.items() if not name.startswith((DEAD, NOTE))},
            dead=named(DEAD),
            notes=named(NOTE),
        )

    @property
    def num_dead(self) -> int:
        """Dead letters for any reason."""
        return sum(self.dead.values())

    def check(self, *, what: str) -> None:
        """Checks that nothing was lost or made up; `what` names the items.

        Raises:
          LimbeckError: the counts do not add up.
        """
        out = self.kept + sum(self.filtered.values()) + self.num_dead
        if self.num_in != out:
            raise LimbeckError(
                f"accounting: {self.num_in} {what} went in and {out} are accounted for "
                f"({self.kept} kept, {dict(self.filtered)} filtered, {dict(self.dead)} dead); "
                "this is a bug, please report it"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns what the manifest says."""
        balance = {
            "in": self.num_in,
            "kept": self.kept,
            "filtered": dict(self.filtered),
            "dead_letters": self.num_dead,
        }
        return balance | ({"notes": dict(self.notes)} if self.notes else {})

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Accounting":
        """Reads what a manifest says; it has no reasons of dead letters."""
        dead = {"all": value["dead_letters"]} if value["dead_letters"] else {}
        return cls(
            num_in=value["in"],
            kept=value["kept"],
            filtered=dict(value["filtered"]),
            dead=dead,
            notes=dict(value.get("notes", {})),
        )

    def table(self, *, what: str) -> str:
        """Returns lines for a terminal: what went in, then where it went."""
        rows = [(f"{what} in", self.num_in), ("= kept", self.kept)]
        rows += [(f"+ filtered: {name}", count) for name, count in self.filtered.items()]
        rows += [(f"+ dead letters: {name}", count) for name, count in self.dead.items()]
        rows += [] if self.dead else [("+ dead letters", 0)]
        rows += [(f"note: {name}", count) for name, count in self.notes.items()]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"  {name:<{width}} {count:>12,}" for name, count in rows)
