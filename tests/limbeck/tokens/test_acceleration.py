"""The accelerated WordPiece gives the ids of the plain one, on everything there is to try."""

import json
import sys
import types

import pytest
from hypothesis import given, settings

from launch.data import data_dir
from limbeck.tokens import WordPiece
from limbeck.tokens.acceleration import PROBES

from .conftest import LINES, NASTY, texts  # isort: skip


@pytest.fixture(params=["wordpiece", "wordpiece-cased", "accents", "real"])
def both(request, tokenizer_folder):
    """A plain and an accelerated WordPiece of the same vocabulary and settings."""
    pytest.importorskip("nanotoken", reason="the accelerator is optional")
    options = {"lower_case": request.param != "wordpiece-cased"}
    if request.param == "real":
        vocab = data_dir() / "all-minilm-l6-v2" / "vocab.txt"
        if not vocab.exists():
            pytest.skip("run `make setup` to fetch the real vocabulary")
    else:
        kind = request.param.replace("accents", "wordpiece")
        vocab = tokenizer_folder(kind) / "vocab.txt"
    if request.param == "accents":
        options |= {"strip_accents": False, "split_chinese": False}
    plain = WordPiece(vocab, **options, accelerate=False)
    fast = WordPiece(vocab, **options)
    assert fast._accelerated is not None and plain._accelerated is None
    return plain, fast


def test_ids_are_equal_on_text_in_many_scripts(both):
    plain, fast = both
    ranges = [range(0x20, 0xD800), range(0xE000, 0x11000), range(0x11000, 0x110000, 17)]
    blocks = [
        " ".join(map(chr, numbers[begin : begin + 200]))
        for numbers in ranges
        for begin in range(0, len(numbers), 200)
    ]
    for batch in ([*NASTY, *LINES, *PROBES], blocks, ["".join(LINES)]):
        assert fast.encode(batch) == plain.encode(batch)


def test_ids_are_equal_on_any_text(both):
    plain, fast = both

    @settings(max_examples=150, deadline=None)
    @given(texts())
    def equal(text):
        assert fast.encode([text]) == plain.encode([text])

    equal()


def test_fingerprint_does_not_tell_which_one_it_was(both):
    plain, fast = both
    assert plain.fingerprint() == fast.fingerprint()
    assert plain.info() == fast.info() and plain.files() == fast.files()


def test_accelerator_that_differs_is_not_used(tokenizer_folder, monkeypatch):
    class Wrong:
        def encode_batch_list(self, texts, **options):
            return [[1] for _ in texts]

    module = types.SimpleNamespace(
        set_cache_entries=lambda entries: None,
        Tokenizer=types.SimpleNamespace(from_json=lambda text: json.loads(text) and Wrong()),
    )
    monkeypatch.setitem(sys.modules, "nanotoken", module)
    vocab = tokenizer_folder("wordpiece") / "vocab.txt"
    assert WordPiece(vocab)._accelerated is None


@pytest.mark.parametrize("broken", [None, types.SimpleNamespace()])
def test_without_the_package_or_with_a_strange_one_the_engine_runs(
    tokenizer_folder, monkeypatch, broken
):
    monkeypatch.setitem(sys.modules, "nanotoken", broken)
    tokenizer = WordPiece(tokenizer_folder("wordpiece") / "vocab.txt")
    assert tokenizer._accelerated is None and tokenizer.encode(["the river"])[0]
