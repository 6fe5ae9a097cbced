import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError
from limbeck.records.documents import documents_layout
from limbeck.records.keys import make_key
from limbeck.records.rows import decode_record, encode_record
from prep.article import clean_page
from prep.document import Document, Heading

KEY = make_key(corpus="c", page=1)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
paragraphs = st.lists(st.lists(texts, min_size=1, max_size=4), max_size=5)


@st.composite
def documents(draw):
    parts = draw(paragraphs)
    total = sum(map(len, parts))
    places = sorted(draw(st.lists(st.integers(0, total), max_size=4)))
    headings = [
        Heading(text=draw(texts), level=draw(st.integers(1, 6)), sentence=p) for p in places
    ]
    return Document.of_paragraphs(parts, headings=headings)


@given(documents())
def test_document_survives_json_and_records(document):
    assert Document.from_json(json.loads(json.dumps(document.to_json()))) == document
    row = document.to_row(key=KEY, title="T")
    record = decode_record(documents_layout(), encode_record(documents_layout(), row))
    assert Document.from_record(record) == document
    assert record["sentences"] == list(document.sentences)


def test_paragraphs_and_headings_are_places_among_the_sentences():
    document = Document.of_paragraphs([["a", "b"], [], ["c"]])
    assert document.sentences == ("a", "b", "c") and document.paragraphs == (0, 2)


@pytest.mark.parametrize(
    ("sentences", "starts", "places"),
    [
        (("a",), (), ()),  # a sentence in no paragraph
        (("a",), (1,), ()),  # nothing begins at the start
        (("a", "b"), (0, 0), ()),  # an empty paragraph
        (("a", "b"), (0, 2), ()),  # beyond the end
        ((), (0,), ()),
        (("a",), (0,), (2,)),  # a heading beyond the end
        (("a",), (0,), (1, 0)),  # out of order
    ],
)
def test_places_that_are_none_are_refused(sentences, starts, places):
    headings = tuple(Heading(text="h", level=1, sentence=place) for place in places)
    with pytest.raises(ValueError, match="paragraphs|headings"):
        Document(sentences=sentences, paragraphs=starts, headings=headings)


def test_record_whose_numbers_do_not_fit_is_refused():
    row = Document.of_paragraphs([["a"]]).to_row(key=KEY, title="")
    with pytest.raises(LimbeckError, match="multiple of 4"):
        Document.from_record(row | {"paragraphs": b"abc"})
    with pytest.raises(LimbeckError, match="1 headings have 0 numbers"):
        Document.from_record(row | {"headings": ["h"]})


def test_record_without_paragraphs_is_one_paragraph():
    row = Document.of_paragraphs([["a", "b"]]).to_row(key=KEY, title="") | {"paragraphs": b""}
    assert Document.from_record(row).paragraphs == (0,)


def test_clean_page_keeps_sentences_paragraphs_and_headings():
    page = {
        "text": "One is. Two is.\n\nThree is.\n== A ==\n{{x}}\n=== B ===\n* Four is.\n== C ==",
        "language": "en",
        "dropped_namespaces": [],
        "keep_lists": True,
    }
    document = Document.from_json(clean_page(page))
    assert document.sentences == ("One is.", "Two is.", "Three is.", "Four is.")
    assert document.paragraphs == (0, 2, 3)
    assert [(h.text, h.level, h.sentence) for h in document.headings] == [
        ("A", 2, 3),
        ("B", 3, 3),
        ("C", 2, 4),
    ]
