"""What `bench.models` has done by each side: one batch, as PyTorch and as ours runs it."""

import itertools
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

__all__ = ["SHAPES", "VOCAB_SIZE", "Batch", "Shape", "Work", "make_batch", "our_work", "torch_work"]

VOCAB_SIZE = 30522
SHAPES: dict[str, dict[str, Any]] = {
    "demo": {"num_layers": 6, "hidden_dim": 384, "num_heads": 12, "intermediate_dim": 1536},
    "base": {"num_layers": 12, "hidden_dim": 768, "num_heads": 12, "intermediate_dim": 3072},
}
DROPOUT = 0.1

Shape = Literal["demo", "base"]
Batch = Mapping[str, np.ndarray]
Work = dict[str, Callable[[], Any]]


def make_batch(rows: int, length: int) -> dict[str, np.ndarray]:
    """Random rows, a fifth of them short, and 15 % masked positions."""
    rng = np.random.default_rng(0)
    lengths = np.where(rng.random(rows) < 0.8, length, rng.integers(length // 2, length + 1, rows))
    mask = np.arange(length) < lengths[:, None]
    places = [np.sort(rng.choice(n, max(1, round(0.15 * n)), replace=False)) for n in lengths]
    return {
        "ids": rng.integers(1000, VOCAB_SIZE, mask.shape) * mask,
        "segments": (np.arange(length) >= lengths[:, None] // 2) * mask,
        "mask": mask,
        "flat": np.concatenate([row * length + place for row, place in enumerate(places)]),
        "true_ids": rng.integers(1000, VOCAB_SIZE, sum(map(len, places))),
    }


def torch_work(directory: str, batch: Batch, *, shape: Shape, threads: int) -> Work:
    """Their side; writes the folder that both read if it is not there."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    sizes = SHAPES[shape]
    if not os.path.isdir(directory):
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=sizes["hidden_dim"],
            num_hidden_layers=sizes["num_layers"],
            num_attention_heads=sizes["num_heads"],
            intermediate_size=sizes["intermediate_dim"],
            hidden_dropout_prob=DROPOUT,
            attention_probs_dropout_prob=DROPOUT,
        )
        transformers.BertForMaskedLM(config).save_pretrained(directory)
    model = transformers.BertForMaskedLM.from_pretrained(directory)
    tensors = {name: torch.from_numpy(v.astype(np.int64)) for name, v in batch.items()}
    inputs = {
        "input_ids": tensors["ids"],
        "token_type_ids": tensors["segments"],
        "attention_mask": tensors["mask"],
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    dim, inner = sizes["hidden_dim"], sizes["intermediate_dim"]
    left, right = torch.randn(batch["ids"].size, dim), torch.randn(dim, inner)

    def logits() -> Any:
        states = model.bert(**inputs).last_hidden_state
        return model.cls(states.reshape(-1, dim)[tensors["flat"]])

    def forward() -> np.ndarray:
        model.eval()
        with torch.inference_mode():
            return logits().numpy()

    def whole_head() -> np.ndarray:
        model.eval()
        with torch.inference_mode():
            return model(**inputs).logits.numpy()

    def step() -> float:
        model.train()
        loss = torch.nn.functional.cross_entropy(logits(), tensors["true_ids"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    def product() -> None:
        with torch.inference_mode():
            torch.mm(left, right)

    return {"forward": forward, "step": step, "product": product, "whole_head": whole_head}


def our_work(directory: str, batch: Batch, *, shape: Shape, threads: int, jit: bool) -> Work:
    """Our side."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from limbeck.models.dropout import DropoutKeys
    from limbeck.weights.hf import load_masked_lm
    from train.recipe import Optimizer
    from train.updates.optimizers import AdamFamily

    model, _ = load_masked_lm(directory)
    tensors = {name: tf.constant(v.astype(np.int32)) for name, v in batch.items()}
    rows = batch["ids"].shape[0]
    keys = tf.constant(np.random.default_rng(1).integers(0, 2**31, (rows, 4)).astype(np.int32))
    variables = model.trainable_variables
    named = {variable.path: variable for variable in variables}
    optimizer = AdamFamily(Optimizer(learning_rate=1e-5), named)
    dim, inner = SHAPES[shape]["hidden_dim"], SHAPES[shape]["intermediate_dim"]
    left, right = tf.random.normal([batch["ids"].size, dim]), tf.random.normal([dim, inner])
    steps = itertools.count()

    def logits(dropout: DropoutKeys | None = None) -> Any:
        states = model.encode(
            tensors["ids"], tensors["segments"], tensors["mask"], dropout=dropout
        ).last
        return model.logits(tf.gather(tf.reshape(states, [-1, dim]), tensors["flat"]))

    @tf.function(jit_compile=jit or None, autograph=False)
    def forward() -> Any:
        return logits()

    @tf.function(jit_compile=jit or None, autograph=False)
    def gradients(step: Any) -> Any:
        with tf.GradientTape() as tape:
            found = logits(DropoutKeys(seed=tf.constant(1), step=step, row_keys=keys))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tensors["true_ids"], found)
            loss = tf.reduce_mean(losses)
        found = tape.gradient(loss, [v.value for v in variables])
        return loss, [tf.convert_to_tensor(gradient) for gradient in found]

    @tf.function(autograph=False, jit_compile=True)
    def update(grads: Any) -> None:
        optimizer.apply(grads, 1e-5)

    def step() -> float:
        loss, grads = gradients(tf.constant(next(steps), tf.int32))
        update(grads)
        return float(loss)

    @tf.function(autograph=False)
    def multiply(a: Any, b: Any) -> Any:
        return tf.matmul(a, b)

    return {
        "forward": lambda: forward().numpy(),
        "step": step,
        "product": lambda: multiply(left, right),
    }
