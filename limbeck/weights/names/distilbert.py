"""DistilBERT's names (Sanh et al., 2019)."""

from limbeck.weights.names.table import NameTable

__all__ = ["DISTILBERT"]

DISTILBERT = NameTable(
    family="distilbert",
    prefix="distilbert.",
    body={
        "encoder/embeddings/token": "embeddings.word_embeddings.weight",
        "encoder/embeddings/position": "embeddings.position_embeddings.weight",
        "encoder/embeddings/norm": "embeddings.LayerNorm",
        "encoder/layer_{i}/attention/query": "transformer.layer.{i}.attention.q_lin",
        "encoder/layer_{i}/attention/key": "transformer.layer.{i}.attention.k_lin",
        "encoder/layer_{i}/attention/value": "transformer.layer.{i}.attention.v_lin",
        "encoder/layer_{i}/attention/output": "transformer.layer.{i}.attention.out_lin",
        "encoder/layer_{i}/attention_norm": "transformer.layer.{i}.sa_layer_norm",
        "encoder/layer_{i}/feed_forward/inner": "transformer.layer.{i}.ffn.lin1",
        "encoder/layer_{i}/feed_forward/outer": "transformer.layer.{i}.ffn.lin2",
        "encoder/layer_{i}/feed_forward_norm": "transformer.layer.{i}.output_layer_norm",
    },
    heads={
        "masked_lm": {
            "head/transform": "vocab_transform",
            "head/norm": "vocab_layer_norm",
            "head/output_bias": "vocab_projector.bias",
        },
        "classifier": {"classifier/dense": "pre_classifier", "classifier": "classifier"},
        "token_classifier": {"classifier": "classifier"},
        "question_answering": {"span": "qa_outputs"},
    },
    tied={"vocab_projector.weight": "embeddings.word_embeddings.weight"},
    constants={r"embeddings\.position_ids": "a constant, 0 to the last position"},
)
