"""Reads requirements/*.lock: which version a package is pinned at, and with which hashes.

Standard library only: `make setup` runs this before anything is installed.
"""

import re
from pathlib import Path


def lock_entry(lock: Path, package: str) -> str:
    """Returns the lines of a lock that pin one package: its version and its hashes.

    Raises:
      ValueError: the lock does not pin it.
    """
    pattern = rf"^{re.escape(package)}==.*\n(?:[ \t].*\n)*"
    match = re.search(pattern, lock.read_text(), re.MULTILINE)
    if not match:
        raise ValueError(f"{lock}: does not pin {package}; run `make locks`")
    return match.group(0)


def pinned_version(lock: Path, package: str) -> str:
    """Returns the version at which a lock pins a package."""
    return lock_entry(lock, package).removeprefix(f"{package}==").split()[0]
