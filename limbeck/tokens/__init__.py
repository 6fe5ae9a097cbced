"""Tokenizers behind one small interface: WordPiece, BPE, SentencePiece. No TensorFlow."""

from limbeck.tokens.byte_bpe import ByteBPE
from limbeck.tokens.folder import holds_tokenizer, load_tokenizer, save_tokenizer
from limbeck.tokens.match import refuse_other_tokenizer
from limbeck.tokens.sentence_piece import SentencePiece
from limbeck.tokens.tokenizer import SpecialIds, Tokenizer
from limbeck.tokens.tokenizer_file import TokenizerFile
from limbeck.tokens.vocabulary import SPECIAL_TOKENS, read_vocabulary
from limbeck.tokens.wordpiece import WordPiece

__all__ = [
    "SPECIAL_TOKENS",
    "ByteBPE",
    "SentencePiece",
    "SpecialIds",
    "Tokenizer",
    "TokenizerFile",
    "WordPiece",
    "holds_tokenizer",
    "load_tokenizer",
    "read_vocabulary",
    "refuse_other_tokenizer",
    "save_tokenizer",
]
