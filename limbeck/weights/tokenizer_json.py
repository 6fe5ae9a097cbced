"""The `tokenizer.json` of a WordPiece: what transformers and the tokenizers library load."""

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from limbeck.tokens.wordpiece import MAX_WORD_CHARACTERS, WordPiece

__all__ = ["tokenizer_json"]


def tokenizer_json(tokenizer: WordPiece) -> str:
    """Returns the file's text: the tokenizer with [CLS] and [SEP] around what it encodes.

    Unlike `WordPiece`, and as every BERT tokenizer that is shipped, it takes the text "[MASK]" for
    the special token.
    """
    vocabulary = {tokenizer.token(number): number for number in range(tokenizer.vocab_size)}
    engine = tokenizers.Tokenizer(
        models.WordPiece(
            vocabulary, unk_token="[UNK]", max_input_chars_per_word=MAX_WORD_CHARACTERS
        )
    )
    engine.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    engine.normalizer = normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=tokenizer.split_chinese,
        strip_accents=tokenizer.strip_accents,
        lowercase=tokenizer.lower_case,
    )
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", tokenizer.cls_id), ("[SEP]", tokenizer.sep_id)],
    )
    engine.decoder = decoders.WordPiece(prefix="##")
    return engine.to_str(pretty=True) + "\n"
