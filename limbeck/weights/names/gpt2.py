"""GPT-2's names (Radford et al., 2019): kernels are (input, output), attention's are fused."""

from limbeck.weights.names.table import NameTable

__all__ = ["GPT2"]

GPT2 = NameTable(
    family="gpt2",
    prefix="transformer.",
    body={
        "decoder/embeddings/token": "wte.weight",
        "decoder/embeddings/position": "wpe.weight",
        "decoder/layer_{i}/attention_norm": "h.{i}.ln_1",
        "decoder/layer_{i}/attention/query": "h.{i}.attn.c_attn[0]",
        "decoder/layer_{i}/attention/key": "h.{i}.attn.c_attn[1]",
        "decoder/layer_{i}/attention/value": "h.{i}.attn.c_attn[2]",
        "decoder/layer_{i}/attention/output": "h.{i}.attn.c_proj",
        "decoder/layer_{i}/feed_forward_norm": "h.{i}.ln_2",
        "decoder/layer_{i}/feed_forward/inner": "h.{i}.mlp.c_fc",
        "decoder/layer_{i}/feed_forward/outer": "h.{i}.mlp.c_proj",
        "decoder/final_norm": "ln_f",
    },
    heads={
        "causal_lm": {"head": "lm_head"},
        "classifier": {"classifier": "score"},
        "token_classifier": {"classifier": "classifier"},
        "question_answering": {"span": "qa_outputs"},
    },
    tied={"lm_head.weight": "wte.weight"},
    constants={
        r"h\.\d+\.attn\.bias": "a constant, the causal mask",
        r"h\.\d+\.attn\.masked_bias": "a constant, what masked scores become",
    },
    untransposed="h.",
)
