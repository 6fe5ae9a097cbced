"""What the end of a job means, and whether another start helps.

code            meaning                                            what a supervisor does
0               done                                               ends
1               a Python traceback, or a line `...: error: ...`    ends: it would happen again
1               neither: a rank left without a word                starts again
2, 126, 127     wrong usage; no such program                       ends
124             no progress: ended by us, or by `timeout`          starts again
130, 143        interrupted; asked to stop (and saved)             ends
128 + n         a rank died by signal n (137 killed, 139 crashed)  starts again
205             Open MPI has lost a host                           starts again without it
anything else   a rank left with this code                         starts again
"""

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from launch.supervision.findings import Findings

__all__ = ["EXIT_FROZEN", "Action", "Verdict", "judge"]

Action = Literal["done", "stop", "restart"]

EXIT_FAILED = 1
EXIT_USAGE = (2, 126, 127)
EXIT_FROZEN = 124  # as `timeout` has it
EXIT_ASKED = (130, 143)
EXIT_HOST_LOST = 205  # Open MPI 4; seen where its daemon on another host vanished
SIGNALS = range(129, 193)  # 128 + n


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an end means."""

    action: Action
    """done and stop end the supervision, restart does not."""

    reason: str
    """In one line, for people."""

    rank: int | None = None
    """Who began it, where that is known."""

    host: str = ""
    """Where that rank ran, or the host that was lost; empty where that is not known."""

    shown: tuple[str, ...] = ()
    """Lines of the output that say more: the first traceback or error."""


def judge(code: int, findings: Findings, *, ranks: Mapping[int, str] | None = None) -> Verdict:
    """Says what exit code and output mean, of a job that nobody asked to stop.

    Args:
      code: as shells count.
      findings: of its output.
      ranks: those whose heartbeats were seen, with their hosts.
    """
    cause, hosts = findings.cause, ranks or {}
    if code == 0:
        return Verdict(action="done", reason="done")
    if code in EXIT_USAGE:
        reason = "wrong usage" if code == EXIT_USAGE[0] else "the command cannot be run"
        return Verdict(action="stop", reason=reason, shown=_shown(findings))
    if code in EXIT_ASKED and findings.signal is None:
        reason = "asked to stop" if code == EXIT_ASKED[1] else "interrupted"
        return Verdict(action="stop", reason=f"{reason}, not by this supervisor")
    if code == EXIT_HOST_LOST or findings.lost_host:
        name = findings.lost_host
        return Verdict(action="restart", reason=f"host {name or '(unnamed)'} was lost", host=name)
    if code in SIGNALS or findings.signal is not None:
        return _crashed(code, findings, hosts)
    if code == EXIT_FROZEN:
        return Verdict(action="restart", reason="ended by a time limit")
    if code == EXIT_FAILED and cause is not None:
        what = "raised an exception" if cause.is_traceback else "reported an error"
        host = cause.host or _host(cause.rank, hosts)
        return Verdict(
            action="stop",
            reason=f"{_who(cause.rank, host)} {what}, which another start would meet again",
            rank=cause.rank,
            host=host,
            shown=tuple(cause.lines),
        )
    return _left(code, findings, hosts)


def _crashed(code: int, findings: Findings, hosts: Mapping[int, str]) -> Verdict:
    number = code - 128 if findings.signal is None else findings.signal
    try:
        name = f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        name = f"signal {number}"
    host = findings.host or _host(findings.rank, hosts)
    return Verdict(
        action="restart",
        reason=f"{_who(findings.rank, host)} died by {name}",
        rank=findings.rank,
        host=host,
    )


def _left(code: int, findings: Findings, hosts: Mapping[int, str]) -> Verdict:
    """A rank left. The launcher names who ended first, which may be one that was waiting for it."""
    waiting = {trouble.rank for trouble in findings.troubles if trouble.is_echo}
    rank, host = findings.rank, findings.host
    if rank in waiting:
        others = [other for other in hosts if other not in waiting]
        rank, host = (others[0], "") if len(others) == 1 else (None, "")
    host = host or _host(rank, hosts)
    how = "before the others" if waiting or findings.is_improper else f"with code {code}"
    return Verdict(
        action="restart",
        reason=f"{_who(rank, host)} left {how}, without an error message",
        rank=rank,
        host=host,
    )


def _host(rank: int | None, hosts: Mapping[int, str]) -> str:
    return "" if rank is None else hosts.get(rank, "")


def _who(rank: int | None, host: str) -> str:
    who = "a process" if rank is None else f"rank {rank}"
    return f"{who} on {host}" if host else who


def _shown(findings: Findings) -> tuple[str, ...]:
    return tuple(findings.troubles[0].lines) if findings.troubles else ()
