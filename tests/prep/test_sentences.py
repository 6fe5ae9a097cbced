import pytest

from prep.article import clean_page
from prep.sentences import SPLITTER, split_sentences


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("", []),
        (" \n ", []),
        ("One. Two.", ["One.", "Two."]),
        ("  One\n more.   Two. ", ["One more.", "Two."]),
        (
            "Dr. Smith met J. R. R. Tolkien in Washington, D.C. on Jan. 5. They left.",
            ["Dr. Smith met J. R. R. Tolkien in Washington, D.C. on Jan. 5.", "They left."],
        ),
        (
            "It cost $3.50, i.e. little. Really?! Yes.",
            ["It cost $3.50, i.e. little.", "Really?!", "Yes."],
        ),
        ("No end", ["No end"]),
    ],
)
def test_paragraph_is_split_into_sentences(paragraph, expected):
    assert split_sentences(paragraph, language="en") == expected


def test_other_languages_and_unknown_ones_are_split():
    assert split_sentences("中文。句子!", language="zh") == ["中文。", "句子!"]
    assert split_sentences("One. Two.", language="xx") == ["One.", "Two."]


def test_splitter_names_its_version():
    assert SPLITTER.startswith("sentencex ") and SPLITTER[-1].isdigit()


def test_clean_page_returns_the_sentences_of_all_sections():
    page = {
        "text": "Lead one. Lead two.\n== H ==\n[[Datei:x.jpg]]\n* Item.\nBody. [[de:X]]",
        "language": "en",
        "dropped_namespaces": ["datei"],
        "keep_lists": False,
    }
    assert clean_page(page) == ["Lead one.", "Lead two.", "Body."]
