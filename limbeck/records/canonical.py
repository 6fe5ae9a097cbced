"""JSON with one spelling for one value, and a reader that accepts nothing else.

Canonical: keys sorted, no spaces, ASCII only, no NaN, one newline at the end of a file. Equal
values have equal bytes, so a hash over the bytes names the value, and a changed byte is noticed.
"""

import hashlib
import json
from typing import Any, NoReturn

from limbeck.config.errors import LimbeckError

__all__ = ["canonical", "differences", "parse", "parse_canonical", "plain", "sha256_of"]

Json = Any  # what json.loads returns


def canonical(value: Json) -> bytes:
    """Returns the canonical JSON bytes of a value made of dicts, lists, str, numbers, None."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii")


def sha256_of(value: Json) -> str:
    """Returns the SHA-256, in hex, of the canonical bytes of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def plain(value: Any, where: str) -> Json:
    """Returns `value` with tuples as lists, refusing what JSON would change or cannot hold.

    Raises:
      ValueError: naming the place, such as `settings.grid[1]`.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int) and type(value) is int:
        return value
    if isinstance(value, float) and type(value) is float and abs(value) < float("inf"):
        return value
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{where}: key {key!r} is not text")
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    raise ValueError(
        f"{where}: {value!r} ({type(value).__name__}) cannot be stored; use text, finite numbers, "
        "true, false, null, lists and dicts"
    )


def parse(data: bytes, where: str) -> Json:
    """Reads JSON, refusing duplicate keys, NaN and whatever is not JSON.

    Args:
      data: the file's bytes.
      where: the file's name, for the message.
    """
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError and JSONDecodeError
        raise LimbeckError(f"{where}: damaged or not ours: {_reason(error)}") from error


def parse_canonical(data: bytes, where: str) -> Json:
    """Reads canonical JSON with its final newline; every other spelling is refused."""
    value = parse(data, where)
    try:
        expected = canonical(value) + b"\n"
    except ValueError as error:  # 1e999 reads as infinity
        raise LimbeckError(f"{where}: damaged or not ours: {error}") from error
    if expected != data:
        at = next(
            (i for i, (a, b) in enumerate(zip(expected, data, strict=False)) if a != b),
            min(len(expected), len(data)),
        )
        raise LimbeckError(
            f"{where}: byte {at}: expected {expected[at : at + 8]!r}, found {data[at : at + 8]!r}: "
            "not the canonical JSON that we write; the file was edited or damaged"
        )
    return value


def differences(there: Json, here: Json, prefix: str = "") -> list[str]:
    """Lists what differs, as `settings.k is 16 there and 32 here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        found = []
        for key in sorted(there.keys() | here.keys()):
            name = f"{prefix}.{key}" if prefix else key
            if key not in there:
                found.append(f"{name} is missing there and {_short(here[key])} here")
            elif key not in here:
                found.append(f"{name} is {_short(there[key])} there and missing here")
            else:
                found += differences(there[key], here[key], name)
        return found
    if canonical(there) == canonical(here):
        return []
    return [f"{prefix} is {_short(there)} there and {_short(here)} here"]


def _short(value: Json, limit: int = 80) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} is there twice")
    return result


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


def _reason(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
