"""What the output of a job says about why it ended."""

import re
from dataclasses import dataclass, field

from launch.supervision.output import Line

__all__ = ["Findings", "Trouble"]

MAX_LINES = 60  # of a traceback

# Open MPI 5 puts a space behind its marks.
_TRACEBACK = re.compile(r" ?Traceback \(most recent call last\):")
# `train run: error: ...`: how every command of ours reports what it cannot go on with.
_ERROR = re.compile(r" ?(?:[\w.-]+ ){0,3}[\w.-]+: error: ")
_OF_RANK = re.compile(r"error: rank (\d+)(?: on ([^\s:]+))?: ")
# Texts of Open MPI (its help-orterun.txt and help-errmgr-base.txt).
_ENDED = re.compile(r"process rank (\d+) with PID \d+ on\b")
_NODE = re.compile(r"\bnode (\S+) exited on signal (\d+)")
_IMPROPER = re.compile(r"node (\S+) exiting improperly")
_FIRST = re.compile(r"Process name: \[(?:\[\d+,\d+\]|\S+@\d+),(\d+)\]")
_LOST = re.compile(r"Remote daemon: \[\[\d+,\d+\],\d+\] on node (\S+)")
# A rank that is left by another one in a collective fails too; that is no trouble of its own.
_ECHO = re.compile(r"Horovod has been shut down|HorovodInternalError|hvd\.shutdown")


@dataclass
class Trouble:
    """A traceback or an error line of one rank."""

    rank: int | None
    """Whose; None where it is not known."""

    lines: list[str] = field(default_factory=list)
    """As printed."""

    host: str = ""
    """Of the rank, where the line says so."""

    @property
    def is_echo(self) -> bool:
        """Whether it only says that another rank has gone."""
        return any(_ECHO.search(line) for line in self.lines)

    @property
    def is_traceback(self) -> bool:
        """Whether it is one of Python's, hence a bug."""
        return _TRACEBACK.match(self.lines[0]) is not None


class Findings:
    """Takes the lines of a job one by one; remembers the first of each thing."""

    def __init__(self) -> None:
        self.troubles: list[Trouble] = []
        """Tracebacks and error lines in the order of their beginnings."""
        self.rank: int | None = None
        """The rank that ended first, as the launcher says."""
        self.host = ""
        """Where that was."""
        self.signal: int | None = None
        """What ended it, if a signal did."""
        self.is_improper = False
        """Whether a rank left without a word to MPI."""
        self.lost_host = ""
        """A host that does not answer any more."""
        self._before = ""
        self._open: dict[int | None, Trouble] = {}

    def take(self, line: Line) -> None:
        """Looks at a line."""
        text = line.text
        if _TRACEBACK.match(text) and line.rank not in self._open:
            self._begin(Trouble(line.rank, [text]))
        elif line.rank in self._open and len(self._open[line.rank].lines) < MAX_LINES:
            self._open[line.rank].lines.append(text)
        elif _ERROR.match(text):
            self._error(line)
        if line.rank is None:
            self._launcher(text)

    @property
    def cause(self) -> Trouble | None:
        """The first trouble that is not another's echo."""
        return next((trouble for trouble in self.troubles if not trouble.is_echo), None)

    def _begin(self, trouble: Trouble) -> None:
        self.troubles.append(trouble)
        self._open[trouble.rank] = trouble

    def _error(self, line: Line) -> None:
        match = _OF_RANK.search(line.text)
        rank = int(match[1]) if match else line.rank
        host = (match[2] or "") if match else ""
        self.troubles.append(Trouble(rank, [line.text], host))

    def _launcher(self, line: str) -> None:
        text, self._before = f"{self._before} {line}", line  # it wraps its sentences
        if match := _ENDED.search(text) or _FIRST.search(text):
            self._first(match[1])
        if (match := _NODE.search(text)) and self.signal is None:
            self.host, self.signal = match[1], int(match[2])
        if match := _IMPROPER.search(text):
            self.host, self.is_improper = self.host or match[1], True
        if (match := _LOST.search(text)) and not self.lost_host:
            self.lost_host = match[1]

    def _first(self, rank: str) -> None:
        if self.rank is None:
            self.rank = int(rank)
