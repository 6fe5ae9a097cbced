"""Wikitext -> prose paragraphs under their headings.

Kept: running text, the visible part of links, the content of style tags and of block quotes, and
what the templates show that only format a piece of a sentence (`prep.wikitext.templates`). Dropped:
all other templates, tables, references, files and images, categories and interlanguage links,
mathematics and other islands in a notation of their own, source code, bare addresses, and comments.
Headings are not prose either, but are kept beside it. Each item of a list is a paragraph, as in the
published Wikipedia data sets; BERT itself left lists out (Devlin et al. 2019, section 3.1), which
is an option.

The scanner is ours: one pass with a stack over what nests (`islands`), then linear substitutions
(`links`, `inline`), then lines (`sections`). Nothing recurses and no pattern can backtrack over
more than a bounded stretch, so the time is linear in the length of any page.
"""

from prep.wikitext.sections import Section, parse_sections

__all__ = ["CLEANER", "Section", "parse_sections"]

_RULES_VERSION = 2  # raise it with every change of this package that changes any text
CLEANER = f"limbeck-wikitext {_RULES_VERSION}"
"""Name and version of the rules; part of what a dataset's content depends on."""
