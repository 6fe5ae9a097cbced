"""Losses on labels and their gradients, through loaded folders, against transformers in PyTorch."""

import numpy as np
import pytest
import tensorflow as tf

from limbeck.models.names import named_variables
from limbeck.weights.heads import head_of
from limbeck.weights.names import table_of
from tests.train.conftest import V
from tests.train.kinds import task_rows
from train.evaluation.models import open_model
from train.objective import bind
from train.reading.batch import count_items, cut
from train.recipe import make_term
from train.step import to_tensors
from train.students.forward import forward
from train.students.student import Student

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

M, T = 6, 16
SIZES = {
    "vocab_size": V,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": T,
    "initializer_range": 0.4,
}


def bert(cls, **options):
    """A random model of a class of transformers."""
    torch.manual_seed(0)
    return getattr(transformers, cls)(transformers.BertConfig(**SIZES, **options)).eval()


def gpt2():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=V, n_embd=8, n_layer=2, n_head=2, n_positions=T, initializer_range=0.4
    )
    return transformers.GPT2LMHeadModel(config).eval()


def torch_batch(rows):
    """What PyTorch gets: the same rows, padding masked."""
    slot = np.arange(T)
    tokens, split = (rows[n].astype(np.int64)[:, None] for n in ("num_tokens", "segment_split"))
    batch = {
        "input_ids": rows["ids"].astype(np.int64),
        "token_type_ids": ((slot >= split) & (slot < tokens)).astype(np.int64),
        "attention_mask": (slot < tokens).astype(np.int64),
    }
    return {name: torch.tensor(values) for name, values in batch.items()}


def class_loss(model, rows, batch):
    known = rows["class_id"] >= 0
    logits = model(**batch).logits[known]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(rows["class_id"][known]).long())


def flags_loss(model, rows, batch):
    known = rows["class_flags"][:, 0] != 255
    flags = torch.tensor(rows["class_flags"][known], dtype=torch.float32)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return loss(model(**batch).logits[known], flags)


def target_loss(model, rows, batch):
    known = ~np.isnan(rows["target"])
    logits = model(**batch).logits[known][:, 0]
    return torch.nn.functional.mse_loss(logits, torch.tensor(rows["target"][known]))


def tag_loss(model, rows, batch):
    tags = rows["tags"].astype(np.int64)
    labels = torch.tensor(np.where(tags == 65_535, -100, tags))
    return model(**batch, labels=labels).loss  # its own ignore_index is -100


def span_loss(model, rows, batch):
    known = rows["answerable"] != 255
    out = model(**batch)
    padding = batch["attention_mask"] == 0  # the one difference: only real tokens compete
    total = 0.0
    for logits, name in ((out.start_logits, "span_start"), (out.end_logits, "span_end")):
        among = logits.masked_fill(padding, float("-inf"))[known]
        true = torch.tensor(rows[name][known].astype(np.int64))
        total = total + torch.nn.functional.cross_entropy(among, true)
    return total / 2


def nsp_loss(model, rows, batch):
    known = rows["is_random_next"] != 255
    logits = model(**batch).seq_relationship_logits[known]
    true = torch.tensor(rows["is_random_next"][known].astype(np.int64))
    return torch.nn.functional.cross_entropy(logits, true)


def clm_loss(model, rows, batch):
    ids, mask = batch["input_ids"], batch["attention_mask"]
    labels = ids.masked_fill(mask == 0, -100)
    return model(input_ids=ids, attention_mask=mask, labels=labels).loss


CASES = {
    "class": (lambda: bert("BertForSequenceClassification", num_labels=3), class_loss),
    "multi_label": (lambda: bert("BertForSequenceClassification", num_labels=3), flags_loss),
    "regression": (lambda: bert("BertForSequenceClassification", num_labels=1), target_loss),
    "tag": (lambda: bert("BertForTokenClassification", num_labels=3), tag_loss),
    "span": (lambda: bert("BertForQuestionAnswering"), span_loss),
    "nsp": (lambda: bert("BertForPreTraining"), nsp_loss),
    "clm": (gpt2, clm_loss),
}


def ours(folder, rows, loss):
    """Loss and gradients by transformers' names of one step without dropout."""
    loaded = open_model(str(folder))
    student = Student(model=loaded.model, plan=loaded.plan)
    facts = loaded.plan.facts
    term = make_term(loss)
    term.check((), facts)
    objective = bind((term,), {}, facts)
    batches = cut(
        rows,
        {},
        num_real=M,
        micro_batch=4,  # two micro-batches, the second filled up
        num_micro=2,
        length=T,
        groups=objective.lists,
    )
    counts = objective.counts(count_items(batches, objective.lists))
    variables = named_variables(loaded.model)
    total, grads = 0.0, {name: 0.0 for name in variables}
    for batch in map(to_tensors, batches):
        with tf.GradientTape() as tape:
            outputs = forward(student, batch, objective, dropout=None)
            sums = objective.sums(outputs, batch, {})
            value = tf.reduce_sum(sums * objective.factors(counts))
        total += float(value)
        found = tape.gradient(
            value,
            [v.value for v in variables.values()],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        for name, grad in zip(variables, found, strict=True):
            grads[name] = grads[name] + tf.convert_to_tensor(grad).numpy()
    table = table_of(loaded.model.architecture.family)
    return total, table.to_tensors(grads, head=head_of(loaded.model), prefixed=True)


@pytest.mark.parametrize("loss", CASES)
def test_loss_and_gradients_are_those_of_transformers(tmp_path, loss):
    make, reference = CASES[loss]
    rows = task_rows("classification", M, seed=3, page=0)
    model = make()
    model.save_pretrained(tmp_path / "model")
    expected = reference(model, rows, torch_batch(rows))
    expected.backward()
    value, grads = ours(tmp_path / "model", rows, loss)
    # Float32 of two libraries over two layers; loss of order 1.
    assert value == pytest.approx(expected.item(), rel=1e-5)
    compared = 0
    for name, parameter in model.named_parameters():
        there = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        if name in grads:
            np.testing.assert_allclose(grads[name], there, rtol=2e-3, atol=2e-6, err_msg=name)
            compared += 1
    assert compared == len(grads)
