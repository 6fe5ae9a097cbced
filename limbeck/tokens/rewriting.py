"""What happens to a text before SentencePiece sees it: ALBERT lower-cases and strips accents."""

import functools
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tokenizers import normalizers

__all__ = ["KEEP", "Rewriting"]


@dataclass(frozen=True, kw_only=True)
class Rewriting:
    """Changes of a text, in this order."""

    plain_quotes: bool = False
    """Make `` and '' one double quote."""
    strip_accents: bool = False
    """Decompose (NFKD) and take non-spacing marks off."""
    lower_case: bool = False
    """Lower-case each character."""

    def __call__(self, text: str) -> str:
        """Returns the text as SentencePiece gets it."""
        return text if self == KEEP else str(_normalizer(self).normalize_str(text))

    def aligned(self, text: str) -> tuple[str, Sequence[int]]:
        """Returns the rewritten text and, for each of its borders, the border in `text`."""
        if self == KEEP:
            return text, range(len(text) + 1)
        parts: list[str] = []
        places: list[int] = []
        begin = 0
        for unit in _units(text):
            rewritten = self(unit)
            parts.append(rewritten)
            places += [begin] * len(rewritten)
            begin += len(unit)
        return "".join(parts), [*places, begin]

    def describe(self) -> dict[str, bool]:
        """Returns the settings, for a fingerprint."""
        return asdict(self)


KEEP = Rewriting()
"""No change."""


@functools.cache
def _normalizer(rewriting: Rewriting) -> Any:
    steps: list[Any] = []
    if rewriting.plain_quotes:
        steps += [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if rewriting.strip_accents:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if rewriting.lower_case:
        steps.append(normalizers.Lowercase())
    return normalizers.Sequence(steps)


def _units(text: str) -> list[str]:
    """Cuts a text where rewriting the parts is rewriting the whole.

    Decomposition reorders marks behind their base character only, so a base keeps its marks; a
    pair of quotes stays together.
    """
    units: list[str] = []
    for char in text:
        if units and (_is_mark(char) or (char in "`'" and units[-1] == char)):
            units[-1] += char
        else:
            units.append(char)
    return units


def _is_mark(char: str) -> bool:
    return char > "\u02ff" and unicodedata.combining(unicodedata.normalize("NFKD", char)[0]) > 0
