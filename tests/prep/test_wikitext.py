import time

import pytest

from prep.wikitext import parse_sections


def paragraphs(wikitext, **options):
    return [p for section in parse_sections(wikitext, **options) for p in section.paragraphs]


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("'''Ada''' was ''first''.", ["Ada was first."]),
        ("L''''amour''' d'or", ["L'amour d'or"]),  # four quotes: one is text
        ("A [[dog]] and [[cat|two cats]].", ["A dog and two cats."]),
        ("See [[Dog (breed)|]].", ["See Dog (breed)."]),  # the pipe trick, unexpanded
        ("Link to [[:Category:Dogs]].", ["Link to Category:Dogs."]),  # a colon makes it visible
        ("[[File:A.jpg|thumb|A [[dog]]]]Text.", ["Text."]),
        ("[[image:A.jpg]]Text.[[Category:Dogs]]", ["Text."]),
        ("Text.\n[[de:Hund]]\n[[zh-min-nan:X]]", ["Text."]),
        ("[[wikt:dog|dog]] stays.", ["dog stays."]),
        ("See [http://a.b the site] or http://c.d.", ["See the site or."]),
        ("A{{cite|x={{y}}}} b.", ["A b."]),
        ("Born {{dob}} ({{age}}) there.", ["Born there."]),  # empty parentheses go
        ("Ada ({{lang}}; 1815) wrote , then .", ["Ada (1815) wrote, then."]),
        ("Fact.<ref name=a>Book ''x''</ref> More.<ref name=b/>", ["Fact. More."]),
        ("{|class=a\n|-\n| cell || cell\n|}\nAfter.", ["After."]),
        ("Where <math>x^2</math> is.", ["Where is."]),
        ("a<!-- hidden -->b", ["ab"]),
        ("x&nbsp;y &amp; z &#8211; &#xD800;!", ["x y & z \N{EN DASH} !"]),  # a surrogate is nothing
        ("H<sub>2</sub>O <code>x</code>", ["H2O x"]),
        ("One.<br />Two.", ["One. Two."]),
        ("<blockquote>Said.</blockquote>Then.", ["Said.", "Then."]),
        ("<nowiki>[[x]] is</nowiki>", []),  # reads as markup that was left over: no prose
        ("__NOTOC__\nText.", ["Text."]),
        ("One line\nand the next.\n\nOther.", ["One line and the next.", "Other."]),
        ("Text {{unclosed.\n\nGood.", ["Good."]),  # what is left of markup is no prose
        ("<small>Text", ["Text"]),  # a tag that is never closed
        ("If a < b and c > d.", ["If a < b and c > d."]),
        ("<b>" * 100 + "Deep" + "</b>" * 100, ["Deep"]),
        ("123 - 456\n\n***", []),  # nothing to read
        ("", []),
        ("   \n\n  ", []),
        ("Word\ue000 here.", ["Word here."]),  # our own mark in a page means nothing
        ("<gallery>\nFile:A.jpg|caption\n</gallery>\nT.", ["T."]),
        ("Abc .NET def", ["Abc .NET def"]),
        ("中文。 日本語。", ["中文。 日本語。"]),
    ],
)
def test_wikitext_becomes_prose(wikitext, expected):
    assert paragraphs(wikitext) == expected


def test_lists_are_paragraphs_unless_they_are_left_out():
    wikitext = (
        "Kinds:\n* One [[dog]].\n** Two.\n# Three.\n; Term : meaning.\nAfter.\n"
        "<ul><li>Last.</li></ul>"
    )
    assert paragraphs(wikitext) == [
        "Kinds:",
        "One dog.",
        "Two.",
        "Three.",
        "Term meaning.",
        "After.",
        "Last.",
    ]
    assert paragraphs(wikitext, keep_lists=False) == ["Kinds:", "After."]


def test_sections_keep_their_headings_and_order():
    sections = parse_sections("Lead.\n== One ''a'' ==\nText.\n=== Two ===\n== Three ==\nEnd.")
    found = [(section.heading, section.level, section.paragraphs) for section in sections]
    assert found == [
        ("", 0, ("Lead.",)),
        ("One a", 2, ("Text.",)),
        ("Two", 3, ()),
        ("Three", 2, ("End.",)),
    ]


def test_own_names_of_a_wiki_are_dropped():
    wikitext = "[[Файл:A.jpg|мини]]Текст.[[Категория:Б]]"
    assert paragraphs(wikitext, dropped_namespaces={"файл", "категория"}) == ["Текст."]
    assert paragraphs("[[My file: x]]", dropped_namespaces={"my file"}) == []


@pytest.mark.parametrize(
    "wikitext",
    [
        "a" * 2_000_000,
        "a " * 1_000_000,
        ": , ; " * 300_000 + "x",
        "(" * 500_000 + "x",
        ") " * 500_000 + "x",
        "x" + "'" * 500_000,
        "<a" * 200_000,
        "_" * 500_000 + "x",
        "&" * 300_000,
    ],
    ids=lambda text: text[:6],
)
def test_our_own_rules_take_linear_time(wikitext):
    # mwparserfromhell itself is fast on these; a quadratic pattern of ours would take minutes.
    started = time.process_time()
    parse_sections(wikitext)
    assert time.process_time() - started < 10
