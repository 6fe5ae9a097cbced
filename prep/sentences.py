"""Sentences of a paragraph, by `sentencex` (rules for some 300 languages, Wikimedia's own)."""

import importlib.metadata

import sentencex

__all__ = ["SPLITTER", "split_sentences"]

SPLITTER = f"sentencex {importlib.metadata.version('sentencex')}"
"""Name and version of the splitter; its rules are part of what a dataset's content depends on."""


def split_sentences(paragraph: str, *, language: str) -> list[str]:
    """Splits one paragraph; white space is normalised and empty sentences are left out.

    Args:
      paragraph: prose.
      language: ISO 639 code such as `en`; an unknown one falls back to English rules.
    """
    text = " ".join(paragraph.split())
    parts = (part.strip() for part in sentencex.segment(language, text))
    return [part for part in parts if part]
