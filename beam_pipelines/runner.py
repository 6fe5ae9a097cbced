"""Runs a pipeline on this machine: in this process, or on several worker processes.

The runner is named: Beam's `DirectRunner` would first try to fetch another one. Beam's log is
silenced, and an error raised in a worker arrives as one line, as if there were no Beam.
"""

import contextlib
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from beam_pipelines.watch import run_watched
from limbeck.config.errors import LimbeckError, UsageError

__all__ = ["check_workers", "run_pipeline"]

# `module.ErrorName: message`, as the last line of a traceback that came from a worker.
_RAISED = re.compile(r"^(?:[\w.]+\.)?(\w+): (.*)$", re.MULTILINE)
_STEP = re.compile(r" \[while running '[^']*'\]")
_OS_ERROR = re.compile(r"\[Errno \d+\] (?P<reason>.*?): '(?P<path>.*)'")


def run_pipeline(
    build: Callable[[beam.Pipeline], None], *, workers: int = 1, bundle_repeat: int = 0
) -> None:
    """Builds a pipeline and runs it to its end.

    Args:
      build: adds the steps to an empty pipeline.
      workers: 1 runs everything in this process, more in as many worker processes.
      bundle_repeat: runs each bundle this many extra times: a test of idempotence.

    Raises:
      LimbeckError: a step raised one, or the operating system refused something.
      RuntimeError: anything else that went wrong in a worker process, with its traceback.
    """
    check_workers(workers)
    options = PipelineOptions(
        flags=[],
        direct_num_workers=workers,
        direct_runner_bundle_repeat=bundle_repeat,
        default_sdk_harness_log_level="CRITICAL",
    )
    environment = SubprocessSDKEnvironment.from_command_string(_worker_command())
    runner = FnApiRunner(default_environment=environment if workers > 1 else None)
    with _quiet():
        pipeline = beam.Pipeline(runner, options=options)
        build(pipeline)
        try:
            if workers == 1:
                _run(pipeline)
            else:
                run_watched(lambda: _run(pipeline))
        except LimbeckError as error:
            raise type(error)(_STEP.sub("", str(error))) from None
        except RuntimeError as error:
            if (known := _known_error(str(error))) is not None:
                raise known from None
            raise


def _run(pipeline: beam.Pipeline) -> None:
    pipeline.run().wait_until_finish()


def _worker_command() -> str:
    path = os.pathsep.join(entry or "." for entry in sys.path)
    command = shlex.join([sys.executable, "-m", "beam_pipelines.worker", str(os.getpid())])
    # exec: no shell between us and the worker, so that ending one ends the other.
    return f"PYTHONPATH={shlex.quote(path)} exec {command}"


def _known_error(text: str) -> LimbeckError | None:
    """Finds our own error, or the operating system's, in the traceback of a worker."""
    raised = _RAISED.findall(_STEP.sub("", text))
    for name, message in reversed(raised):
        if name in _OUR_ERRORS:
            return LimbeckError(message)
        if name in _OS_ERRORS and (match := _OS_ERROR.search(message)):
            return LimbeckError(f"{match['path']}: {match['reason']}")
    return None


_OUR_ERRORS = frozenset({"LimbeckError", "UsageError", "CorruptRecord"})
_OS_ERRORS = frozenset(
    {"OSError", "FileNotFoundError", "PermissionError", "IsADirectoryError", "NotADirectoryError"}
)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences Beam: what matters it raises."""
    logger = logging.getLogger("apache_beam")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def check_workers(workers: int) -> None:
    """Refuses a number of processes that cannot be, before anything is written."""
    if workers < 1:
        raise UsageError(f"workers is {workers}; it must be at least 1")
