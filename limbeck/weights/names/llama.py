"""The names of Llama-shaped decoders (Touvron et al., 2023)."""

from limbeck.weights.names.table import NameTable

__all__ = ["LLAMA"]

LLAMA = NameTable(
    family="llama",
    prefix="model.",
    body={
        "decoder/embeddings/token": "embed_tokens.weight",
        "decoder/layer_{i}/attention_norm": "layers.{i}.input_layernorm",
        "decoder/layer_{i}/attention/query": "layers.{i}.self_attn.q_proj",
        "decoder/layer_{i}/attention/key": "layers.{i}.self_attn.k_proj",
        "decoder/layer_{i}/attention/value": "layers.{i}.self_attn.v_proj",
        "decoder/layer_{i}/attention/output": "layers.{i}.self_attn.o_proj",
        "decoder/layer_{i}/feed_forward_norm": "layers.{i}.post_attention_layernorm",
        "decoder/layer_{i}/feed_forward/gate": "layers.{i}.mlp.gate_proj",
        "decoder/layer_{i}/feed_forward/up": "layers.{i}.mlp.up_proj",
        "decoder/layer_{i}/feed_forward/down": "layers.{i}.mlp.down_proj",
        "decoder/final_norm": "norm",
    },
    heads={
        "causal_lm": {"head": "lm_head"},
        "classifier": {"classifier": "score"},
        "token_classifier": {"classifier": "score"},
        "question_answering": {"span": "qa_outputs"},
    },
    tied={"lm_head.weight": "embed_tokens.weight"},
    constants={
        r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq": "a constant, the rotary frequencies",
        r"rotary_emb\.inv_freq": "a constant, the rotary frequencies",
    },
)
