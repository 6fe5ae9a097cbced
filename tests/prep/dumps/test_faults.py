"""Files that are not what they should be: one clear error, or a named loss and the rest."""

import bz2
import gzip
import lzma
import random
import tracemalloc

import pytest

from limbeck.config.errors import LimbeckError
from prep import mediawiki
from prep.dumps.cutter import Lost

BOMB = (
    '<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)
CUT = "cut off: its compressed data ends in the middle"
NO_END = "its end tag </mediawiki> is missing"


@pytest.fixture(scope="module")
def good(xml):
    return xml.export(xml.page("A"), xml.page("B", "2")).encode()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda good: b"", "the file is empty"),
        (lambda good: bz2.compress(b""), "the file is empty"),
        (lambda good: b"This is no XML.", "not XML: syntax error at line 1"),
        (lambda good: b"\x89PNG\r\n\x1a\n" + bytes(100), "not XML: "),
        (lambda good: b"<html><body/></html>", "not a MediaWiki export: the root element is <html"),
        (lambda good: b"   ", "not XML: no element found"),
        (lambda good: b"<mediawiki></mediawiki>", "without a single page"),
        (lambda good: good.replace(b"</page>\n</mediawiki>", b""), NO_END),
        (lambda good: good[: len(good) // 2], "cut off before its first page"),
        (lambda good: good[:-40], NO_END),
        (lambda good: bz2.compress(good[:-13]), NO_END),
        (lambda good: gzip.compress(good[:-40]), "cut off in the middle of page 2 ('B'); fetch"),
        (lambda good: bz2.compress(good)[:-20], CUT),
        (lambda good: bz2.compress(good)[:-8], CUT),
        (lambda good: bz2.compress(good) + bz2.compress(good)[:-20], CUT),
        (lambda good: bz2.compress(good) + b"BZh9", CUT),
        (lambda good: gzip.compress(good)[:-20], CUT),
        (lambda good: lzma.compress(good)[:-20], CUT),
        (lambda good: BOMB.encode() + good, "has a DOCTYPE"),
        (lambda good: b"7z\xbc\xaf'\x1c" + bytes(50), "is packed with 7z; unpack it first"),
        (lambda good: b"(\xb5/\xfd" + bytes(50), "is packed with zstd; unpack it first"),
    ],
)
def test_unusable_file_is_one_clear_error_that_names_it(good, read, damage, message):
    with pytest.raises(LimbeckError) as error:
        read(damage(good))
    assert str(error.value).startswith("dump: ") and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_damage_in_gzip_or_xz_is_an_error(xml, read, pack):
    data = bytearray(pack(xml.export(*(xml.page(f"T{n}", n) for n in range(300))).encode()))
    data[len(data) // 2] ^= 0x40
    with pytest.raises(LimbeckError, match=r"dump: its compressed data is damaged"):
        read(bytes(data))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"<title>B</title>", b"<title>B</titel>", "bad_xml"),
        (b"Hi B", b"Hi &nope;", "bad_xml"),
        (b"Hi B", b"<x>" * 100, "bad_xml"),  # nested more than 64 deep
        (b"B.</text></revision></page>", b"", "bad_xml"),
        (b"<id>2</id>", b"<id>two</id>", "bad_id"),
        (b"Hi B", b"Hi \xe9", "bad_characters"),
        (b"Hi B", b"Hi \x00", "bad_characters"),
    ],
)
def test_bad_page_is_named_and_the_others_are_read(xml, read, old, new, problem):
    pages = [xml.page(t, n, text=f"<text>Hi {t}.</text>") for n, t in enumerate("ABC", start=1)]
    found = read(xml.export(*pages).encode().replace(old, new, 1))
    assert [page.problem for page in found] == ["", problem, ""]
    assert [page.text for page in found[::2]] == ["Hi A.", "Hi C."]


def test_text_between_pages_is_reported(xml, read):
    damaged = xml.export(xml.page("A"), xml.page("B", "2"), xml.page("C", "3")).replace(
        "<page><title>B", "<pagf><title>B"
    )
    first, lost, last = read(damaged.encode())
    assert (first.title, last.title) == ("A", "C")
    assert isinstance(lost, Lost) and lost.reason == "not_a_page" and "<pagf>" in lost.detail


def test_parts_that_were_joined_are_read(xml, read):
    whole = xml.export(xml.page("A")) + xml.export(xml.page("B", "2"))
    assert [page.title for page in read(whole.encode())] == ["A", "B"]


def random_export(xml, num_pages=60, words=300):
    rng = random.Random(5)
    letters = "abcdefghijklmnopqrstuvwxyz"
    pages = []
    for number in range(num_pages):
        text = " ".join("".join(rng.choices(letters, k=7)) for _ in range(words))
        pages.append(xml.page(f"T{number}", number, text=f"<text>{text}</text>"))
    return xml.export(*pages).encode()


@pytest.mark.parametrize("streams", [False, True])
def test_bad_block_in_the_middle_costs_its_pages_only(xml, packed, read, streams):
    content = random_export(xml)
    pieces = [content[at : at + 9000] for at in range(0, len(content), 9000)]
    data = bytearray((packed.many_streams if streams else packed.one_stream)(pieces))
    whole = {page.page_id: page for page in read(bytes(data))}
    data[len(data) // 2] ^= 4
    found = read(bytes(data))
    [lost] = [item for item in found if isinstance(item, Lost)]
    assert lost.reason == "bad_block"
    assert lost.begin <= len(data) // 2 < lost.end and lost.end - lost.begin < 9000
    good = [item for item in found if not isinstance(item, Lost) and not item.problem]
    assert all(whole[page.page_id] == page for page in good)
    [broken] = [item for item in found if getattr(item, "problem", "")]
    assert broken.problem == "bad_block" and broken.page_id in whole
    assert len(good) >= len(whole) - 7
    for cuts in ([lost.begin], [lost.begin + 1], [lost.end - 1], range(0, len(data), 500)):
        assert read(bytes(data), cuts) == found


def test_lost_mark_costs_two_blocks_and_a_lost_stream_begin_is_found(xml, packed, read):
    content = random_export(xml)
    pieces = [content[at : at + 9000] for at in range(0, len(content), 9000)]
    data = bytearray(packed.many_streams(pieces))
    at = data.index(b"BZh9", len(data) // 2) + 5  # within the block's mark
    data[at] ^= 1
    found = read(bytes(data))
    [lost] = [item for item in found if isinstance(item, Lost)]
    assert lost.detail == "a stream of bzip2 whose first block is lost"
    assert lost.begin <= at < lost.end
    for cuts in (range(lost.begin - 20, lost.begin + 20), range(0, len(data), 333)):
        assert read(bytes(data), cuts) == found


def test_page_beyond_the_limit_is_named(xml, read, monkeypatch):
    monkeypatch.setattr(mediawiki, "MAX_PAGE_CHARACTERS", 1000)
    long = "<text>" + "x" * 1001 + "</text>"
    first, second = read(xml.export(xml.page("A", text=long), xml.page("B", "2")).encode())
    assert (first.problem, second.problem) == ("too_large", "")
    assert second.text == "Hi."


@pytest.mark.parametrize("pack", [bytes, bz2.compress])
def test_page_of_50_megabytes_on_one_line_takes_little_memory(xml, tmp_path, pack):
    from prep.dumps.reading import read_pages

    rng = random.Random(1)
    words = " ".join(f"{rng.getrandbits(40):x}" for _ in range(10_000))
    before, after = xml.export(xml.page("A", text="<text>~</text>"), xml.page("B", "2")).split("~")
    path = tmp_path / "long.xml"
    repeats = 50_000_000 // len(words) + 1
    path.write_bytes(pack(before.encode()) + pack(words.encode()) * repeats + pack(after.encode()))
    tracemalloc.start()
    first, second = read_pages(str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (first.problem, first.title, second.problem) == ("too_large", "A", "")
    assert peak < 45 << 20  # 16 Mi characters are kept until it is clear that there are more
