"""BERT's names, in transformers and in Google's checkpoints (Devlin et al., 2019)."""

from limbeck.weights.names.table import NameTable

__all__ = ["ATTENTION", "BERT", "CONSTANTS", "LAYER_NORMS", "TENSORFLOW_BODY"]

LAYER_NORMS = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))
"""How checkpoints that were converted from TensorFlow spell a norm."""

CONSTANTS = {
    r"embeddings\.position_ids": "a constant, 0 to the last position",
    r"embeddings\.token_type_ids": "a constant, zeros",
}

ATTENTION = {
    "encoder/layer_{i}/attention/query": "encoder.layer.{i}.attention.self.query",
    "encoder/layer_{i}/attention/key": "encoder.layer.{i}.attention.self.key",
    "encoder/layer_{i}/attention/value": "encoder.layer.{i}.attention.self.value",
    "encoder/layer_{i}/attention/output": "encoder.layer.{i}.attention.output.dense",
    "encoder/layer_{i}/feed_forward/inner": "encoder.layer.{i}.intermediate.dense",
    "encoder/layer_{i}/feed_forward/outer": "encoder.layer.{i}.output.dense",
}

_MASKED_LM = {
    "head/transform": "cls.predictions.transform.dense",
    "head/norm": "cls.predictions.transform.LayerNorm",
    "head/output_bias": "cls.predictions.bias",
}
_NEXT_SENTENCE = {"next_sentence": "cls.seq_relationship"}

TENSORFLOW_BODY = {
    "encoder/embeddings/token": "bert/embeddings/word_embeddings",
    "encoder/embeddings/position": "bert/embeddings/position_embeddings",
    "encoder/embeddings/segment": "bert/embeddings/token_type_embeddings",
    "encoder/embeddings/norm": "bert/embeddings/LayerNorm",
    "encoder/layer_{i}/attention/query": "bert/encoder/layer_{i}/attention/self/query",
    "encoder/layer_{i}/attention/key": "bert/encoder/layer_{i}/attention/self/key",
    "encoder/layer_{i}/attention/value": "bert/encoder/layer_{i}/attention/self/value",
    "encoder/layer_{i}/attention/output": "bert/encoder/layer_{i}/attention/output/dense",
    "encoder/layer_{i}/attention_norm": "bert/encoder/layer_{i}/attention/output/LayerNorm",
    "encoder/layer_{i}/feed_forward/inner": "bert/encoder/layer_{i}/intermediate/dense",
    "encoder/layer_{i}/feed_forward/outer": "bert/encoder/layer_{i}/output/dense",
    "encoder/layer_{i}/feed_forward_norm": "bert/encoder/layer_{i}/output/LayerNorm",
    "pooler": "bert/pooler/dense",
}

BERT = NameTable(
    family="bert",
    prefix="bert.",
    body={
        "encoder/embeddings/token": "embeddings.word_embeddings.weight",
        "encoder/embeddings/position": "embeddings.position_embeddings.weight",
        "encoder/embeddings/segment": "embeddings.token_type_embeddings.weight",
        "encoder/embeddings/norm": "embeddings.LayerNorm",
        **ATTENTION,
        "encoder/layer_{i}/attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
        "encoder/layer_{i}/feed_forward_norm": "encoder.layer.{i}.output.LayerNorm",
        "pooler": "pooler.dense",
    },
    heads={
        "masked_lm": _MASKED_LM,
        "next_sentence": _NEXT_SENTENCE,
        "pretraining": {**_MASKED_LM, **_NEXT_SENTENCE},
        "classifier": {"classifier": "classifier"},
        "token_classifier": {"classifier": "classifier"},
        "question_answering": {"span": "qa_outputs"},
    },
    tied={
        "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    constants=CONSTANTS,
    spellings=LAYER_NORMS,
    tensorflow={
        **TENSORFLOW_BODY,
        "head/transform": "cls/predictions/transform/dense",
        "head/norm": "cls/predictions/transform/LayerNorm",
        "head/output_bias": "cls/predictions/output_bias",
        "next_sentence/kernel": "cls/seq_relationship/output_weights",
        "next_sentence/bias": "cls/seq_relationship/output_bias",
        "classifier/kernel": "output_weights",
        "classifier/bias": "output_bias",
        "span/kernel": "cls/squad/output_weights",
        "span/bias": "cls/squad/output_bias",
    },
)
