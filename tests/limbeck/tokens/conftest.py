"""Small tokenizers of every kind, trained here, and text in many scripts to try them on."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from hypothesis import strategies as st

from limbeck.tokens import load_tokenizer, save_tokenizer
from prep.vocabulary import VocabularySettings, train_vocabulary

SENTENCES = Path(__file__).parents[2] / "prep" / "sentences"

KINDS = ("wordpiece", "wordpiece-cased", "byte-bpe", "unigram", "bpe", "xlm-r", "albert", "file")

# Text that looks like a special token of one kind or another.
FORGERIES = (
    "[CLS] [SEP] [MASK] [PAD] [UNK]",
    "a[MASK]b",
    "<s> </s> <pad> <unk> <mask>",
    "x<s>y</s>",
    "<|endoftext|>",
    "\ufdd00 \ufdd01 \ufdd02 \ufdd03 \ufdd0\uff14",
    "\u2581[MASK]\u2581</s>",
)

NASTY = (
    "",
    " ",
    "\u3000\u2003\t",
    "Hello  world",
    " leading and trailing ",
    "don't we'll I'm 3.14%",
    "caf\u00e9 cafe\u0301 e\u0301\u0327 \u0130I\u0131i",
    "\u1e9e\u00df \u03a3\u03c3\u03c2 \ufb01 \u00bd",
    "\u4e2d\u6587\u3068\u65e5\u672c\u8a9e\ud55c\uad6d\uc5b4 \U00020000",
    "a\u0000b\ufffdc\u0007d\u00ade\u200bf\ufeffg\u2028h\u0085i\x1fj",
    "\U0001f600\U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
    "``quoted'' ''' ```` `'`",
    "x" * 99 + " " + "y" * 101,
    *FORGERIES,
)


def _lines() -> list[str]:
    files = sorted(SENTENCES.glob("*.txt"))
    return [line for file in files for line in file.read_text("utf-8").split("\n") if line]


LINES = _lines()
"""Sentences in eleven languages."""


def texts() -> Any:
    """Any text that can be in a file, and pieces of forged special tokens."""
    chars = st.characters(blacklist_categories=("Cs",))
    part = st.one_of(st.text(chars, max_size=20), st.sampled_from([*NASTY, *LINES]))
    return st.lists(part, max_size=4).map("".join)


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: Any) -> Callable[[str], Path]:
    """Returns a function: kind -> a folder with a small tokenizer of that kind."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("tokenizers") / kind
            made[kind].mkdir()
            _write(kind, made[kind], folder, str(tmp_path_factory.mktemp("work")))
        return made[kind]

    return folder


def _write(kind: str, path: Path, folder: Callable[[str], Path], work: str) -> None:
    if kind == "file":
        _write_file(path)
        return
    if kind in ("xlm-r", "albert"):
        _write_convention(kind, path)
        return
    base = kind.removesuffix("-cased")
    settings = VocabularySettings(
        kind=base,  # type: ignore[arg-type]
        vocab_size=820 if base == "unigram" else 880,
        lower_case=base == kind and base != "byte-bpe",
        **({} if base == "byte-bpe" else {"character_coverage": 0.98}),
    )
    save_tokenizer(train_vocabulary(LINES, settings=settings, directory=work), path)


_SPM_OPTIONS = {
    "model_type": "unigram",
    "vocab_size": 800,
    "character_coverage": 0.98,
    "num_threads": 1,
    "minloglevel": 3,
}


def spm_model(**options: Any) -> bytes:
    """Trains a SentencePiece model with the ids that the library itself would choose."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(LINES),
        model_writer=model,
        **{**_SPM_OPTIONS, **options},
    )
    return model.getvalue()


def _write_convention(kind: str, path: Path) -> None:
    if kind == "xlm-r":
        (path / "sentencepiece.bpe.model").write_bytes(spm_model())
        config: dict[str, Any] = {"tokenizer_class": "XLMRobertaTokenizer"}
    else:
        options = {
            "pad_id": 0,
            "unk_id": 1,
            "bos_id": -1,
            "eos_id": -1,
            "control_symbols": "[CLS],[SEP]",
            "user_defined_symbols": "[MASK]",
        }
        (path / "spiece.model").write_bytes(spm_model(**options))
        roles = {"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "pad": "<pad>", "unk": "<unk>"}
        config = {"tokenizer_class": "AlbertTokenizer"}
        config |= {f"{role}_token": token for role, token in roles.items()}
    (path / "tokenizer_config.json").write_text(json.dumps(config))


def _write_file(path: Path) -> None:
    """A unigram model in the library's own file, as XLM-R's is: special tokens are pieces too."""
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    engine = tokenizers.Tokenizer(models.Unigram())
    engine.normalizer = normalizers.NFKC()
    engine.pre_tokenizer = pre_tokenizers.Metaspace()
    engine.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=800,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        unk_token="<unk>",
        show_progress=False,
    )
    engine.train_from_iterator(LINES, trainer)
    engine.add_tokens(["Wolpertinger"])
    engine.save(str(path / "tokenizer.json"))


@pytest.fixture(params=KINDS)
def any_tokenizer(request: Any, tokenizer_folder: Callable[[str], Path]) -> Any:
    """A small tokenizer of each kind in turn."""
    return load_tokenizer(tokenizer_folder(request.param))
