"""However an export is cut into ranges, each page is read once and the pages are the same."""

import bz2
import gzip
import lzma
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.config.errors import LimbeckError
from prep.dumps import reading, units
from prep.dumps.cutter import Lost

# What a page's text is made of: tags as text, entities, characters of one to four bytes.
WORDS = [
    "word",
    "&lt;page&gt;",
    "&lt;/page>",
    "&#60;page&#x3e;",
    "&amp;amp;",
    "page>",
    "\n",
    " ",
    "'''",
    "\u00e9",
    "\u4e2d\u6587",
    "\U0001f600",
    "\u7000\u7061\u6100\u6761\u6500",  # in UTF-16 its bytes look like the letters of `page`
    "{{a|b}}",
]
texts = st.lists(st.sampled_from(WORDS), max_size=30).map("".join)


@st.composite
def page(draw, number):
    revisions = ""
    for _ in range(draw(st.integers(1, 3))):
        stamp = f"2001-01-0{draw(st.integers(1, 3))}T00:00:00Z"
        text = draw(
            st.one_of(
                texts.map("<text>{}</text>".format),
                st.sampled_from(["", "<text/>", "<text deleted='deleted'/>"]),
            )
        )
        revisions += f"<revision><timestamp>{stamp}</timestamp>{text}</revision>"
    title = draw(st.sampled_from(["A", "B &amp; C", "\u00e9\u4e2d", "page"]))
    start = draw(st.sampled_from(["<page>", "<page >", "<page\n>"]))
    end = draw(st.sampled_from(["</page>", "</page >", "</page>\n\n  "]))
    return f"{start}<title>{title}</title><id>{number}</id>{revisions}{end}"


@st.composite
def contents(draw):
    """A whole export as text."""
    pages = [draw(page(number)) for number in range(draw(st.integers(1, 6)))]
    between = draw(st.sampled_from(["", "\n", "\n  "]))
    head = '<mediawiki xml:lang="en"><siteinfo><dbname>x</dbname></siteinfo>'
    return head + between + between.join(pages) + between + "</mediawiki>" + between


@st.composite
def pieces(draw, data):
    """Data in pieces, as blocks or streams of bzip2 hold it."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=8))
    edges = sorted({0, *cuts, len(data)})
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False)]


@st.composite
def partitions(draw, size):
    """Where a file of so many bytes is cut: anywhere, or everywhere."""
    step = draw(st.sampled_from([0, 1, 2, 3, 7, 50]))
    return range(0, size, step) if step else draw(st.lists(st.integers(0, size), max_size=8))


def plain_view(items):
    return [(item.page_id, item.title, item.text) for item in items]


@settings(deadline=None)
@given(
    data=st.data(), content=contents(), streams=st.booleans(), piece=st.sampled_from([1, 5, 999])
)
def test_bzip2_in_any_ranges(data, content, streams, piece, read, slow_pages, packed):
    parts = data.draw(pieces(content.encode()))
    whole = (packed.many_streams if streams else packed.one_stream)(parts)
    expected = read(whole)
    assert plain_view(expected) == slow_pages(content.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_PIECE_BYTES", piece)
        assert read(whole, data.draw(partitions(len(whole)))) == expected


@settings(deadline=None)
@given(
    data=st.data(),
    content=contents(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]),
    unit=st.sampled_from([2, 4, 10, 64, 4096]),
    piece=st.sampled_from([1, 2, 5, 999]),
)
def test_plain_text_in_any_ranges(data, content, encoding, unit, piece, read, slow_pages):
    whole = content.encode(encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "PLAIN_BYTES", unit)
        patch.setattr(reading, "_PIECE_BYTES", piece)
        found = read(whole, data.draw(partitions(len(whole))))
        assert found == read(whole)
    assert plain_view(found) == slow_pages(content.encode())


@settings(deadline=None)
@given(
    data=st.data(),
    content=contents(),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
    pack=st.sampled_from([gzip.compress, lzma.compress, bz2.compress]),
)
def test_other_packings_in_any_ranges(data, content, encoding, pack, read, slow_pages):
    whole = pack(content.encode(encoding))
    found = read(whole, data.draw(partitions(len(whole))))
    assert plain_view(found) == slow_pages(content.encode())


def outcome(read, *arguments):
    """What reading gives, or which file it refuses."""
    try:
        return read(*arguments)
    except LimbeckError as error:
        return re.sub(r"page \d+ .*;", "page;", str(error))


@settings(deadline=None, max_examples=200)
@given(
    data=st.data(),
    content=contents(),
    streams=st.booleans(),
    flips=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3),
)
def test_damaged_bzip2_in_any_ranges(data, content, streams, flips, read, packed):
    parts = data.draw(pieces(content.encode()))
    damaged = bytearray((packed.many_streams if streams else packed.one_stream)(parts))
    sound = {page.page_id: page for page in read(bytes(damaged))}
    for flip in flips:
        bit = int(flip * len(damaged) * 8)
        damaged[bit // 8] ^= 1 << bit % 8
    expected = outcome(read, bytes(damaged))
    assert outcome(read, bytes(damaged), data.draw(partitions(len(damaged)))) == expected
    if isinstance(expected, list):
        pages = [item for item in expected if not isinstance(item, Lost) and not item.problem]
        for page in pages:  # what is read is right: a CRC stands for it
            whole = sound[page.page_id]
            assert (page.title, page.text) == (whole.title, whole.text)
        ids = [page.page_id for page in pages]
        assert len(ids) == len(set(ids))
        lost = [item for item in expected if isinstance(item, Lost) or item.problem]
        assert lost or len(pages) == len(sound), "pages are missing and nothing says so"


@settings(deadline=None, max_examples=200)
@given(
    data=st.data(),
    content=contents(),
    flips=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3),
    unit=st.sampled_from([2, 10, 4096]),
)
def test_damaged_plain_text_in_any_ranges(data, content, flips, unit, read):
    damaged = bytearray(content.encode())
    for flip in flips:
        bit = int(flip * len(damaged) * 8)
        damaged[bit // 8] ^= 1 << bit % 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "PLAIN_BYTES", unit)
        expected = outcome(read, bytes(damaged))
        assert outcome(read, bytes(damaged), data.draw(partitions(len(damaged)))) == expected
