import gzip
import json

import pytest

from limbeck.config.errors import LimbeckError
from prep import plain_text
from prep.plain_text import read_documents


@pytest.fixture
def read(tmp_path):
    def read(content, format, **options):
        path = tmp_path / "text"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        options = {"language": "en", **options}
        with open(path, "rb") as file:
            return list(read_documents(file, path=str(path), format=format, **options))

    return read


def sentences(documents):
    return [list(document.text.sentences) for document in documents]


def test_plain_file_is_one_document_of_paragraphs(read):
    documents = read("One line\nand more. Two.\n\n \nNo end\n\nThree.\r\n", "plain")
    assert sentences(documents) == [["One line and more.", "Two.", "No end", "Three."]]
    assert documents[0].text.paragraphs == (0, 2, 3)
    assert documents[0].number == 0


def test_blocks_are_documents_of_one_sentence_a_line(read):
    documents = read("\n\nA one. Still one.\n  B \n\n\nC\r\n\n", "blocks")
    assert sentences(documents) == [["A one. Still one.", "B"], ["C"]]
    assert [document.number for document in documents] == [0, 1]


def test_lines_are_documents_that_are_never_split(read):
    assert sentences(read("A one. Two.\n\n  B  \tC", "lines")) == [["A one. Two."], [], ["B C"]]


def test_jsonl_takes_text_and_title(read):
    rows = [{"text": "One. Two.\nThree", "title": "T"}, {"text": ""}, {"text": "X", "title": 5}]
    documents = read("\n".join(map(json.dumps, rows)) + "\n", "jsonl")
    assert sentences(documents) == [["One.", "Two.", "Three"], [], ["X"]]
    assert documents[0].text.paragraphs == (0, 2)
    assert [document.title for document in documents] == ["T", "", ""]
    [other] = read('{"body": "B.", "name": "N"}', "jsonl", text_field="body", title_field="name")
    assert (other.title, other.text.sentences) == ("N", ("B.",))


@pytest.mark.parametrize(
    ("line", "problem", "detail"),
    [
        (b"{", "bad_json", "line 2: "),
        (b"[" * 100_000, "bad_json", "line 2: "),
        (b'"text"', "no_text", "line 2: no string 'text'"),
        (b'{"title": "x"}', "no_text", "line 2: no string 'text'"),
        (b'{"text": 5}', "no_text", "line 2"),
        (b'{"text": "caf\xe9"}', "bad_characters", "line 2: not UTF-8 at byte 13"),
        (b'{"text": "\\ud800"}', "bad_characters", "line 2: holds a lone surrogate"),
    ],
)
def test_bad_line_is_a_dead_letter_and_the_rest_goes_on(read, line, problem, detail):
    documents = read(b'{"text": "A."}\n' + line + b'\n{"text": "B."}\n', "jsonl")
    assert [document.problem for document in documents] == ["", problem, ""]
    assert detail in documents[1].detail
    assert [document.number for document in documents] == [0, 1, 2]
    assert documents[2].text.sentences == ("B.",)


@pytest.mark.parametrize("format", ["plain", "blocks", "lines"])
def test_bytes_that_are_no_utf8_spoil_their_document_only(read, format):
    documents = read(b"Good.\n\nBad \xff one.\nSame block.\n\nGood again.\n", format)
    problems = {document.number: document.problem for document in documents}
    expected = {
        "plain": {0: "bad_characters"},
        "blocks": {0: "", 1: "bad_characters", 2: ""},
        "lines": {0: "", 1: "", 2: "bad_characters", 3: "", 4: "", 5: ""},
    }
    assert problems == expected[format]


@pytest.mark.parametrize("format", ["plain", "blocks", "lines", "jsonl"])
def test_endless_line_is_a_dead_letter(read, monkeypatch, format):
    monkeypatch.setattr(plain_text, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr("prep.compressed.BLOCK_BYTES", 100)
    documents = read("A.\n\n" + "x" * 5000 + "\n\nB.\n", format)
    assert [d.problem for d in documents if d.problem and d.problem != "bad_json"] == ["too_large"]


@pytest.mark.parametrize("format", ["plain", "blocks"])
def test_endless_document_is_a_dead_letter(read, monkeypatch, format):
    monkeypatch.setattr(plain_text, "MAX_DOCUMENT_CHARACTERS", 1000)
    documents = read("word\n" * 500 + "\nB.\n", format)
    assert documents[0].problem == "too_large"
    assert [list(d.text.sentences) for d in documents[1:]] == (
        [["B."]] if format == "blocks" else []
    )


def test_lines_are_the_same_for_every_block_size(read, monkeypatch):
    content = "é中 one.\nTwo\n\nThree\r\nFour"
    expected = read(content, "lines")
    for size in (1, 2, 3, 7, 1000):
        monkeypatch.setattr("prep.compressed.BLOCK_BYTES", size)
        assert read(content, "lines") == expected


def test_packed_and_marked_files_are_read(read):
    assert sentences(read(gzip.compress(b"A.\nB."), "lines")) == [["A."], ["B."]]
    assert sentences(read(b"\xef\xbb\xbfA.", "lines")) == [["A."]]


def test_empty_file_has_no_documents_or_an_empty_one(read):
    assert [len(read("", f)) for f in ("plain", "blocks", "lines", "jsonl")] == [1, 0, 0, 0]
    assert read("", "plain")[0].text.sentences == ()


def test_cut_off_archive_is_an_error_that_names_the_file(read):
    with pytest.raises(LimbeckError, match="text: cut off"):
        read(gzip.compress(b"A.\n" * 1000)[:-12], "lines")
