"""Wikitext -> paragraphs, a table: what a reader of the page would call its text."""

import pytest

from prep.wikitext import parse_sections


def paragraphs(wikitext, **options):
    return [p for section in parse_sections(wikitext, **options) for p in section.paragraphs]


LINKS = [
    ("A [[dog]] and [[cat|two cats]].", "A dog and two cats."),  # plain and labelled
    ("Two [[dog]]s and [[cat]]ty.", "Two dogs and catty."),  # trailing letters join
    ("Un[[do]]ing it.", "Undoing it."),  # leading letters too
    ("See [[Dog (breed)|]].", "See Dog."),  # pipe trick, as an editor meant it
    ("In [[Paris, Texas|]].", "In Paris."),  # pipe trick with a comma
    ("Read [[Help:Dogs|]].", "Read Dogs."),  # pipe trick with a namespace
    ("See [[Dog (breed)]].", "See Dog (breed)."),  # no bar: the title is shown
    ("See [[Dog_house]].", "See Dog house."),  # underscores are spaces in titles
    ("See [[#Section|below]].", "See below."),  # a link inside the page
    ("A [[a|b|c]] d.", "A b|c d."),  # only the first bar counts
    ("A [[dog|''brown'' '''dog''']].", "A brown dog."),  # quotes in a label
    ("A [[dog|big<br />dog]].", "A big dog."),  # a tag in a label
    ("Link to [[:Category:Dogs]].", "Link to Category:Dogs."),  # a colon makes it visible
    ("Link to [[:File:A.jpg|a picture]].", "Link to a picture."),  # so with a file
    ("[[wikt:dog|dog]] stays.", "dog stays."),  # interwiki with a label is text
    ("[[User:Ada|Ada]] wrote.", "Ada wrote."),  # other namespaces are links like any
    ("Text.\n[[de:Hund]]\n[[zh-min-nan:X]]", "Text."),  # interlanguage links show nothing
    ("[[ISO:9000]] is.", "ISO:9000 is."),  # capitals: a title, no language
    ("[[Text [in] brackets|a [b] c]] d.", "a [b] c d."),  # brackets in a label
    ("x [[dog|the [dog]]] y.", "x the [dog] y."),  # a bracket right before the end
    ("Broken [[link here.", "Broken link here."),  # never closed: its words stay
    ("Broken link]] here.", "Broken link here."),  # never opened
    ("Broken [[link|label here.", "Broken label here."),  # never closed, with a bar
    ("A [[ dog | big dog ]] b.", "A big dog b."),  # spaces inside
    ("Line [[dog|brown\ndog]] end.", "Line brown dog end."),  # a label over two lines
    ("[[]] empty [[|]] links.", "empty links."),  # nothing inside
]
PICTURES = [
    ("[[File:A.jpg|thumb|A [[dog]]]]Text.", "Text."),  # a link in a caption
    ("[[image:A.jpg]]Text.[[Category:Dogs]]", "Text."),  # any case
    ("[[File:A.jpg|thumb|See [http://a.b c], [[x|y]].]]Text.", "Text."),  # both links
    ("[[File:A.jpg|thumb|One.\n\nTwo.]]Text.", "Text."),  # a caption of two paragraphs
    ("[[File:A.jpg|alt={{x|[[y]]}}|C]]Text.", "Text."),  # a template in it
    ("[[ File : A.jpg|thumb]]Text.", "Text."),  # spaces around the prefix
    ("[[File:A.jpg|Never closed.\nText.", "Text."),  # costs its line
    ("[[Media:A.ogg|listen]] Text.", "Text."),  # sound files too
    ("[[File:A.jpg|x [[File:B.jpg|y [[z]]]] w]]Text.", "Text."),  # a picture in a caption
    ("<gallery>\nFile:A.jpg|caption\n</gallery>\nText.", "Text."),
    ("<imagemap>File:A.jpg\nrect 1 2 [[x]]</imagemap>Text.", "Text."),
    ("Text.\n[[Category:Dogs|*]]\n[[Category:Cats]]", "Text."),  # with a sort key
]
ADDRESSES = [
    ("See [http://a.b the site].", "See the site."),
    ("See [https://a.b/c?d=e the ''site''].", "See the site."),
    ("See [//a.b the site].", "See the site."),  # without a protocol
    ("See [mailto:a@b.c a mail].", "See a mail."),
    ("See [http://a.b].", "See."),  # a number in brackets is shown there
    ("See (http://c.d).", "See."),  # empty parentheses go with it
    ("Or http://c.d, then.", "Or, then."),  # bare: not a word
    ("An array[0] and [sic] stay.", "An array[0] and [sic] stay."),  # other brackets are text
    ("A [not a link http.", "A [not a link http."),
    ("So a[b[0]] is.", "So a[b[0]] is."),
]
TEMPLATES = [
    ("A{{cite|x={{y}}}} b.", "A b."),
    ("Born {{dob}} ({{age}}) there.", "Born there."),  # empty parentheses go
    ("Ada ({{x}}; 1815) wrote.", "Ada (1815) wrote."),  # and what is left at their start
    ("Ada (1815; {{x}}) wrote.", "Ada (1815) wrote."),  # or end
    ("Ada (1815; {{x}}; 1852) wrote.", "Ada (1815; 1852) wrote."),  # or middle
    ("Ada ({{x}}, {{y}}) wrote.", "Ada wrote."),
    ("Of\n<math>a</math>,\n<math>b</math> and\nc.", "Of, and c."),  # at starts of lines
    ("Dogs {{x}}, cats.", "Dogs, cats."),  # no space before a comma
    ("Dogs{{x}} {{y}} bark.", "Dogs bark."),
    ("Call f() now{{x}}.", "Call f() now."),  # parentheses that were empty before stay
    ("A smile ( ; ) here.", "A smile ( ; ) here."),  # nothing was dropped: not ours to change
    ("{{Infobox\n| a = {{b|c}}\n| d = [[e]]\n}}\nText.", "Text."),
    ("{{x|{{y|{{z}}}}}}Text.", "Text."),
    ("{{{1|default}}} Text.", "Text."),  # a parameter
    ("{{{{x}}|a}} Text.", "Text."),  # a name made by a template
    ("{{#if: x | {{a}} | b }}Text.", "Text."),  # a parser function
    ("{{x|[[File:A.jpg|b]]|c=<!-- }} -->}}Text.", "Text."),  # braces in a comment
    ("{{x|<nowiki>}}</nowiki>}}Text.", "Text."),  # braces in nowiki
    ("{{x|<math>{a^{b}}</math>}}Text.", "Text."),  # braces in a formula
    ("Text }} goes on.", "Text goes on."),  # never opened
    ("Text {{unclosed here.\n\nGood.", ["Text", "Good."]),  # costs the rest of its line
    ("{{Infobox\n| a = b\n| c = d\n\nGood.", "Good."),  # rows of one that is not closed
    ("A set { 1, 2 } here.", "A set { 1, 2 } here."),  # single braces are text
    ("Text.{{Reflist|refs=<ref>x</ref>}}", "Text."),
    ("{{x|a\n{|\n| b\n|}\n}}Text.", "Text."),  # a table in a template
    ("{{x\n|a=b\n|}}Text.", "Text."),  # a bar before the end is no end of a table
    ("{{x|a\n{|\n| b\n}}Text.", "Text."),  # a table in it that is not closed
]
SHOWN_TEMPLATES = [
    ("Word {{lang|fr|''mot''}} here.", "Word mot here."),
    ("({{lang-fr|mot}}; x)", "(French: mot; x)"),  # the English wiki names the language
    ("({{lang-xyz|mot}})", "(mot)"),  # one without a name
    ("{{nowrap|a [[dog|b]] c}} d.", "a b c d."),  # a bar in a link is no argument
    ("{{nowrap|1=a=b}} d.", "a=b d."),  # a numbered argument
    ("{{ Nowrap | a }} d.", "a d."),  # spaces and case in the name
    ("{{transl|ar|DIN|al-kitab}} d.", "al-kitab d."),  # the last one
    ("Of {{convert|5|km}} or so.", "Of 5 km or so."),
    ("Of {{convert|1300|mi|km|abbr=on}} or so.", "Of 1,300 mi or so."),
    ("{{convert|5|-|10|km}} d.", "5\u201310 km d."),
    ("{{convert|5|to|10|km2}} d.", "5 to 10 km\u00b2 d."),
    ("{{convert|6|ft|2|in|m}} d.", "6 ft 2 in d."),
    ("{{convert|2|x|4|in}} d.", "2 \u00d7 4 in d."),
    ("{{cvt|20|C|F}} d.", "20 \u00b0C d."),
    ("{{convert}} d.", "d."),
    ("{{val|6.2|e=18|u=km}} d.", "6.2\u00d71018 km d."),
    ("{{frac|1|2}} and {{frac|3|1|2}} and {{frac|3}} d.", "1/2 and 3 1/2 and 1/3 d."),
    ("{{abbr|UN|United Nations}} d.", "UN d."),
    ("{{as of|2014|4|lc=y}} it.", "as of April 2014 it."),
    ("{{As of|2014}} it.", "As of 2014 it."),
    ("{{as of|2014|4|5|since=y}} it.", "Since 5 April 2014 it."),
    ("{{circa|1990}} it.", "c. 1990 it."),
    ("A ({{IPAc-en|lang|\u00e6|l|b}}) d.", "A (/\u00e6lb/) d."),
    ("A ({{IPA-fr|al|lang}}) d.", "A ([al]) d."),
    ("A{{ndash}}B{{snd}}C{{mdash}}D e.", "A\u2013B \u2013 C\u2014D e."),
    ("The ship''{{'}}s crew", "The ship's crew"),
    ("He said: {{quote|Go.|Ada}} Then.", ["He said:", "Go.", "Then."]),
    ("{{quote|text=Go.}}", "Go."),
    ("{{formatnum:3003}} m", "3003 m"),
    ("{{USS|Hornet|CV-12}} d.", "USS Hornet d."),
    ("{{OldStyleDate|May 2|1905|April 20}} d.", "May 2 [O.S. April 20] 1905 d."),
    ("{{nihongo|bayonet|\u9283|j\u016bken}} d.", "bayonet (\u9283, j\u016bken) d."),
    ("H{{chem|H|2|O}} d.", "HH2O d."),
    ("{{nowrap|{{lang|fr|{{nowrap|x}}}}}} d.", "x d."),  # inside each other
    ("{{nowrap|a{{cn}} b}} d.", "a b d."),  # a dropped one inside a shown one
    ("{{cn|{{nowrap|a}}}} d.", "d."),  # a shown one inside a dropped one
]
TABLES = [
    ("{|class=a\n|-\n| cell || cell\n|}\nAfter.", "After."),
    ("Before.\n{|\n! a\n|\n{|\n| b\n|}\n|}\nAfter.", ["Before.", "After."]),  # nested
    ("  :{|\n| b\n|}\nAfter.", "After."),  # indented
    ("{|\n| {{x|\n|}}\n|}\nAfter.", "After."),  # a template in it whose end looks like the table's
    ("{|\n| {{x\n|}\nAfter.", "After."),  # a template in it that is not closed
    ("{|\n| a\n| b\n\nAfter.", "After."),  # never closed: its rows go
    ("Text.\n|}\nAfter.", ["Text.", "After."]),  # never opened
    ("<table><tr><td>cell</td></tr></table>After.", "After."),
    ("<table><tr><td><table>x</table>y</td></tr></table>After.", "After."),
    ("<tr><td>Loose</td></tr>", "Loose"),
    ("a {| b and |} c", "a {| b and |} c"),  # not at the start of a line
]
TAGS = [
    ("Fact.<ref name=a>Book ''x''</ref> More.<ref name=b/>", "Fact. More."),
    ("Fact <ref>x</ref>.", "Fact."),
    ("Fact.<ref name=\"a\" group='b' >x</ref >", "Fact."),
    ("Fact.<REF>x</Ref> More.", "Fact. More."),  # any case
    ("Fact.<ref>never closed\nMore.", ["Fact. More."]),  # costs the rest of its line
    ("Where <math>x^2</math> is.", "Where is."),
    ("The <math>n</math>th is.", "The th is."),
    ("H<sub>2</sub>O <code>x</code>", "H2O x"),
    ("One.<br />Two.<br>Three.", "One. Two. Three."),
    ("<blockquote>Said.</blockquote>Then.", ["Said.", "Then."]),
    ('<div class="x">Said.</div>Then.', ["Said.", "Then."]),
    ('<span style="a">Said</span> so.', "Said so."),
    ("<poem>\nOne line\nand two\n</poem>", "One line and two"),
    ("<pre>int x;</pre>Text.", "Text."),
    ('<syntaxhighlight lang="c">if (a < b) {{</syntaxhighlight>Text.', "Text."),
    ("<source>x</source>Text.", "Text."),
    ("Is <nowiki>[[x]]</nowiki> so.", "Is [[x]] so."),  # shown as it is
    ("Is <nowiki>''x''</nowiki> &amp; <nowiki>{{y}}</nowiki>.", "Is ''x'' & {{y}}."),
    ("l''a''<nowiki/>'s x", "la's x"),
    ("<small>Text", "Text"),  # a tag that is never closed
    ("If a < b and c > d.", "If a < b and c > d."),
    ("A <T> of vector<int> stays.", "A <T> of vector<int> stays."),  # no tags of HTML
    ("<b>" * 100 + "Deep" + "</b>" * 100, "Deep"),
    ("a<!-- hidden -->b", "ab"),
    ("One\n<!-- hidden -->\ntwo.", "One two."),  # a line of its own goes with it
    ("One <!-- never closed", "One"),
    ("<references><ref name=a>x</ref></references>Text.", "Text."),
    ("<references/>Text.", "Text."),
    ("<onlyinclude>Text.</onlyinclude><includeonly>No.</includeonly>", "Text."),
    ("<section begin=a />Text.<section end=a />", "Text."),
    ("<timeline>x</timeline><score>y</score><hiero>z</hiero>Text.", "Text."),
    ("<ruby>\u6f22<rt>kan</rt></ruby> x", "\u6f22kan x"),
]
QUOTES = [
    ("'''Ada''' was ''first''.", "Ada was first."),
    ("'''''Both''''' here.", "Both here."),
    ("L''''amour''' d'or", "L'amour d'or"),  # four: one is text
    ("l'''Italie'' est", "l'Italie est"),  # three and two: an apostrophe before italics
    ("dell'''arte'' e '''altro''' x", "dell'arte e altro x"),
    ("It's 'so' and o'clock.", "It's 'so' and o'clock."),
    ("''Unclosed\nnext ''line''.", "Unclosed next line."),  # marks end with their line
    ("'''''''seven''''' x", "''seven x"),
]
CHARACTERS = [
    ("x&nbsp;y &amp; z &#8211; &#xD800;!", "x y & z \u2013 !"),  # a surrogate is nothing
    (
        "&lt;ref&gt; and &#91;&#91;x&#93;&#93; &#39;&#39;y",
        "<ref> and [[x]] ''y",
    ),  # decoded last: text
    ("AT&T; &unknown; &amp;nbsp;", "AT&T; &unknown; &nbsp;"),  # decoded once
    ("so&shy;ft", "soft"),
    ("&#0;&#1114112;&#x110000; x", "x"),
    ("tab\tand  spaces\u00a0here\u3000x", "tab and spaces here x"),
    ("Word\ufdd0 and\ufdd1 \ufdefhere.", "Word and here."),  # our own marks mean nothing
    ("Private \ue000 use.", "Private \ue000 use."),
]
SWITCHES = [
    ("__NOTOC__\nText.", "Text."),
    ("Text.__NOEDITSECTION__", "Text."),
    ("__notoc__Text.", "Text."),  # any case
    ("__OTHER__ Text.", "Text."),  # of an extension we do not know
    ("Python's __init__ method", "Python's __init__ method"),  # no switch
    ("a _b_ c__d", "a _b_ c__d"),
]
LINES = [
    ("One line\nand the next.\n\nOther.", ["One line and the next.", "Other."]),
    ("One.\n----\nTwo.", ["One.", "Two."]),
    ("123 - 456\n\n***", []),  # nothing to read
    ("", []),
    ("   \n\n  ", []),
    ("Text.\r\nMore.\r\n\r\nThen.", ["Text. More.", "Then."]),
    ("Text\n{{x}}\nmore.", ["Text", "more."]),  # a template on its own line parts paragraphs
    ("Abc .NET def", "Abc .NET def"),
    ("French dogs : oui ; non !", "French dogs : oui ; non !"),  # spaces that belong there
    ("\u4e2d\u6587\u3002 \u65e5\u672c\u8a9e\u3002", "\u4e2d\u6587\u3002 \u65e5\u672c\u8a9e\u3002"),
    ("= no heading", "= no heading"),
    ("e -{x}- f", "e -{x}- f"),  # no language converter on an English wiki
    ("a = b =", "a = b ="),
]
CASES = [
    *LINKS, *PICTURES, *ADDRESSES, *TEMPLATES, *SHOWN_TEMPLATES, *TABLES, *TAGS, *QUOTES,
    *CHARACTERS, *SWITCHES, *LINES,
]  # fmt: skip


@pytest.mark.parametrize(("wikitext", "expected"), CASES)
def test_wikitext_becomes_prose(wikitext, expected):
    assert paragraphs(wikitext) == ([expected] if isinstance(expected, str) else expected)


def test_lists_are_paragraphs_unless_they_are_left_out():
    wikitext = (
        "Kinds:\n* One [[dog]].\n** Two.\n# Three.\n; Term : meaning.\n:Indented.\nAfter.\n"
        "<ul><li>Next.</li><li>Last.</li></ul>"
    )
    assert paragraphs(wikitext) == [
        "Kinds:",
        "One dog.",
        "Two.",
        "Three.",
        "Term meaning.",
        "Indented.",
        "After.",
        "Next.",
        "Last.",
    ]
    assert paragraphs(wikitext, keep_lists=False) == ["Kinds:", "After."]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("== One ''a'' ==", ("One a", 2)),
        ("=One=", ("One", 1)),
        ("====== One ======", ("One", 6)),
        ("== One === ", ("One =", 2)),  # the shorter side counts
        ("== [[a|One]]{{anchor|b}} ==", ("One", 2)),
        ("== One == <!-- note -->", ("One", 2)),
        ("== One ==<ref>x</ref>", ("One", 2)),
        ("<h3>One</h3>", ("One", 3)),
        ("== A = B ==", ("A = B", 2)),
        ("{{anchor|x}}== One ==", ("One", 2)),
    ],
)
def test_headings_are_structure_and_no_prose(line, found):
    sections = parse_sections(f"Lead.\n{line}\nText.")
    assert [(s.heading, s.level) for s in sections] == [("", 0), found]
    assert [s.paragraphs for s in sections] == [("Lead.",), ("Text.",)]


def test_sections_keep_their_order_and_may_be_empty():
    sections = parse_sections("Lead.\n== One ==\nText.\n=== Two ===\n== Three ==\nEnd.")
    found = [(section.heading, section.level, section.paragraphs) for section in sections]
    assert found == [
        ("", 0, ("Lead.",)),
        ("One", 2, ("Text.",)),
        ("Two", 3, ()),
        ("Three", 2, ("End.",)),
    ]


FILE_RU, CATEGORY_RU = (
    "\u0424\u0430\u0439\u043b",
    "\u041a\u0430\u0442\u0435\u0433\u043e\u0440\u0438\u044f",
)
FILE_AR, CATEGORY_AR = "\u0645\u0644\u0641", "\u062a\u0635\u0646\u064a\u0641"
FILE_JA, IMAGE_JA = "\u30d5\u30a1\u30a4\u30eb", "\u753b\u50cf"
YOMIGANA = "\u8aad\u307f\u4eee\u540d"
FILE_ZH, CATEGORY_ZH = "\u6587\u4ef6", "\u5206\u985e"
LANGUAGES = [
    ("de", "[[Datei:A.jpg|mini|Ein [[Hund]]]]Text.[[Kategorie:B]]", ["Text."]),
    ("de", '[[Bild:A.jpg]]Das {{"|Wort}} gilt.', ["Das \u201eWort\u201c gilt."]),
    ("de", "__KEIN_INHALTSVERZEICHNIS__\nText.", ["Text."]),
    ("fr", "[[Fichier:A.jpg|vignette]]Au {{s|XIX|e}}.", ["Au XIXe si\u00e8cle."]),
    ("fr", "{{citation|abc}} et {{unit\u00e9|5|km}}.", ["\u00ab abc \u00bb et 5 km."]),
    ("es", "[[Archivo:A.jpg]]Texto {{lang|en|dog}}.[[Categor\u00eda:B]]", ["Texto dog."]),
    ("ru", f"[[{FILE_RU}:A.jpg|x]]\u0422\u0435\u043a.[[{CATEGORY_RU}:B]]", ["\u0422\u0435\u043a."]),
    ("ru", "\u0410 ({{lang-en|dog}}) \u0431.", ["\u0410 (dog) \u0431."]),
    ("ar", f"[[{FILE_AR}:A.jpg|x]]\u0646\u0635.[[{CATEGORY_AR}:B]]", ["\u0646\u0635."]),
    ("ja", f"[[{FILE_JA}:A.jpg|x|y]]\u72ac\u3002[[{IMAGE_JA}:B.jpg]]", ["\u72ac\u3002"]),
    (
        "ja",
        f"{{{{{YOMIGANA}|\u72ac|\u3044}}}}\u306f\u3002",
        ["\u72ac\uff08\u3044\uff09\u306f\u3002"],
    ),
    (
        "zh",
        f"[[{FILE_ZH}:A.jpg|x]]\u6b63-{{zh-hans:\u4f53;zh-hant:\u9ad4}}-\u3002",
        ["\u6b63\u4f53\u3002"],
    ),
    (
        "zh",
        f"-{{H|zh-cn:a;zh-tw:b}}-\u6b63-{{\u6587}}-\u3002[[{CATEGORY_ZH}:B]]",
        ["\u6b63\u6587\u3002"],
    ),
    ("zh-classical", "[[Image:A.jpg]]\u6587\u3002", ["\u6587\u3002"]),  # English always works
    ("xx", "[[File:A.jpg]]Text {{lang|fr|mot}}.", ["Text mot."]),  # an unknown language
]


@pytest.mark.parametrize(("language", "wikitext", "expected"), LANGUAGES)
def test_names_are_those_of_the_wiki(language, wikitext, expected):
    assert paragraphs(wikitext, language=language) == expected


def test_own_names_of_a_wiki_are_dropped():
    assert paragraphs("[[My file: x]]Text.", dropped_namespaces={"my file"}) == ["Text."]
    assert paragraphs("[[Datei:A.jpg]]Text.") == ["Datei:A.jpgText."]  # no name on an English wiki
