"""First pass: takes out what is no prose at all, by one scan with a stack.

Comments, raw tags (references, mathematics, source code), templates and tables go; the templates
that only format a piece of the sentence are replaced by that piece. What follows has less text to
look at and no braces. Each token is looked at once and every position is passed once, so the time
is linear whatever the nesting; what is never closed costs its line, not the page.
"""

import re
from dataclasses import dataclass

from prep.wikitext.marks import HOLE, protect
from prep.wikitext.templates import Rule, Rules

__all__ = ["drop_islands"]

# Extension tags whose content is not wikitext or no prose; it ends at the first closing tag.
_RAW_TAGS = (
    "ref references math chem ce gallery timeline score syntaxhighlight source pre hiero imagemap "
    "graph mapframe maplink templatedata templatestyles includeonly style script categorytree "
    "inputbox indicator charinsert nowiki"
).split()
# These stand inside a sentence, so what is around their place may need tidying.
_LEAVE_HOLES = frozenset({"ref", "math", "chem", "ce", "score", "hiero"})
# An opening tag whose end is missing: the rest of its line is no prose.
_SPOIL_LINES = frozenset({"ref", "math", "chem", "ce"})

_TOKEN = re.compile(
    r"\{\{+|\}\}+|\{\||\|\}+|<!--"
    rf"|<(?P<raw>(?i:{'|'.join(_RAW_TAGS)}))(?=[\s/>])[^<>]*>"
    r"|</?(?i:table)(?=[\s>])[^<>]*>"
)
_END_OF_RAW = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in _RAW_TAGS}
_NAME = re.compile(r"[^{}|<>\[\]]{0,100}")
_LOOK_BACK = 40  # white space and list marks that may stand before a table

_TEMPLATE, _TABLE, _HTML_TABLE = "{{", "{|", "<t"
# Templates inside templates whose content is kept; beyond it they are dropped like others, so
# that text is copied a bounded number of times.
_MAX_KEPT_DEPTH = 8


@dataclass(slots=True)
class _Open:
    """A construct that waits for its end."""

    kind: str
    start: int
    """Number of pieces of output before it."""
    braces: int = 0
    """Opening braces of a template that are not closed yet."""
    rule: Rule | None = None
    """What to show of a template; None: nothing."""


def drop_islands(wikitext: str, *, rules: Rules) -> str:
    """Returns wikitext without islands, `HOLE` where one was that showed something."""
    return _Scan(wikitext, rules).run()


class _Scan:
    def __init__(self, wikitext: str, rules: Rules) -> None:
        self._text = wikitext
        self._rules = rules
        self._pieces: list[str] = []
        self._stack: list[_Open] = []
        self._num_open = {_TEMPLATE: 0, _TABLE: 0, _HTML_TABLE: 0}
        self._num_kept = 0  # templates with a rule on the stack
        self._never_closed: set[str] = set()  # raw tags without an end from here on

    def run(self) -> str:
        text, pieces, done = self._text, self._pieces, 0
        find = _TOKEN.search
        while (token := find(text, done)) is not None:
            start, done = token.span()
            pieces.append(text[token.pos : start])
            first, second = text[start], text[start + 1]
            if first == "}":
                self._close_braces(done - start)
            elif first == "{":
                self._open_braces(start, done)
            elif first == "|":
                self._close_table(start, done)
            elif second == "!":
                done = self._skip_comment(start, done)
            elif raw := token["raw"]:
                done = self._skip_raw(raw.lower(), done)
            elif second == "/":
                self._close_kind(_HTML_TABLE)
            else:
                self._push(_Open(_HTML_TABLE, len(pieces)))
        pieces.append(text[done:])
        self._mend()
        return "".join(pieces)

    def _push(self, opened: _Open) -> None:
        self._stack.append(opened)
        self._num_open[opened.kind] += 1
        self._num_kept += opened.rule is not None

    def _pop(self) -> _Open:
        opened = self._stack.pop()
        self._num_open[opened.kind] -= 1
        self._num_kept -= opened.rule is not None
        return opened

    def _open_braces(self, start: int, end: int) -> None:
        if self._text[end - 1] == "{":
            rule = None
            if end - start == 2 and self._num_kept < _MAX_KEPT_DEPTH:
                name = _NAME.match(self._text, end)
                rule = self._rules.of(name.group()) if name else None
            self._push(_Open(_TEMPLATE, len(self._pieces), end - start, rule))
        elif self._at_line_start(start):
            self._push(_Open(_TABLE, len(self._pieces)))
        else:
            self._pieces.append("{|")

    def _close_braces(self, number: int) -> None:
        """Closes templates with a run of braces; too many are nothing."""
        while number >= 2 and self._num_open[_TEMPLATE]:
            while self._stack[-1].kind != _TEMPLATE:  # a table inside that never ended
                self._pop()
            opened = self._stack[-1]
            used = min(number, opened.braces)
            number -= used
            opened.braces -= used
            shown = opened.rule("".join(self._pieces[opened.start :])) if opened.rule else ""
            del self._pieces[opened.start :]
            if opened.braces < 2:
                self._pop()
            self._pieces.append(shown or HOLE)

    def _close_table(self, start: int, end: int) -> None:
        """`|}`: the end of a table, or a template's last bar before its end."""
        number = end - start - 1
        kind = self._stack[-1].kind if self._stack else ""
        if kind == _TEMPLATE and number >= 2:
            self._pieces.append("|")
            self._close_braces(number)
        elif self._num_open[_TABLE] and self._at_line_start(start):
            self._close_kind(_TABLE)
            self._close_braces(number - 1)
        elif kind or not self._at_line_start(start):
            self._pieces.append("|" if number >= 2 else "|}")

    def _close_kind(self, kind: str) -> None:
        if not self._num_open[kind]:
            return
        while (opened := self._pop()).kind != kind:
            pass  # what is inside and never ended goes with it
        del self._pieces[opened.start :]
        self._pieces.append("\n\n")

    def _at_line_start(self, start: int) -> bool:
        before = self._text[max(0, start - _LOOK_BACK) : start]
        line = before.rpartition("\n")[2]
        return not line.strip(" \t:*#") and (len(line) < len(before) or start <= _LOOK_BACK)

    def _skip_comment(self, start: int, end: int) -> int:
        text = self._text
        found = text.find("-->", end)
        if found < 0:  # as MediaWiki has it: hidden to the end of the page
            return len(text)
        end = found + 3
        # A comment alone on its line goes with its line: no blank line is left.
        if text[end : end + 1] == "\n" and (start == 0 or text[start - 1] == "\n"):
            end += 1
        return end

    def _skip_raw(self, name: str, end: int) -> int:
        text = self._text
        if text[end - 2] == "/":
            self._pieces.append(HOLE if name in _LEAVE_HOLES else "")
            return end
        found = None if name in self._never_closed else _END_OF_RAW[name].search(text, end)
        if found is None:
            self._never_closed.add(name)
            line_end = text.find("\n", end) if name in _SPOIL_LINES else end
            return line_end if line_end >= 0 else len(text)
        if name == "nowiki":
            self._pieces.append(protect(text[end : found.start()]))
        elif name in _LEAVE_HOLES:
            self._pieces.append(HOLE)
        return found.end()

    def _mend(self) -> None:
        """Drops the first line of what was never closed; the rest is text again."""
        for opened in self._stack:
            if opened.start < len(self._pieces):
                _, newline, rest = self._pieces[opened.start].partition("\n")
                self._pieces[opened.start] = newline + rest
