import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.abbreviations import abbreviations_of
from prep.sentences import SPLITTER, split_sentences

GOLDEN = Path(__file__).parent / "sentences"
LANGUAGES = sorted(path.stem for path in GOLDEN.glob("*.txt"))
SPACELESS = ("ja", "zh")


def paragraphs(language):
    """The sentences of each paragraph of a golden file: one a line, a blank line between."""
    text = (GOLDEN / f"{language}.txt").read_text("utf-8").strip()
    return [paragraph.split("\n") for paragraph in text.split("\n\n")]


def joined(sentences, language):
    return ("" if language in SPACELESS else " ").join(sentences)


def test_goldens_are_there_for_eleven_languages():
    assert LANGUAGES == ["ar", "bg", "de", "en", "fr", "hi", "ja", "ko", "ru", "th", "zh"]
    assert all(sum(map(len, paragraphs(language))) >= 10 for language in LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_golden_paragraphs_are_split_into_their_sentences(language):
    for sentences in paragraphs(language):
        assert split_sentences(joined(sentences, language), language=language) == sentences


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
        ("A space was forgotten.Next one.", ["A space was forgotten.", "Next one."]),
        ("The U.S.A. and J.-P. Morel.", ["The U.S.A. and J.-P. Morel."]),
    ],
)
def test_paragraph_is_split_into_sentences(paragraph, expected):
    assert split_sentences(paragraph, language="en") == expected


def test_variants_and_unknown_languages_are_split():
    assert split_sentences("\u4e2d\u6587\u3002\u53e5\u5b50!", language="zh-yue") == [
        "\u4e2d\u6587\u3002",
        "\u53e5\u5b50!",
    ]
    assert split_sentences("One. Two.", language="xx") == ["One.", "Two."]
    assert split_sentences("One. Two.", language="") == ["One.", "Two."]


ALPHABET = st.sampled_from(
    [
        *"aAbB1 .?!\"'()-,",
        "...",
        "\u2026",
        "\u3002",
        "\uff1f",
        "\u300d",
        "\u300c",
        "\u4e2d",
        "\u3042",
    ]
    + [
        "\u0e01",
        "\u0e32",
        "\u0964",
        "\u061f",
        "\u0645",
        "\u0414",
        "\u0434",
        "\ud55c",
        " Dr. ",
        "z. B. ",
    ]
    + ["\n", "\u00a0", "\u200b", "\U0001f600", "\uff08", "\uff09", " etc. ", " 3. "]
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([*LANGUAGES, "xx", "es", "el", "hy", "my"]),
    st.one_of(st.text(max_size=60), st.lists(ALPHABET, max_size=60).map("".join)),
)
def test_no_character_is_lost_and_nothing_depends_on_white_space(language, paragraph):
    sentences = split_sentences(paragraph, language=language)
    assert "".join("".join(sentences).split()) == "".join(paragraph.split())
    assert all(sentence == " ".join(sentence.split()) != "" for sentence in sentences)
    spaced = f"  {paragraph} ".replace(" ", " \n ")
    assert split_sentences(spaced, language=language) == sentences


def test_short_sentences_of_languages_without_spaces_are_kept():
    assert split_sentences("\u662f\u3002\u4e0d\u3002\u5b8c\u3002", language="zh") == [
        "\u662f\u3002",
        "\u4e0d\u3002",
        "\u5b8c\u3002",
    ]


def test_long_thai_text_is_cut_between_clauses():
    clause = "\u0e01\u0e32\u0e23" * 15
    sentences = split_sentences(" ".join([clause] * 20), language="th")
    assert len(sentences) == 10 and {len(sentence) for sentence in sentences} == {91}


@pytest.mark.parametrize(
    "unit", ["a. ", "A", "... ", "A... ", "A etc. ", "(", "\u300c", "Dr. ", "1. ", "\u3002", '" ']
)
def test_time_grows_with_the_length_alone(unit):
    for language in ("en", "de", "zh", "th"):
        text = unit * (200_000 // len(unit))
        started = time.perf_counter()
        split_sentences(text, language=language)
        assert time.perf_counter() - started < 5  # quadratic would take minutes


def test_splitter_names_its_rules_and_their_ground():
    assert SPLITTER.startswith("limbeck-1 over sentencex ") and SPLITTER[-1].isdigit()


def test_abbreviations_are_written_as_they_are_looked_up():
    for language in LANGUAGES:
        known = abbreviations_of(language)
        for word in known.before_more | known.may_end:
            assert word == word.lower() and not word.endswith("."), word
