import bz2
import gzip
import lzma
import os
import tracemalloc

import pytest

from limbeck.config.errors import LimbeckError
from prep import mediawiki
from prep.dumps.reading import read_pages
from prep.dumps.source import look_at


@pytest.fixture
def write(tmp_path):
    def write(content, name="dump.xml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


@pytest.fixture
def pages_of(write, xml):
    return lambda *pages, **options: list(read_pages(write(xml.export(*pages, **options))))


@pytest.fixture
def page(xml):
    return xml.page


@pytest.fixture
def export(xml):
    return xml.export


def read_site(path):
    with open(path, "rb") as file:
        return look_at(file, path=path, size=os.path.getsize(path)).site


def test_pages_come_with_everything_that_matters(pages_of, page):
    [one] = pages_of(
        page("Hund &amp; Katz", "12", text="<text>Ein <!-- x -->Hund.&lt;br&gt;</text>")
    )
    assert one.page_id == 12 and one.title == "Hund & Katz" and one.namespace == 0
    assert one.text == "Ein Hund.<br>"
    assert not one.is_redirect and one.model == "wikitext" and not one.problem


@pytest.mark.parametrize(
    "attributes",
    [
        "",  # no XML namespace at all
        'xmlns="http://www.mediawiki.org/xml/export-0.3/" version="0.3" xml:lang="de"',
        'xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de"',
    ],
)
def test_schema_version_does_not_matter(pages_of, attributes, page):
    assert [p.title for p in pages_of(page("A"), page("B"), attributes=attributes)] == ["A", "B"]


def test_xml_prefix_does_not_matter(write, page, export):
    text = export(page("A")).replace("<", "<mw:").replace("<mw:/", "</mw:").replace("<mw:!", "<!")
    text = text.replace("xmlns=", "xmlns:mw=")
    assert [p.title for p in read_pages(write(text))] == ["A"]


def test_site_is_read_from_the_head(write, page, export):
    site = read_site(write(export(page())))
    assert (site.database, site.language) == ("dewiki", "de")
    assert site.namespaces[6] == "Datei" and site.namespaces[0] == ""
    assert site.link_prefixes(-2, 6, 14) == {"media", "datei", "kategorie"}


def revision(text, timestamp=""):
    stamp = f"<timestamp>{timestamp}</timestamp>" if timestamp else ""
    return f"<revision><id>{len(text)}</id>{stamp}<text>{text}</text></revision>"


@pytest.mark.parametrize(
    ("revisions", "expected"),
    [
        ([("a", "2001-01-01T00:00:00Z"), ("b", "2002-01-01T00:00:00Z")], "b"),
        ([("a", "2002-01-01T00:00:00Z"), ("b", "2001-01-01T00:00:00Z")], "a"),  # not the last
        ([("a", "2001-01-01T00:00:00Z"), ("b", "2001-01-01T00:00:00Z")], "b"),  # the last of equals
        ([("a", "2001-01-01T00:00:00Z"), ("b", "")], "b"),  # without a timestamp the last
        ([("a", "2001-01-01T00:00:00Z"), ("b", "yesterday")], "b"),  # no timestamp either
    ],
)
def test_latest_revision_counts(pages_of, page, revisions, expected):
    whole = page(text="").replace("<revision><id>77</id></revision>", "")
    xml = whole.replace("</page>", "".join(revision(*one) for one in revisions) + "</page>")
    [one] = pages_of(xml)
    assert one.text == expected and one.revision_id == 1


def test_last_revision_counts(pages_of, page):
    old = "<revision><id>1</id><model>css</model><text>old</text></revision>"
    [one] = pages_of(page(extra=old, text="<text>new</text>"))
    assert one.text == "new" and one.model == "wikitext"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"extra": '<redirect title="X" />'}, True),
        ({"text": "<text>#REDIRECT [[X]]</text>"}, True),  # before schema 0.4
        ({"text": "<text> \n#redirect: [[X]]</text>"}, True),
        ({"text": "<text>#redirect is a word</text>"}, False),
        ({"text": "<text>#WEITERLEITUNG [[X]]</text>"}, True),  # the dump is German
        ({"text": "<text>#weiterleitung[[X]]</text>"}, True),
        ({"text": "<text>#REDIRECCI\u00d3N [[X]]</text>"}, False),  # Spanish
        ({"text": "<text>See #REDIRECT [[X]]</text>"}, False),
    ],
)
def test_redirects_are_recognised(pages_of, fields, expected, page):
    assert pages_of(page(**fields))[0].is_redirect == expected


@pytest.mark.parametrize(
    ("title", "ns", "expected"),
    [
        ("A", "<ns>4</ns>", 4),
        ("Datei:A", "<ns>0</ns>", 0),  # the element wins
        ("Datei:A", "", 6),  # before schema 0.5 the title says it
        ("datei :A", "", 6),
        ("2001: A Space Odyssey", "", 0),
        ("A", "", 0),
        ("A", "<ns>x</ns>", 0),
    ],
)
def test_namespace_is_the_elements_or_the_titles(pages_of, title, ns, expected, page):
    assert pages_of(page(title, ns=ns))[0].namespace == expected


@pytest.mark.parametrize(
    "text", ["", '<text deleted="deleted" />', '<text deleted="deleted">x</text>']
)
def test_missing_text_is_none(pages_of, text, page):
    assert pages_of(page(text=text))[0].text is None


def test_empty_text_is_text(pages_of, page):
    assert pages_of(page(text='<text bytes="0" />'))[0].text == ""


def test_content_model_is_kept(pages_of, page):
    assert pages_of(page(model="<model>javascript</model>"))[0].model == "javascript"


def test_other_slots_and_uploads_are_not_the_text(pages_of, page):
    slot = "<content><role>extra</role><model>json</model><text>no</text></content>"
    [one] = pages_of(
        page(text=f"<text>yes</text>{slot}", extra="<upload><text>no</text></upload>")
    )  # schema 0.11 has slots beside the main one
    assert one.text == "yes" and one.model == "wikitext"


def test_ids_of_other_elements_are_not_the_pages(pages_of, page):
    contributor = "<revision><contributor><id>99</id></contributor><text>x</text></revision>"
    assert pages_of(page(page_id="5", extra=contributor))[0].page_id == 5


@pytest.mark.parametrize("page_id", ["", "x", "-3", str(1 << 48), "9" * 5000])
def test_page_without_a_usable_id_has_a_problem(pages_of, page_id, page):
    [bad, good] = pages_of(page(page_id=page_id), page(page_id="8"))
    assert (bad.problem, bad.page_id) == ("bad_id", -1)
    assert (good.problem, good.page_id) == ("", 8)


def test_page_with_bytes_that_are_no_utf8_has_a_problem_and_others_do_not(write, page, export):
    content = export(page("A"), page("B", "2", text="<text>caf~ x</text>"), page("C", "3"))
    path = write(content.encode().replace(b"~", b"\xe9"))
    assert [(p.title, p.problem) for p in read_pages(path)] == [
        ("A", ""),
        ("B", "bad_characters"),
        ("C", ""),
    ]


@pytest.mark.parametrize("bad", [b"\x00", b"\x08", b"\x1f", b"\xef\xbf\xbe", b"\xed\xa0\x80"])
def test_page_with_characters_that_xml_forbids_has_a_problem(write, bad, page, export):
    content = export(page("A~"), page("B", "2")).encode().replace(b"~", bad)
    first, second = read_pages(write(content))
    assert (first.problem, second.problem) == ("bad_characters", "")
    assert first.title.startswith("A\ufffd")


def test_characters_across_blocks_are_whole(write, monkeypatch, page, export):
    monkeypatch.setattr("prep.dumps.units.PLAIN_BYTES", 7)
    text = "\u00e9\u4e2d\U0001f600" * 50
    [one] = read_pages(write(export(page(text=f"<text>{text}</text>"))))
    assert one.text == text and not one.problem


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_other_encodings_are_recognised(write, encoding, page, export):
    [one] = read_pages(write(export(page("\u00e9\u4e2d")).encode(encoding)))
    assert one.title == "\u00e9\u4e2d" and not one.problem


def test_declared_encoding_is_used_or_refused(write, page, export):
    content = '<?xml version="1.0" encoding="ISO-8859-1"?>' + export(page("caf~"))
    path = write(content.encode().replace(b"~", b"\xe9"))
    assert next(read_pages(path)).title == "caf\u00e9"
    path = write(content.replace("ISO-8859-1", "EBCDIC-X"))
    with pytest.raises(LimbeckError, match="encoding 'ebcdic-x'; convert it to UTF-8"):
        list(read_pages(path))


def test_oversized_text_is_a_problem_of_its_page(pages_of, monkeypatch, page):
    monkeypatch.setattr(mediawiki, "MAX_PAGE_CHARACTERS", 1000)
    long = "<text>" + "x" * 1001 + "</text>"
    first, second = pages_of(page("A", text=long), page("B", "2"))
    assert (first.problem, second.problem) == ("too_large", "")
    assert second.text == "Hi."


@pytest.mark.parametrize("pack", [bz2.compress, gzip.compress, lzma.compress, bytes])
def test_packed_files_are_recognised_by_their_bytes(write, pack, page, export):
    path = write(pack(export(page("A")).encode()), "no-extension")
    assert [p.title for p in read_pages(path)] == ["A"]


def test_multistream_bz2_is_read_to_its_end(write, page, export):
    parts = export(page("A"), page("B"), page("C")).encode().split(b"\n")
    path = write(b"".join(bz2.compress(part + b"\n") for part in parts))
    assert [p.title for p in read_pages(path)] == ["A", "B", "C"]


def test_missing_file_and_directory_are_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(read_pages(str(tmp_path / "nothing.xml")))
    with pytest.raises(IsADirectoryError):
        list(read_pages(str(tmp_path)))


@pytest.mark.parametrize("num_pages", [100, 1500])
def test_memory_does_not_grow_with_the_dump(write, num_pages, page, export):
    body = "<text>" + "word " * 800 + "</text>"
    path = write(
        bz2.compress(export(*(page(str(n), str(n), text=body) for n in range(num_pages))).encode())
    )
    tracemalloc.start()
    count = sum(1 for _ in read_pages(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == num_pages
    assert peak < 6 << 20
