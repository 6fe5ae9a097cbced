"""MediaWiki XML exports, read in pieces of any size, each page exactly once.

    source.py    an export and what its head says: packing, encoding, wiki
    reading.py   the pages that begin in a range of an export's bytes
    cutter.py    finds pages in text, and parses each by itself
    units.py     what of a file is read as one: chunks, or blocks of bzip2
    bzip2.py     blocks of bzip2, which begin at any bit
    encoding.py  characters -> UTF-8

An export is cut at the text `<page`, which inside a page's text is always `&lt;page`. (XML also
allows it in comments and CDATA sections; MediaWiki writes neither, and such a page is reported.) So
what a page is does not depend on where reading began.
"""
