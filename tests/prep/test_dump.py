import bz2
import gzip
import lzma
import tracemalloc

import pytest

from limbeck.config.errors import LimbeckError
from prep import mediawiki
from prep.dump import read_pages, read_site

NAMESPACES = """<namespaces>
  <namespace key="-2" case="first-letter">Media</namespace>
  <namespace key="0" case="first-letter" />
  <namespace key="4">Wikipedia</namespace>
  <namespace key="6">Datei</namespace>
  <namespace key="14">Kategorie</namespace>
</namespaces>"""
SITE = f"<siteinfo><sitename>W</sitename><dbname>dewiki</dbname>{NAMESPACES}</siteinfo>"
XMLNS = 'xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="de"'


def page(title="T", page_id="1", ns="<ns>0</ns>", text="<text>Hi.</text>", extra="", model=""):
    return (
        f"<page><title>{title}</title>{ns}<id>{page_id}</id>{extra}"
        f"<revision><id>77</id>{model}{text}</revision></page>"
    )


def export(*pages, attributes=XMLNS, site=SITE):
    return f"<mediawiki {attributes}>\n{site}\n" + "\n".join(pages) + "\n</mediawiki>\n"


@pytest.fixture
def write(tmp_path):
    def write(content, name="dump.xml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


@pytest.fixture
def pages_of(write):
    return lambda *pages, **options: list(read_pages(write(export(*pages, **options))))


def test_pages_come_with_everything_that_matters(pages_of):
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
def test_schema_version_does_not_matter(pages_of, attributes):
    assert [p.title for p in pages_of(page("A"), page("B"), attributes=attributes)] == ["A", "B"]


def test_xml_prefix_does_not_matter(write):
    text = export(page("A")).replace("<", "<mw:").replace("<mw:/", "</mw:").replace("<mw:!", "<!")
    text = text.replace("xmlns=", "xmlns:mw=")
    assert [p.title for p in read_pages(write(text))] == ["A"]


def test_site_is_read_from_the_head(write):
    site = read_site(write(export(page())))
    assert (site.database, site.language) == ("dewiki", "de")
    assert site.namespaces[6] == "Datei" and site.namespaces[0] == ""
    assert site.link_prefixes(-2, 6, 14) == {"media", "datei", "kategorie"}


def test_last_revision_counts(pages_of):
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
        ({"text": "<text>See #REDIRECT [[X]]</text>"}, False),
    ],
)
def test_redirects_are_recognised(pages_of, fields, expected):
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
def test_namespace_is_the_elements_or_the_titles(pages_of, title, ns, expected):
    assert pages_of(page(title, ns=ns))[0].namespace == expected


@pytest.mark.parametrize(
    "text", ["", '<text deleted="deleted" />', '<text deleted="deleted">x</text>']
)
def test_missing_text_is_none(pages_of, text):
    assert pages_of(page(text=text))[0].text is None


def test_empty_text_is_text(pages_of):
    assert pages_of(page(text='<text bytes="0" />'))[0].text == ""


def test_content_model_is_kept(pages_of):
    assert pages_of(page(model="<model>javascript</model>"))[0].model == "javascript"


def test_ids_of_other_elements_are_not_the_pages(pages_of):
    contributor = "<revision><contributor><id>99</id></contributor><text>x</text></revision>"
    assert pages_of(page(page_id="5", extra=contributor))[0].page_id == 5


@pytest.mark.parametrize("page_id", ["", "x", "-3", str(1 << 48), "9" * 5000])
def test_page_without_a_usable_id_has_a_problem(pages_of, page_id):
    [bad, good] = pages_of(page(page_id=page_id), page(page_id="8"))
    assert (bad.problem, bad.page_id) == ("bad_id", -1)
    assert (good.problem, good.page_id) == ("", 8)


def test_page_with_bytes_that_are_no_utf8_has_a_problem_and_others_do_not(write):
    content = export(page("A"), page("B", "2", text="<text>caf~ x</text>"), page("C", "3"))
    path = write(content.encode().replace(b"~", b"\xe9"))
    assert [(p.title, p.problem) for p in read_pages(path)] == [
        ("A", ""),
        ("B", "bad_characters"),
        ("C", ""),
    ]


@pytest.mark.parametrize("bad", [b"\x00", b"\x08", b"\x1f", b"\xef\xbf\xbe", b"\xed\xa0\x80"])
def test_page_with_characters_that_xml_forbids_has_a_problem(write, bad):
    content = export(page("A~"), page("B", "2")).encode().replace(b"~", bad)
    first, second = read_pages(write(content))
    assert (first.problem, second.problem) == ("bad_characters", "")
    assert first.title.startswith("A\ufffd")


def test_characters_across_blocks_are_whole(write, monkeypatch):
    monkeypatch.setattr("prep.compressed.BLOCK_BYTES", 7)
    text = "é中\U0001f600" * 50
    [one] = read_pages(write(export(page(text=f"<text>{text}</text>"))))
    assert one.text == text and not one.problem


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_other_encodings_are_recognised(write, encoding):
    [one] = read_pages(write(export(page("é中")).encode(encoding)))
    assert one.title == "é中" and not one.problem


def test_declared_encoding_is_used_or_refused(write):
    content = '<?xml version="1.0" encoding="ISO-8859-1"?>' + export(page("caf~"))
    path = write(content.encode().replace(b"~", b"\xe9"))
    assert next(read_pages(path)).title == "café"
    path = write(content.replace("ISO-8859-1", "EBCDIC-X"))
    with pytest.raises(LimbeckError, match="encoding 'ebcdic-x'; convert it to UTF-8"):
        list(read_pages(path))


def test_oversized_text_is_a_problem_of_its_page(pages_of, monkeypatch):
    monkeypatch.setattr(mediawiki, "MAX_PAGE_CHARACTERS", 1000)
    long = "<text>" + "x" * 1001 + "</text>"
    first, second = pages_of(page("A", text=long), page("B", "2"))
    assert (first.problem, second.problem) == ("too_large", "")
    assert second.text == "Hi."


@pytest.mark.parametrize("pack", [bz2.compress, gzip.compress, lzma.compress, bytes])
def test_packed_files_are_recognised_by_their_bytes(write, pack):
    path = write(pack(export(page("A")).encode()), "no-extension")
    assert [p.title for p in read_pages(path)] == ["A"]


def test_multistream_bz2_is_read_to_its_end(write):
    parts = export(page("A"), page("B"), page("C")).encode().split(b"\n")
    path = write(b"".join(bz2.compress(part + b"\n") for part in parts))
    assert [p.title for p in read_pages(path)] == ["A", "B", "C"]


BOMB = (
    '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)
GOOD = export(page("A"), page("B", "2")).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (bz2.compress(b""), "the file is empty"),
        (b"This is no XML.", "not XML: syntax error at line 1"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not XML: "),
        (b"<html><body/></html>", "not a MediaWiki export: the root element is <html>"),
        (b"   ", "not XML: no element found"),
        (b"<mediawiki></mediawiki>", "without a single page"),
        (GOOD.replace(b"</page>\n</mediawiki>", b""), "cut off after 1 whole pages"),
        (GOOD[: len(GOOD) // 2], "cut off after 0 whole pages"),
        (bz2.compress(GOOD)[:-20], "cut off: its compressed data ends in the middle"),
        (gzip.compress(GOOD)[:-20], "cut off: its compressed data ends in the middle"),
        (lzma.compress(GOOD)[:-20], "cut off: its compressed data ends in the middle"),
        (GOOD.replace(b"</title>", b"</titel>", 1), "damaged XML after 0 whole pages: mismatched"),
        (GOOD.replace(b"Hi.", b"&nope;", 1), "damaged XML after 0 whole pages: undefined entity"),
        (BOMB.encode() + GOOD, "line 1: has a DOCTYPE"),
        (GOOD.replace(b"<ns>", b"<x>" * 100 + b"<ns>"), "nested more than 64 deep"),
        (b"7z\xbc\xaf'\x1c" + bytes(50), "is packed with 7z; unpack it first"),
        (b"(\xb5/\xfd" + bytes(50), "is packed with zstd; unpack it first"),
    ],
)
def test_unusable_file_is_one_clear_error_that_names_it(write, content, message):
    path = write(content)
    with pytest.raises(LimbeckError) as error:
        list(read_pages(path))
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pack", [bz2.compress, gzip.compress, lzma.compress])
def test_flipped_byte_in_packed_data_is_found(write, pack):
    data = bytearray(pack(export(*[page(f"T{n}", str(n)) for n in range(300)]).encode()))
    data[len(data) // 2] ^= 0x40
    with pytest.raises(LimbeckError, match=r"dump\.xml: "):
        list(read_pages(write(bytes(data))))


def test_site_of_a_damaged_file_is_refused_early(write):
    with pytest.raises(LimbeckError, match="root element is <html>"):
        read_site(write(b"<html/>"))
    with pytest.raises(LimbeckError, match="without a single page"):
        read_site(write(b"<mediawiki/>"))


def test_missing_file_and_directory_are_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(read_pages(str(tmp_path / "nothing.xml")))
    with pytest.raises(IsADirectoryError):
        list(read_pages(str(tmp_path)))


@pytest.mark.parametrize("num_pages", [100, 1500])
def test_memory_does_not_grow_with_the_dump(write, num_pages):
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
