"""Exit codes and messages of commands, in processes of their own."""

import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

PROGRAM = """
import sys
from dataclasses import dataclass
from limbeck.config.command import before_work, dispatch, parse
from limbeck.config.errors import LimbeckError, UsageError

@dataclass(frozen=True, kw_only=True)
class Options:
    out: str
    \"\"\"Where the answer goes.\"\"\"
    k: int = 16
    \"\"\"Kept ids.\"\"\"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k is {self.k}; it must be >= 1")

def run(argv):
    options = parse(Options, argv, prog="tool run", description="Runs.")
    print(options.out, options.k)
    return 3 if options.out == "three" else None

def fail(argv):
    kind = argv[0]
    if kind == "usage":
        raise UsageError("two\\nlines")
    if kind == "data":
        raise LimbeckError("row 3 is bad")
    if kind == "os":
        open("/no/such/file")
    if kind == "before":
        with before_work():
            open("/no/such/file")
    if kind == "interrupt":
        raise KeyboardInterrupt
    if kind == "pipe":
        raise BrokenPipeError
    raise RuntimeError("a bug")

dispatch("tool", {"run": (run, "does it"), "fail": (fail, "does not")}, description="A tool.")
"""


Tool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def tool(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """Runs PROGRAM from a file: help is read from its source."""
    path = tmp_path_factory.mktemp("tool") / "tool.py"
    path.write_text(textwrap.dedent(PROGRAM))

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(path), *argv], capture_output=True, text=True, timeout=60
        )

    return run


@pytest.mark.parametrize(
    ("argv", "code", "error"),
    [
        (["fail", "usage"], 2, "tool fail: error: two lines\n"),
        (["fail", "data"], 1, "tool fail: error: row 3 is bad\n"),
        (["fail", "os"], 1, "tool fail: error: /no/such/file: No such file or directory\n"),
        (["fail", "before"], 2, "tool fail: error: /no/such/file: No such file or directory\n"),
        (["fail", "interrupt"], 130, "tool fail: interrupted\n"),
        (["fail", "pipe"], 1, ""),
        (["rum"], 2, "tool: error: no verb 'rum'; did you mean 'run'?\n"),
        (["walk"], 2, "tool: error: no verb 'walk'; one of run, fail\n"),
    ],
)
def test_failures_end_with_their_code_and_one_line(
    tool: Tool, argv: list[str], code: int, error: str
) -> None:
    done = tool(*argv)
    assert (done.returncode, done.stderr) == (code, error)


def test_bug_keeps_its_traceback(tool: Tool) -> None:
    done = tool("fail", "bug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RuntimeError: a bug" in done.stderr


def test_verb_runs_with_parsed_options_and_its_own_code(tool: Tool) -> None:
    done = tool("run", "--out", "x", "--k", "4")
    assert (done.returncode, done.stdout) == (0, "x 4\n")
    assert tool("run", "--out", "three").returncode == 3


def test_help_lists_verbs_and_options(tool: Tool) -> None:
    done = tool("--help")
    assert done.returncode == 0
    assert "run   does it" in done.stdout
    assert "A tool." in done.stdout
    assert tool().returncode == 2
    options = tool("run", "--help")
    assert options.returncode == 0
    assert "Where the answer goes." in options.stdout
    assert tool("--version").stdout == "tool (limbeck 0.1.0)\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--k", "3"], "--out"),  # required option missing
        (["--out", "x", "--k", "many"], "many"),
        (["--out", "x", "--kk", "3"], "--kk"),
        (["--out", "x", "--k", "0"], "k is 0; it must be >= 1"),
    ],
)
def test_wrong_options_exit_with_2(tool: Tool, argv: list[str], words: str) -> None:
    done = tool("run", *argv)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_output_into_a_closed_pipe_is_quiet() -> None:
    program = "from limbeck.config.command import run_command\n"
    program += "run_command('p', lambda argv: print('x\\n' * 100000))\n"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_full_disk_is_an_error_with_a_name() -> None:
    if not pathlib.Path("/dev/full").exists():
        pytest.skip("the system has no /dev/full")
    program = "from limbeck.config.command import run_command\n"
    program += "run_command('p', lambda argv: print('x'))\n"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode != 0
    assert "p: error: No space left on device" in done.stderr


def test_errors_cost_the_standard_library_alone() -> None:
    program = "import sys; before = set(sys.modules); import limbeck.config.errors\n"
    program += "print(sorted({m.split('.')[0] for m in set(sys.modules) - before}))\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "['limbeck']"
