"""The supervisor: attempts, what their ends mean, pauses, and the record of it all."""

import contextlib
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.processes.asked import Asked
from launch.supervision.attempt import Ended, Output, attempt
from launch.supervision.exit_codes import EXIT_FROZEN, Verdict, judge
from launch.supervision.host_list import HostList
from launch.supervision.restarts import Restarts, saved_steps
from launch.supervision.watch import Watch
from limbeck.runs import RunDirectory

__all__ = ["Policy", "Supervisor"]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What a supervisor watches and how patient it is; times in seconds."""

    run_dir: Path | None
    """Where heartbeats are and the record goes; None for neither."""

    progress_timeout_s: float
    """Longest time without progress."""

    start_timeout_s: float
    """Longest time until the first step."""

    max_restarts: int
    """Restarts at most."""

    max_idle_restarts: int
    """Restarts at most in a row without a newer checkpoint."""

    back_off_s: float
    """First pause."""

    max_back_off_s: float
    """Longest pause."""

    grace_s: float
    """For saving when asked to stop."""

    hostfile: str
    """The hostfile that the command names; empty for none."""


class Supervisor:
    """Supervises one command.

    Args:
      command: the program and its arguments.
      policy: how.
      environment: of the command.

    Raises:
      UsageError: the hostfile is wrong, or the command does not name it.
      OSError: the run's directory cannot be written.
    """

    def __init__(
        self, command: Sequence[str], *, policy: Policy, environment: Mapping[str, str]
    ) -> None:
        self._command = list(command)
        self._policy = policy
        self._environment = environment
        self._hosts: HostList | None = None
        self._record: Path | None = None
        log = None
        if policy.run_dir is not None:
            if policy.hostfile:
                copy = policy.run_dir / "hostfile"
                self._hosts = HostList(policy.hostfile, command, copy=copy)
            policy.run_dir.mkdir(parents=True, exist_ok=True)
            self._record, log = RunDirectory(policy.run_dir).supervision
            self._record.open("ab").close()
        self._output = Output(log)
        self._started = time.monotonic()
        self._restarts = Restarts(
            limit=policy.max_restarts,
            idle_limit=policy.max_idle_restarts,
            back_off_s=policy.back_off_s,
            longest_s=policy.max_back_off_s,
        )

    def run(self) -> int:
        """Supervises until the command is done, cannot go on, or a stop was asked for.

        Returns:
          The exit code for this process.
        """
        with Asked() as asked, contextlib.closing(self._output):
            while True:
                code, why = self._attempt(asked)
                if why is None and self._pause(asked):
                    continue
                code = asked.exit_code if asked.times and code != 0 else code
                self._sum_up(code, why or "asked to stop during the pause")
                return code

    def _attempt(self, asked: Asked) -> tuple[int, str | None]:
        """Starts the command once.

        Returns:
          An exit code, and why there shall be no other attempt; None for another one.
        """
        policy, saved = self._policy, self._saved()
        command = self._command if self._hosts is None else self._hosts.command
        watch = None
        if policy.run_dir is not None:
            watch = Watch(
                policy.run_dir,
                progress_timeout_s=policy.progress_timeout_s,
                start_timeout_s=policy.start_timeout_s,
            )
        number = self._restarts.made + 1
        self._note("start", attempt=number, command=command, saved_step=saved)
        self._tell(f"attempt {number}: {shlex.join(command)}")
        ended = attempt(
            command,
            environment=self._environment,
            output=self._output,
            watch=watch,
            asked=asked,
            grace_s=policy.grace_s,
            tell=self._tell,
        )
        verdict, code = _verdict(ended, asked, watch.ranks if watch else {})
        step = watch.step if watch else None
        progressed = self._progressed(saved, step)
        self._told_end(ended, verdict, code, step)
        if verdict.action != "restart":
            return code, verdict.reason
        self._leave_out(verdict)
        why = self._restarts.ended(progressed=progressed)
        return code, f"gave up: {verdict.reason}; {why}" if why else None

    def _told_end(self, ended: Ended, verdict: Verdict, code: int, step: int | None) -> None:
        """Says and records how an attempt ended."""
        for line in verdict.shown:
            _print(f"  {line}")
        reached = "" if step is None else f"; it had reached step {step}"
        saved = self._saved()
        kept = "" if saved is None else f", and saved step {saved}"
        left = "".join(f"; {p.name} {p.pid} is still there although killed" for p in ended.left)
        self._tell(f"{verdict.reason} (code {code}, {ended.seconds:.1f} s{reached}{kept}){left}")
        self._note(
            "end",
            code=code,
            action=verdict.action,
            reason=verdict.reason,
            rank=verdict.rank,
            host=verdict.host or None,
            step=step,
            saved_step=saved,
            seconds=round(ended.seconds, 3),
            left=[process.pid for process in ended.left],
        )

    def _leave_out(self, verdict: Verdict) -> None:
        """Drops the host that was lost."""
        if verdict.host and self._hosts is not None and "was lost" in verdict.reason:
            line = self._hosts.drop(verdict.host)
            self._tell(line or f"{verdict.host} is not one of several hosts in the hostfile")

    def _pause(self, asked: Asked) -> bool:
        """Waits before a restart; returns whether there shall be one."""
        if asked.times:
            return False
        seconds = self._restarts.pause_s
        self._tell(f"restart {self._restarts.made} of {self._restarts.limit} in {seconds:g} s")
        self._note("pause", seconds=seconds)
        asked.wait(seconds)
        return not asked.times

    def _sum_up(self, code: int, why: str) -> None:
        seconds, saved = time.monotonic() - self._started, self._saved()
        at = "" if saved is None else f", newest checkpoint of step {saved}"
        self._tell(f"{why}; {self._restarts.made} restarts, {seconds:.0f} s{at}; exit code {code}")
        self._note(
            "over",
            code=code,
            reason=why,
            restarts=self._restarts.made,
            saved_step=saved,
            seconds=round(seconds, 3),
        )

    def _saved(self) -> int | None:
        return None if self._policy.run_dir is None else saved_steps(self._policy.run_dir)

    def _progressed(self, before: int | None, step: int | None) -> bool:
        """Whether an attempt brought something that stays."""
        directory = self._policy.run_dir
        if directory is None:
            return True  # nothing is known, so only --max-restarts counts
        if before is None and not (directory / "checkpoints").is_dir():
            return bool(step)  # an extraction's finished shards
        return (self._saved() or 0) > (before or 0)

    def _tell(self, line: str) -> None:
        self._output.note(f"supervise: {line}")
        _print(f"supervise: {line}")

    def _note(self, event: str, **values: Any) -> None:
        """Adds a line to the record; a full disk is no reason to stop."""
        if self._record is not None:
            line = {"event": event, "wall_time": round(time.time(), 3), **values}
            with contextlib.suppress(OSError), self._record.open("a") as file:
                file.write(json.dumps(line) + "\n")


def _print(line: str) -> None:
    """Prints to standard error; goes on where nobody reads that any more."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _verdict(ended: Ended, asked: Asked, ranks: Mapping[int, str]) -> tuple[Verdict, int]:
    """What an end means, and the exit code it counts as."""
    if asked.times and ended.code != 0:
        saved = "saved" if ended.code == 143 else "ended"
        return Verdict(action="stop", reason=f"{saved} as asked by {asked.first.name}"), ended.code
    if ended.standstill is not None:
        found = ended.standstill
        reason, rank, host = found.reason, found.rank, found.host
        return Verdict(action="restart", reason=reason, rank=rank, host=host), EXIT_FROZEN
    return judge(ended.code, ended.findings, ranks=ranks), ended.code
