"""A PyTorch loop with a live teacher, in the style of Distil*, in a process of its own.

Per step: the student's forward pass with dropout, the teacher's without gradients, KL at a
temperature over the masked positions, cross-entropy to the true tokens, backward, clipping, AdamW.
`whole` runs both heads at every token and picks the masked positions out of the logits, as such
loops are written; `masked` runs them at the masked positions only, which is the best that this
approach can do. Batches are in memory already.
"""

import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from bench._train_work import TEMPERATURE, Sizes

__all__ = ["TorchLoop"]

KINDS = ("whole", "masked")


class TorchLoop:
    """The process; it idles while others are measured.

    Args:
      sizes: of examples and models.
      ratios: of the teachers' FLOPs to the student's.
      threads: of PyTorch.
    """

    def __init__(self, sizes: Sizes, ratios: tuple[float, ...], *, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (sizes, ratios, threads, theirs)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def steps(self, kind: str, ratio: float, times: int) -> tuple[float, float]:
        """Makes so many updates of a loop; wall and CPU seconds."""
        self._pipe.send((kind, ratio, times))
        wall_s, cpu_s = self._pipe.recv()
        return wall_s, cpu_s

    def close(self) -> None:
        """Lets the process go."""
        self._pipe.send(None)
        self._process.join()


def _serve(sizes: Sizes, ratios: tuple[float, ...], threads: int, pipe: Connection) -> None:
    # Threads that spin at each other's barriers take five times the CPU on a shared machine.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    batch = _batch(sizes)
    student = _model(sizes, sizes.student.num_layers, sizes.student_dim).train()
    teachers = {r: _model(sizes, sizes.teacher(r).num_layers, sizes.teacher_dim) for r in ratios}
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-4)
    step = {
        (k, r): _step(k, student, t, optimizer, batch) for r, t in teachers.items() for k in KINDS
    }
    while (order := pipe.recv()) is not None:
        kind, ratio, times = order
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        for _ in range(times):
            step[kind, ratio]()
        pipe.send((time.perf_counter() - wall_s, time.process_time() - cpu_s))


def _model(sizes: Sizes, num_layers: int, hidden_dim: int) -> Any:
    import transformers

    shape = sizes.shape(num_layers, hidden_dim)
    config = transformers.BertConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_dim,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_dim,
        max_position_embeddings=shape.max_positions,
    )
    return transformers.BertForMaskedLM(config).eval()


def _batch(sizes: Sizes) -> dict[str, Any]:
    import torch

    rng = np.random.default_rng(0)
    b, s, p = sizes.batch, sizes.length, sizes.masked
    places = np.sort(np.argsort(rng.random((b, s - 2)), axis=1)[:, :p] + 1, axis=1)
    flat = (np.arange(b)[:, None] * s + places).reshape(-1)
    arrays = {
        "input_ids": rng.integers(1, sizes.vocab_size, (b, s)),
        "token_type_ids": np.repeat((np.arange(s) >= s // 2)[None], b, 0).astype(np.int64),
        "attention_mask": np.ones((b, s), np.int64),
        "flat": flat,
        "true_ids": rng.integers(1, sizes.vocab_size, b * p),
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _step(
    kind: str, student: Any, teacher: Any, optimizer: Any, batch: dict[str, Any]
) -> Callable[[], float]:
    import torch
    from torch.nn import functional

    inputs = {name: batch[name] for name in ("input_ids", "token_type_ids", "attention_mask")}

    def logits(model: Any) -> Any:
        if kind == "whole":
            found = model(**inputs).logits
            return found.reshape(-1, found.shape[-1])[batch["flat"]]
        states = model.bert(**inputs).last_hidden_state
        return model.cls(states.reshape(-1, states.shape[-1])[batch["flat"]])

    def step() -> float:
        ours = logits(student)
        with torch.no_grad():
            theirs = logits(teacher)
        kl = functional.kl_div(
            functional.log_softmax(ours / TEMPERATURE, dim=-1),
            functional.softmax(theirs / TEMPERATURE, dim=-1),
            reduction="batchmean",
        )
        loss = kl * TEMPERATURE**2 + 0.5 * functional.cross_entropy(ours, batch["true_ids"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return step
