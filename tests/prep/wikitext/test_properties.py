"""What holds for every page, well formed or not."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prep.audit import residue_of
from prep.wikitext import parse_sections
from prep.wikitext.islands import drop_islands
from prep.wikitext.marks import HOLE, protect, unprotect
from prep.wikitext.templates import Rules

TOKENS = (
    "{{ }} {{{ }}} { } {| |} |- | || ! [[ ]] [ ] ] <!-- --> <ref> </ref> <ref/> <nowiki> </nowiki> "
    "<math> </math> <table> </table> <br> <li> </li> <div> </div> <b> </b> <h2> </h2> < > </ /> "
    "'' ''' ''''' ' == = * # : ; ---- &amp; &lt; &#91; & ; -{ }- __TOC__ __ http://a.b // "
    "[http://a. File: Category: lang|fr| nowrap| convert| quote| a b c, d. (x) ( ) , . 1 = "
    "\ufdd0 \ufdd1 \ufdd5 \ud800 \x00 \u3000 \u4e2d \u0627"
).split(" ")
JOINTS = st.sampled_from(["", " ", "\n", "\n\n"])
pages = st.lists(st.tuples(st.sampled_from(TOKENS), JOINTS), max_size=60).map(
    lambda parts: "".join(token + joint for token, joint in parts)
)
words = st.text("abcdefghij\u00e9\u4e2d\u0416", min_size=1, max_size=8)
plain_paragraphs = st.lists(st.lists(words, min_size=1).map(" ".join), max_size=6)


def paragraphs(wikitext, **options):
    return [p for section in parse_sections(wikitext, **options) for p in section.paragraphs]


@settings(max_examples=1500, deadline=None)
@given(pages, st.booleans(), st.sampled_from(["en", "de", "ja", "xx", ""]))
def test_any_page_becomes_clean_lines(page, keep_lists, language):
    for section in parse_sections(page, keep_lists=keep_lists, language=language):
        for text in (section.heading, *section.paragraphs):
            assert text == " ".join(text.split())
            assert not re.search("[\ufdd0-\ufdef]", text)
            if "&" not in page and "nowiki" not in page:
                assert not re.search(r"\{\{|\}\}", text)
        assert all(any(c.isalpha() for c in text) for text in section.paragraphs)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_no_text_at_all_makes_it_fail(page):
    parse_sections(page)


@settings(max_examples=300, deadline=None)
@given(plain_paragraphs)
def test_plain_paragraphs_are_kept_word_for_word(texts):
    assert paragraphs("\n\n".join(texts)) == texts
    assert paragraphs("\n\n".join(paragraphs("\n\n".join(texts)))) == texts  # and stay so


# Wikitext whose text is known: each piece comes with what it shows.
leaves = words.map(lambda word: (word, word))


def _nest(inner):
    pieces = st.lists(inner, min_size=1, max_size=3).map(
        lambda parts: (" ".join(p[0] for p in parts), " ".join(p[1] for p in parts))
    )
    return st.one_of(
        pieces.map(lambda p: (f"[[target|{p[0]}]]", p[1]) if "[[" not in p[0] else p),
        pieces.map(lambda p: (f"<span class='x'>{p[0]}</span>", p[1])),
        pieces.map(lambda p: ("{{nowrap|1=" + p[0] + "}}", p[1])),
        pieces.map(lambda p: (p[0] + "{{cite|a=" + p[0] + "}}", p[1])),
        pieces.map(lambda p: (p[0] + f"<ref>{p[0]}</ref>", p[1]) if "<ref" not in p[0] else p),
        pieces.map(lambda p: (p[0] + f"[[File:x.jpg|thumb|{p[0]}]]", p[1])),
        pieces.map(lambda p: (p[0] + f"<!-- {p[0]} -->", p[1]) if "<!" not in p[0] else p),
        pieces.map(lambda p: (p[0] + " {{x|\n{|\n| a\n|}\n}}", p[1])),
    )


@settings(max_examples=600, deadline=None)
@given(st.recursive(leaves, _nest, max_leaves=12))
def test_balanced_markup_leaves_its_text_and_nothing_else(piece):
    wikitext, text = piece
    found = " ".join(paragraphs(wikitext))
    assert found.replace(" ", "") == text.replace(" ", "")
    assert residue_of(found) == {}


@given(st.text(max_size=50))
def test_nowiki_shows_what_it_holds(text):
    text = re.sub("[\ufdd0-\ufdef&\0]|(?i:</nowiki)", "", text)
    found = paragraphs(f"a<nowiki>{text}</nowiki>b")
    assert found == [p for p in [" ".join(f"a{text}b".split())] if p] or "\n" in text


@given(st.text(alphabet="[]{}|'=*#:;<>_-ab"))
def test_protected_text_comes_back(text):
    assert unprotect(protect(text)) == text
    assert not set(protect(text)) & set("[]{}|'=*#:;<>_-")


@given(pages)
def test_islands_leave_no_closed_braces(page):
    text = drop_islands(page.replace(HOLE, ""), rules=Rules("en"))
    assert "}}" not in text.replace(HOLE, "")


BAD_PAGES = [
    "{{", "}}", "{{a|", "{{nowrap|", "{|\n", "\n|}", "{{{", "[[", "[[a|", "[[File:a|", "]]",
    "[http://a ", "<ref>", "<ref", "<!--", "<nowiki>", "<math>", "<table>", "'' ", "'", "==a==\n",
    "\n*", "=", "&amp", "__", "__A", "-{", "(", "( ;", ") ", "{{x}},", "({{x}}", "http://.", "<a",
    "* ", "\n|", "; : ", "{{lang|a|", "[[a [b", "[[|", "{{nowrap|[[a|", "a|", " ", "<li>", ",",
    "{{x}}:{{x}};", "[[x|(y", "\ufdd1", "-{a|", "((",
]  # fmt: skip


@pytest.mark.parametrize("piece", BAD_PAGES)
def test_time_is_linear_in_any_repetition(piece):
    # 10^5 of it take at most some tenths of a second; anything quadratic takes minutes.
    for page in (piece * 100_000, "a " + piece * 50_000 + "}}]]" * 50_000):
        started = time.process_time()
        parse_sections(page)
        assert time.process_time() - started < 1 + 10e-6 * len(page)


def test_nesting_has_no_limit():
    depth = 100_000
    assert paragraphs("{{a|" * depth + "x" + "}}" * depth + "After.") == ["After."]
    assert paragraphs("{|\n|" * depth + "x" + "\n|}" * depth + "\nAfter.") == ["After."]
    assert paragraphs("[[File:a|" * depth + "x" + "]]" * depth + "After.")[-1].endswith("After.")


@pytest.mark.slow
def test_fifty_megabytes_on_one_line():
    line = "A [[dog|''brown'' dog]] barks{{cn}} at night.<ref>x</ref> " * 900_000
    started = time.process_time()
    [text] = paragraphs(line)
    assert text.startswith("A brown dog barks at night. A brown dog")
    assert len(text) == 28 * 900_000 - 1
    assert time.process_time() - started < 60
