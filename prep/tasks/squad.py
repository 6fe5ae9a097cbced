"""SQuAD's JSON, versions 1.1 and 2.0: articles, paragraphs, questions, answers.

Offsets count characters of the context. Of several answers the first is taken. A question whose
answer does not stand where the file says is not used.
"""

import json
from collections.abc import Iterator
from typing import Any

from limbeck.config.errors import LimbeckError
from prep.tasks.lines import check_characters, file_blocks
from prep.tasks.rows import Bad, Question, Row, Unusable

__all__ = ["read_squad"]


def read_squad(path: str, *, labelled: bool) -> Iterator[Row]:
    """Yields the questions of a file. See `prep.tasks.reading.read_rows`."""
    for number, (where, context, entry) in enumerate(_entries(path)):
        try:
            yield _question(entry, context, number=number, where=where, labelled=labelled)
        except Unusable as error:
            yield Bad(number=number, where=where, reason=error.args[0], detail=error.args[1])


def _entries(path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yields path, context and question of every question."""
    data = b"".join(file_blocks(path))
    try:
        root = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise LimbeckError(f"{path}: not JSON: {error}") from None
    for a, article in enumerate(_list_of(root, "data", path)):
        for p, paragraph in enumerate(_list_of(article, "paragraphs", f"{path}: data[{a}]")):
            where = f"data[{a}].paragraphs[{p}]"
            for q, entry in enumerate(_list_of(paragraph, "qas", f"{path}: {where}")):
                yield f"{where}.qas[{q}]", paragraph.get("context"), entry


def _list_of(value: Any, name: str, where: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise LimbeckError(f"{where}: no list {name!r} in it; is it SQuAD's format?")
    return found


def _question(entry: Any, context: Any, *, number: int, where: str, labelled: bool) -> Question:
    question = entry.get("question") if isinstance(entry, dict) else None
    for name, text in (("question", question), ("context", context)):
        if not isinstance(text, str) or not text.strip():
            raise Unusable(name, f"no string {name!r}, or an empty one")
        check_characters(text)
    assert isinstance(question, str) and isinstance(context, str)
    if not labelled:
        return Question(number=number, where=where, question=question, context=context)
    start, stop = _answer(entry, context)
    return Question(
        number=number,
        where=where,
        question=question,
        context=context,
        answerable=stop > 0,
        start=start,
        stop=stop,
    )


def _answer(entry: dict[str, Any], context: str) -> tuple[int, int]:
    """Returns the characters [start, stop) of the answer; (0, 0) for a question without one."""
    answers = entry.get("answers")
    impossible = entry.get("is_impossible", False)
    if impossible is True:
        return 0, 0
    if not isinstance(answers, list) or not answers or not isinstance(answers[0], dict):
        raise Unusable("answer", "no answers, and is_impossible is not true")
    text, start = answers[0].get("text"), answers[0].get("answer_start")
    if not isinstance(text, str) or not text or type(start) is not int or start < 0:
        raise Unusable("answer", f"text is {text!r:.80} and answer_start {start!r}")
    found = context[start : start + len(text)]
    if found != text:
        raise Unusable("answer", f"at character {start} stands {found!r:.80}, not {text!r:.80}")
    return start, start + len(text)
