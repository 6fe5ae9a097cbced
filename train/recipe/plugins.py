"""Modules of one's own that a recipe names: they register terms, formulas and projections.

Nothing is imported that a recipe, or the run that was made with it, does not name. What it names is
run with all rights of the process, as any Python program: read a recipe's plugins before you use
it, or a run's (its `config.json`) before you resume, evaluate or export it.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from limbeck.config.errors import UsageError
from limbeck.config.located import Node

__all__ = ["fingerprints", "load_plugin", "load_plugins_of"]


def load_plugins_of(node: Node) -> None:
    """Imports what `plugins` of a recipe's tree names, in order.

    Raises:
      UsageError: one that is not there or fails; with its place.
    """
    entries = node.value if isinstance(node.value, dict) else {}
    listed = entries["plugins"].node.value if "plugins" in entries else None
    for index, item in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(item.value, str):  # what is no text is refused with the rest of the recipe
            try:
                load_plugin(item.value)
            except UsageError as error:
                raise UsageError(f"{item.where}: plugins[{index}]: {error}") from error


def load_plugin(name: str) -> ModuleType:
    """Imports a module by name, or a file by its path, from the working directory on.

    Raises:
      UsageError: it is not there, or raises an error while it is imported.
    """
    try:
        return _load_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UsageError(
                f"no module {name!r}; install it, start in its directory, or give the path of a "
                "file that ends in .py"
            ) from error
        raise UsageError(f"{name} imports {error.name!r}, which is not there") from error
    except UsageError:
        raise
    except (Exception, SystemExit) as error:  # whatever code of others raises is its mistake
        raise UsageError(f"{name} fails: {type(error).__name__}: {error}") from error


def fingerprints(names: Sequence[str]) -> dict[str, str]:
    """SHA-256 of each plugin's file, in hex: what the last bits of a run depend on too."""
    files = {name: load_plugin(name).__file__ for name in names}
    return {
        name: hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
        for name, file in files.items()
    }


def _load_file(path: Path) -> ModuleType:
    """Imports a file once in a process, whatever it is called."""
    whole = path.absolute()
    name = f"plugin_{hashlib.sha256(str(whole).encode()).hexdigest()[:16]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, whole)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UsageError(f"{path}: no such file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
