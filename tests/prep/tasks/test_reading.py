"""What rows say, and what is said of rows that cannot be used."""

import bz2
import json

import pytest

from limbeck.config.errors import LimbeckError, UsageError
from prep.tasks.reading import read_rows
from prep.tasks.rows import Bad
from prep.tasks.settings import TaskSettings


def rows_of(path, *, labelled=True, **options):
    return list(read_rows(path, TaskSettings(**options), labelled=labelled))


def problems(rows):
    return [(row.number, row.where, row.reason, row.detail) for row in rows if isinstance(row, Bad)]


def test_tsv_with_a_header_finds_its_columns(write):
    path = write("a.tsv", "id\tlabel\ttext\r\n7\tyes\tA film.\r\n8\tno\tA dog.\r\n")
    first, second = rows_of(path, task="classification")
    assert (first.number, first.where, first.first, first.labels) == (
        0,
        "line 2",
        "A film.",
        ("yes",),
    )
    assert (second.number, second.first, second.labels) == (1, "A dog.", ("no",))


def test_tsv_without_a_header_counts_columns_from_1(write):
    path = write("a.tsv", "A film.\tA play.\t3.5\nA dog.\tA cat.\t-1e3\n")
    options = {"header": False, "text": "1", "text_pair": "2", "label": "3"}
    rows = rows_of(path, task="regression", **options)
    assert [(r.first, r.second, r.target) for r in rows] == [
        ("A film.", "A play.", 3.5),
        ("A dog.", "A cat.", -1000.0),
    ]


def test_packed_files_and_a_byte_order_mark_are_read(write):
    data = "\ufefftext\tlabel\nA film.\tyes\n".encode()
    for name, content in (("a.tsv", data), ("a.tsv.bz2", bz2.compress(data))):
        [row] = rows_of(write(name, content), task="classification")
        assert row.first == "A film."


def test_csv_reads_quotes_and_lines_inside_them(write):
    path = write("a.csv", 'text,label\n"One, ""two""\nthree",x\nfour,y\n')
    first, second = rows_of(path, task="classification", format="csv")
    assert first.first == 'One, "two"\nthree' and first.where == "line 2"
    assert second.where == "line 4"


def test_jsonl_takes_strings_numbers_and_lists(write):
    lines = [{"text": "a", "label": 1}, {"text": "b", "label": "x"}]
    path = write("a.jsonl", "\n".join(map(json.dumps, lines)))
    assert [r.labels for r in rows_of(path, task="classification", format="jsonl")] == [
        ("1",),
        ("x",),
    ]
    path = write("b.jsonl", json.dumps({"text": "a", "label": ["x", "y"]}) + "\n")
    [row] = rows_of(path, task="multi-label", format="jsonl")
    assert row.labels == ("x", "y")
    path = write("c.jsonl", json.dumps({"text": ["a", "b"], "label": ["X", "Y"]}) + "\n")
    [row] = rows_of(path, task="tagging", format="jsonl")
    assert row.words == ("a", "b") and row.tags == ("X", "Y")


def test_multi_label_cells_are_parted_and_may_be_empty(write):
    path = write("a.tsv", "text\tlabel\nA\tx, y\nB\t\nC\ty\n")
    rows = rows_of(path, task="multi-label")
    assert [row.labels for row in rows] == [("x", "y"), (), ("y",)]
    rows = rows_of(path, task="multi-label", label_separator=";")
    assert rows[0].labels == ("x, y",)


def test_unlabelled_files_need_no_label_column(write):
    path = write("a.tsv", "text\nA film.\n")
    [row] = rows_of(path, task="classification", labelled=False)
    assert row.first == "A film." and row.labels is None
    [row] = rows_of(write("a.conll", "A\nfilm\n"), task="tagging", format="conll", labelled=False)
    assert row.words == ("A", "film") and row.tags is None


def test_conll_takes_first_and_last_column_and_leaves_out_document_lines(write):
    text = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\n# SYM O O\n"
    first, second = rows_of(write("a.conll", text), task="tagging", format="conll")
    assert (first.number, first.where, first.words) == (0, "line 3", ("EU", "rejects"))
    assert first.tags == ("B-ORG", "O")
    assert second.words == ("#",)
    first, _ = rows_of(write("a.conll", text), task="tagging", format="conll", label="2")
    assert first.tags == ("NNP", "VBZ")


def squad(*questions, context="Paris is in France."):
    entry = {"context": context, "qas": list(questions)}
    return json.dumps({"version": "2.0", "data": [{"title": "t", "paragraphs": [entry]}]})


def test_squad_gives_questions_with_the_characters_of_their_answers(write):
    answer = {"text": "Paris", "answer_start": 0}
    text = squad(
        {"id": "1", "question": "What?", "answers": [answer, {"text": "x", "answer_start": 99}]},
        {"id": "2", "question": "Who?", "answers": [], "is_impossible": True},
    )
    first, second = rows_of(write("a.json", text), task="qa", format="squad")
    assert (first.start, first.stop, first.answerable) == (0, 5, True)
    assert second.answerable is False and second.where == "data[0].paragraphs[0].qas[1]"
    first, _ = rows_of(write("a.json", text), task="qa", format="squad", labelled=False)
    assert first.answerable is None


@pytest.mark.parametrize(
    ("options", "content", "expected"),
    [
        # A table's row of too few or too many columns.
        (
            {"task": "classification"},
            b"text\tlabel\nA\tx\nB\nC\ty\tz\n",
            [
                (1, "line 3", "columns", "1 columns; expected 2"),
                (2, "line 4", "columns", "3 columns; expected 2"),
            ],
        ),
        # Words and tags of different counts.
        (
            {"task": "tagging"},
            b"text\tlabel\nA film\tX Y\nA dog\tX\n",
            [(1, "line 3", "tags", "2 words and 1 tags; they must be as many")],
        ),
        (
            {"task": "tagging", "format": "conll"},
            b"A X\nfilm Y\n\nA X\ndog\n\nA X\n",
            [(1, "line 4", "columns", "line 5 has 1 columns; expected 2")],
        ),
        (
            {"task": "tagging", "format": "conll"},
            b"A\nfilm\n",
            [(0, "line 1", "columns", "line 1 has 1 columns; expected 2")],
        ),
        (
            {"task": "classification"},
            b"text\tlabel\n\xff\xfe\tx\nB\ty\n",
            [(0, "line 2", "bad_characters", "not UTF-8 at byte 0")],
        ),
        (
            {"task": "classification", "format": "csv"},
            b"text,label\n\xff,x\nB,y\n",
            [(0, "line 2", "bad_characters", "holds characters that are not UTF-8")],
        ),
        (
            {"task": "tagging", "format": "conll"},
            b"A X\n\xff Y\n",
            [(0, "line 1", "bad_characters", "line 2: not UTF-8 at byte 0")],
        ),
        (
            {"task": "classification"},
            b"text\tlabel\nA\t \n",
            [(0, "line 2", "label", "label is empty")],
        ),
        (
            {"task": "regression"},
            b"text\tlabel\nA\tnan\nB\t1e99\nC\tx\nD\t0\n",
            [
                (0, "line 2", "number", "label is 'nan'; expected a finite number"),
                (1, "line 3", "number", "label is '1e99'; expected a finite number"),
                (2, "line 4", "number", "label is 'x'; expected a finite number"),
            ],
        ),
        (
            {"task": "classification", "format": "jsonl"},
            b'{"text": "a", "label": null}\n{"text": 3, "label": "x"}\n{"label": "x"}\n[1]\n{\n',
            [
                (0, "line 1", "label", "label is None; expected the name of a label"),
                (1, "line 2", "text", "text is 3; expected a string"),
                (2, "line 3", "columns", "no member 'text'; there are label"),
                (3, "line 4", "bad_json", "a list; expected an object"),
                (4, "line 5", "bad_json", "Expecting property name"),
            ],
        ),
        (
            {"task": "classification", "format": "jsonl"},
            b'{"text": "\\ud800", "label": "x"}\n',
            [(0, "line 1", "bad_characters", "holds characters that are not UTF-8")],
        ),
        (
            {"task": "multi-label", "format": "jsonl"},
            b'{"text": "a", "label": [1]}\n',
            [(0, "line 1", "list", "label is [1]; expected a list of strings")],
        ),
    ],
)
def test_rows_that_cannot_be_used_name_line_and_reason(write, options, content, expected):
    rows = rows_of(write("file", content), **options)
    found = problems(rows)
    assert [f[:3] for f in found] == [e[:3] for e in expected]
    assert all(f[3].startswith(e[3]) for f, e in zip(found, expected, strict=True))
    assert [row.number for row in rows] == list(range(len(rows)))


@pytest.mark.parametrize(
    ("question", "reason", "detail"),
    [
        ({"question": "Q?"}, "answer", "no answers, and is_impossible is not true"),
        ({"question": "Q?", "answers": []}, "answer", "no answers"),
        ({"answers": []}, "question", "no string 'question'"),
        ({"question": " "}, "question", "no string 'question', or an empty one"),
        ("Q?", "question", "no string 'question'"),
        (
            {"question": "Q?", "answers": [{"text": "Rome", "answer_start": 0}]},
            "answer",
            "at character 0 stands 'Pari', not 'Rome'",
        ),
        (
            {"question": "Q?", "answers": [{"text": "Paris", "answer_start": -5}]},
            "answer",
            "text is 'Paris' and answer_start -5",
        ),
        (
            {"question": "Q?", "answers": [{"text": "Paris"}]},
            "answer",
            "text is 'Paris' and answer_start None",
        ),
    ],
)
def test_questions_that_cannot_be_used_name_place_and_reason(write, question, reason, detail):
    [row] = rows_of(write("a.json", squad(question)), task="qa", format="squad")
    assert isinstance(row, Bad) and row.where == "data[0].paragraphs[0].qas[0]"
    assert row.reason == reason and row.detail.startswith(detail)


@pytest.mark.parametrize(
    ("options", "content", "error", "message"),
    [
        (
            {"task": "classification", "label": "klass"},
            "text\tlabel\nA\tx\n",
            UsageError,
            "--label klass: no column of that name; the header has text, label",
        ),
        (
            {"task": "classification"},
            "text\ttext\tlabel\nA\tB\tx\n",
            UsageError,
            "--text text: two columns of that name",
        ),
        (
            {"task": "classification", "header": False, "text": "1", "label": "5"},
            "A\tx\n",
            UsageError,
            "--label 5: without a header, columns have numbers, here 1 to 2",
        ),
        (
            {"task": "tagging", "format": "conll", "label": "pos"},
            "A x\n",
            UsageError,
            "--label pos: columns of conll files have numbers",
        ),
        (
            {"task": "classification", "format": "csv"},
            'text,label\n"A,x\nB,y\n',
            LimbeckError,
            "line 2: unexpected end of data",
        ),
        ({"task": "qa", "format": "squad"}, "{", LimbeckError, "not JSON"),
        ({"task": "qa", "format": "squad"}, "[]", LimbeckError, "no list 'data' in it"),
        (
            {"task": "qa", "format": "squad"},
            '{"data": [{}]}',
            LimbeckError,
            r"data\[0\]: no list 'paragraphs' in it; is it SQuAD's format",
        ),
    ],
)
def test_files_that_cannot_be_used_are_one_clear_error(write, options, content, error, message):
    path = write("file", content)
    with pytest.raises(error, match=message) as raised:
        rows_of(path, **options)
    assert path in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "qa"}, "--task qa cannot be read from --format tsv"),
        (
            {"task": "tagging", "format": "squad"},
            "--task tagging cannot be read from --format squad",
        ),
        ({"task": "regression", "format": "conll"}, "--task regression cannot be read from"),
        ({"task": "regression", "labels": ("a",)}, "--labels has no effect with --task regression"),
        ({"task": "tagging", "text_pair": "b"}, "--text-pair has no effect with --task tagging"),
        ({"task": "classification", "doc_stride": 5}, "--doc-stride has no effect"),
        ({"task": "qa", "format": "squad", "text": "t"}, "--text has no effect with --task qa"),
        ({"task": "tagging", "labels": ("a", "b", "a")}, "--labels names 'a' twice"),
        ({"task": "tagging", "max_seq_length": 4}, "max_seq_length is 4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        TaskSettings(**options)
