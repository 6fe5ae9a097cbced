"""Command lines: one dataclass per verb, one line per error, and the exit codes.

Exit codes: 0 done; 1 data or state error, or an error of the operating system; 2 wrong usage,
found before work started; 130 interrupted from the keyboard. Any other exception is a bug of ours
and keeps its traceback (Python's exit code 1).
"""

import contextlib
import difflib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from limbeck import __version__
from limbeck.config.errors import LimbeckError, UsageError

__all__ = ["before_work", "dispatch", "error_line", "parse", "run_command"]

Main = Callable[[Sequence[str]], int | None]
T = TypeVar("T")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count


def error_line(error: BaseException) -> str:
    """Returns the error's message on one line; an OSError as `path: reason`."""
    message = str(error)
    if isinstance(error, OSError) and error.strerror:
        paths = [str(p) for p in (error.filename, error.filename2) if p is not None]
        message = ": ".join([" -> ".join(paths), error.strerror] if paths else [error.strerror])
    return " ".join(message.split()) or type(error).__name__


@contextlib.contextmanager
def before_work() -> Iterator[None]:
    """Turns a LimbeckError or OSError raised inside into a UsageError: nothing was started yet."""
    try:
        yield
    except UsageError:
        raise
    except (LimbeckError, OSError) as error:
        raise UsageError(error_line(error)) from error


def run_command(prog: str, main: Main, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs `main` and leaves the process with the exit code of this module's table.

    Args:
      prog: name before the error, such as `train run`.
      main: takes the arguments; returns the exit code, None for 0.
      argv: arguments without the program's name; `sys.argv[1:]` when None.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        code = main(arguments) or 0
        sys.stdout.flush()  # a full disk or closed pipe must be an error here, not noise at exit
    except KeyboardInterrupt:
        _say(f"{prog}: interrupted")
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left (`... | head`): nothing to say and nobody to hear it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_FAILED
    except (LimbeckError, OSError) as error:
        _say(f"{prog}: error: {error_line(error)}")
        code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_FAILED
    sys.exit(code)


def dispatch(
    prog: str,
    verbs: Mapping[str, tuple[Main, str]],
    argv: Sequence[str] | None = None,
    *,
    description: str = "",
) -> NoReturn:
    """Runs the verb that the first argument names, as in `python -m train run ...`.

    Args:
      prog: the package's name, as after `python -m`.
      verbs: verb -> (its main, one line of help).
      argv: arguments without the program's name; `sys.argv[1:]` when None.
      description: a line above the list of verbs.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_verb_list(prog, verbs, description))
        sys.exit(0 if arguments else EXIT_USAGE)
    verb = arguments[0]
    if verb == "--version":
        print(f"{prog} (limbeck {__version__})")
        sys.exit(0)
    if verb not in verbs:
        close = difflib.get_close_matches(verb, verbs, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(verbs)}"
        _say(f"{prog}: error: no verb {verb!r}; {hint}")
        sys.exit(EXIT_USAGE)
    run_command(f"{prog} {verb}", verbs[verb][0], arguments[1:])


def parse(cls: type[T], argv: Sequence[str], *, prog: str, description: str = "") -> T:
    """Builds the dataclass `cls` from a command line, with help from its field docstrings.

    Wrong arguments, and a ValueError of `__post_init__`, print tyro's message and exit 2; `--help`
    prints the options and exits 0.
    """
    # tyro costs 0.3 s to import; `--version` and the list of verbs do without it.
    import tyro

    return tyro.cli(cls, prog=prog, description=description or None, args=list(argv))


def _verb_list(prog: str, verbs: Mapping[str, tuple[Any, str]], description: str) -> str:
    width = max(map(len, verbs), default=0)
    lines = [f"usage: python -m {prog} VERB ...", ""]
    lines += [description, ""] if description else []
    lines += [f"  {verb:<{width}}  {text}" for verb, (_, text) in verbs.items()]
    return "\n".join([*lines, "", f"python -m {prog} VERB --help lists the options of a verb."])


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
