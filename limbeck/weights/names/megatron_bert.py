"""MegatronBERT's names: BERT with its norms before the blocks (Shoeybi et al., 2019)."""

from limbeck.weights.names.bert import ATTENTION, BERT
from limbeck.weights.names.table import NameTable

__all__ = ["MEGATRON_BERT"]

MEGATRON_BERT = NameTable(
    family="megatron-bert",
    prefix="bert.",
    body={
        "encoder/embeddings/token": "embeddings.word_embeddings.weight",
        "encoder/embeddings/position": "embeddings.position_embeddings.weight",
        "encoder/embeddings/segment": "embeddings.token_type_embeddings.weight",
        **ATTENTION,
        "encoder/layer_{i}/attention_norm": "encoder.layer.{i}.attention.ln",
        "encoder/layer_{i}/feed_forward_norm": "encoder.layer.{i}.ln",
        "encoder/final_norm": "encoder.ln",
        "pooler": "pooler.dense",
    },
    heads=BERT.heads,
    tied=BERT.tied,
    constants=BERT.constants,
    spellings=BERT.spellings,
)
