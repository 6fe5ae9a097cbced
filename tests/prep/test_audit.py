import pytest

from prep.audit import RESIDUE, audit_pages, residue_of


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("Plain text (1815), with 'quotes' and f(x) = 3.", set()),
        ("left {{ over", {"braces"}),
        ("left ]] over", {"brackets"}),
        ("{| class", {"table", "pipe"}),
        ("a | b", {"pipe"}),
        ("a <ref name=x> b </b>", {"tag"}),
        ("a < b > c", set()),
        ("a <!-- b", {"comment"}),
        ("a&nbsp;b &#160; AT&T;", {"entity"}),
        ("__NOTOC__", {"switch"}),
        ("see http://a.b or www.c.d", {"address"}),
        ("''a", {"quotes"}),
        ("== a ==", {"heading"}),
        ("a ( ; ) b", {"hole"}),
        ("a ,b", {"hole"}),
        ("A.jpg|thumb", {"file name", "pipe"}),
        ('style="a"', {"attribute"}),
        ("a\x00b\ufdd0", {"control"}),
    ],
)
def test_residue_is_named(text, kinds):
    assert set(residue_of(text)) == kinds


def test_findings_are_ranked_by_pages():
    pages = [
        ("A", ["clean."]),
        ("B", ["{{x", "{{y", "{{z"]),
        ("C", ["a | b", "{{"]),
        ("D", ["| c"]),
        ("E", ["| d"]),
    ]
    audit = audit_pages(pages)
    assert (audit.pages, audit.affected) == (5, 4)
    found = [(f.name, f.pages, f.places) for f in audit.findings]
    assert found == [("pipe", 3, 3), ("braces", 2, 4)]
    assert audit.findings[1].examples[0] == ("B", "{{x {{y {{z")


def test_patterns_take_linear_time():
    for piece in ("<a ", "(", " ", "__A", "&", "|", "''", "www", "http:/", "=", "( ,", "style "):
        for name in RESIDUE:
            assert name in RESIDUE
        residue_of(piece * 100_000)
