"""Stable names of a model's variables. Kernels are (input, output).

Encoders, for layer i from 0 (layer_0 alone where layers are shared):

    encoder/embeddings/{token,position,segment}, encoder/embeddings/norm/{gamma,beta}
    encoder/embeddings/projection/{kernel,bias}          factorised embeddings
    encoder/layer_i/attention/{query,key,value,output}/{kernel,bias}
    encoder/layer_i/attention_norm/{gamma,beta}
    encoder/layer_i/feed_forward/{inner,outer}/{kernel,bias}
    encoder/layer_i/feed_forward_norm/{gamma,beta}
    encoder/final_norm/{gamma,beta}                      pre-norm, which has no embeddings/norm

Decoders:

    decoder/embeddings/{token,position}
    decoder/layer_i/attention/{query,key,value,output}/{kernel[,bias]}
    decoder/layer_i/attention_norm/{gamma[,beta]}
    decoder/layer_i/feed_forward/{inner,outer}/{kernel,bias} or {gate,up,down}/kernel
    decoder/layer_i/feed_forward_norm/{gamma[,beta]}, decoder/final_norm/{gamma[,beta]}

Heads:

    head/output_bias, head/transform/{kernel,bias}, head/norm/{gamma,beta}    masked LM
    head/kernel                                                               causal LM, not tied
    pooler/{kernel,bias}, next_sentence/{kernel,bias}, span/{kernel,bias}
    classifier/{kernel,bias}, classifier/dense/{kernel,bias} where the family has one
    replaced/dense/{kernel,bias}, replaced/output/{kernel,bias}

A tied decoder's matrix is `encoder/embeddings/token` or `decoder/embeddings/token`, transposed.
"""

import keras

__all__ = ["named_variables"]


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Every variable by its stable name, in the order in which they were made."""
    named = {variable.path.split("/", 1)[1]: variable for variable in model.trainable_variables}
    assert len(named) == len(model.variables)  # names are distinct, nothing else is there
    return named
