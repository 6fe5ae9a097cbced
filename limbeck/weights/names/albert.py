"""ALBERT's names: one layer's weights, applied again and again (Lan et al., 2020)."""

from limbeck.weights.names.bert import BERT
from limbeck.weights.names.table import NameTable

__all__ = ["ALBERT"]

_LAYER = "encoder.albert_layer_groups.{i}.albert_layers.0"
_TENSORFLOW_LAYER = "bert/encoder/transformer/group_{i}/inner_group_0"

_MASKED_LM = {
    "head/transform": "predictions.dense",
    "head/norm": "predictions.LayerNorm",
    "head/output_bias": "predictions.bias",
}
_SENTENCE_ORDER = {"next_sentence": "sop_classifier.classifier"}

ALBERT = NameTable(
    family="albert",
    prefix="albert.",
    body={
        "encoder/embeddings/token": "embeddings.word_embeddings.weight",
        "encoder/embeddings/position": "embeddings.position_embeddings.weight",
        "encoder/embeddings/segment": "embeddings.token_type_embeddings.weight",
        "encoder/embeddings/norm": "embeddings.LayerNorm",
        "encoder/embeddings/projection": "encoder.embedding_hidden_mapping_in",
        "encoder/layer_{i}/attention/query": f"{_LAYER}.attention.query",
        "encoder/layer_{i}/attention/key": f"{_LAYER}.attention.key",
        "encoder/layer_{i}/attention/value": f"{_LAYER}.attention.value",
        "encoder/layer_{i}/attention/output": f"{_LAYER}.attention.dense",
        "encoder/layer_{i}/attention_norm": f"{_LAYER}.attention.LayerNorm",
        "encoder/layer_{i}/feed_forward/inner": f"{_LAYER}.ffn",
        "encoder/layer_{i}/feed_forward/outer": f"{_LAYER}.ffn_output",
        "encoder/layer_{i}/feed_forward_norm": f"{_LAYER}.full_layer_layer_norm",
        "pooler": "pooler",
    },
    heads={
        "masked_lm": _MASKED_LM,
        "next_sentence": _SENTENCE_ORDER,
        "pretraining": {**_MASKED_LM, **_SENTENCE_ORDER},
        "classifier": {"classifier": "classifier"},
        "token_classifier": {"classifier": "classifier"},
        "question_answering": {"span": "qa_outputs"},
    },
    tied={
        "predictions.decoder.weight": "embeddings.word_embeddings.weight",
        "predictions.decoder.bias": "predictions.bias",
    },
    constants=BERT.constants,
    tensorflow={
        "encoder/embeddings/token": "bert/embeddings/word_embeddings",
        "encoder/embeddings/position": "bert/embeddings/position_embeddings",
        "encoder/embeddings/segment": "bert/embeddings/token_type_embeddings",
        "encoder/embeddings/norm": "bert/embeddings/LayerNorm",
        "encoder/embeddings/projection": "bert/encoder/embedding_hidden_mapping_in",
        "encoder/layer_{i}/attention/query": f"{_TENSORFLOW_LAYER}/attention_1/self/query",
        "encoder/layer_{i}/attention/key": f"{_TENSORFLOW_LAYER}/attention_1/self/key",
        "encoder/layer_{i}/attention/value": f"{_TENSORFLOW_LAYER}/attention_1/self/value",
        "encoder/layer_{i}/attention/output": f"{_TENSORFLOW_LAYER}/attention_1/output/dense",
        "encoder/layer_{i}/attention_norm": f"{_TENSORFLOW_LAYER}/LayerNorm",
        "encoder/layer_{i}/feed_forward/inner": f"{_TENSORFLOW_LAYER}/ffn_1/intermediate/dense",
        "encoder/layer_{i}/feed_forward/outer": (
            f"{_TENSORFLOW_LAYER}/ffn_1/intermediate/output/dense"
        ),
        "encoder/layer_{i}/feed_forward_norm": f"{_TENSORFLOW_LAYER}/LayerNorm_1",
        "pooler": "bert/pooler/dense",
        "head/transform": "cls/predictions/transform/dense",
        "head/norm": "cls/predictions/transform/LayerNorm",
        "head/output_bias": "cls/predictions/output_bias",
        "next_sentence/kernel": "cls/seq_relationship/output_weights",
        "next_sentence/bias": "cls/seq_relationship/output_bias",
    },
)
