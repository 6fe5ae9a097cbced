"""Tokenizers behind one small interface; WordPiece for now. No TensorFlow."""

from limbeck.tokens.folder import load_tokenizer, save_tokenizer
from limbeck.tokens.match import refuse_other_tokenizer
from limbeck.tokens.vocabulary import SPECIAL_TOKENS, read_vocabulary
from limbeck.tokens.wordpiece import WordPiece

__all__ = [
    "SPECIAL_TOKENS",
    "WordPiece",
    "load_tokenizer",
    "read_vocabulary",
    "refuse_other_tokenizer",
    "save_tokenizer",
]
