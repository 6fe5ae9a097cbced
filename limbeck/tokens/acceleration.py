"""WordPiece through `nanotoken`, where that package is there and gives the same ids.

It is several times as fast as the `tokenizers` library and knows WordPiece only. It is optional:
which of the two runs changes no id, so it stands in no fingerprint. Before use it must give the
same ids on `PROBES` with the very vocabulary; a configuration it refuses runs without it.
"""

import importlib
from collections.abc import Callable, Sequence

import tokenizers

__all__ = ["PROBES", "accelerated"]

Encode = Callable[[list[str]], list[list[int]]]

# Entries of its cache of words, a thread; its own default takes up to 130 MiB.
_CACHE_ENTRIES = 1 << 16

PROBES = (
    "",
    " \t\r\n\u00a0\u2003\u3000",
    "The quick brown fox; it's 3.14% (naively) \u2014 na\u00efve, r\u00e9sum\u00e9.",
    "\u00c5ngstr\u00f6m, \u1e68\u1e9b\u0323",
    "e\u0301\u0327 q\u0323\u0307 \u0130I\u0131i \u1e9e\u00df \u03a3\u03c3\u03c2 \u01c5 \ufb01",
    "\u4e2d\u6587\u3068\u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4 \U00020000\U0002a6df\uf900",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u064b\u0651",
    "\U0001f600\U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f \U0001d400 \u00bd \u2460",
    "a\u0000b\ufffdc\u0007d\u00ade\u200bf\ufeffg\u2028h\u2029i\u0085j\u001fk\ue000l\uffffm",
    "[CLS] [MASK][SEP] [unk] ##ing #hash under_score e-mail@example.org http://a.b/c?d=e#f",
    "x" * 99 + " " + "y" * 100 + " " + "z" * 101 + " " + "\u00e9" * 100 + " " + "\u0130" * 51,
    "".join(map(chr, range(0x20, 0x3100, 3))),
    "".join(map(chr, range(0xA000, 0xD7FF, 41))) + "".join(map(chr, range(0xE000, 0x1FFFF, 61))),
)
"""Texts on which both must agree, among them what made other tokenizers differ."""


def accelerated(engine: tokenizers.Tokenizer) -> Encode | None:
    """Returns what encodes texts as a WordPiece engine does, only faster; None where nothing does.

    Args:
      engine: without added tokens and post-processor.
    """
    try:
        nanotoken = importlib.import_module("nanotoken")
        nanotoken.set_cache_entries(_CACHE_ENTRIES)
        fast = nanotoken.Tokenizer.from_json(engine.to_str())
    except ImportError:
        return None
    except Exception:  # whatever another version of it refuses: we have the engine
        return None

    def encode(texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = fast.encode_batch_list(
            texts, add_special_tokens=False, parallel=False
        )
        return ids

    expected = [e.ids for e in engine.encode_batch_fast(list(PROBES), add_special_tokens=False)]
    return encode if encode(list(PROBES)) == expected else None
