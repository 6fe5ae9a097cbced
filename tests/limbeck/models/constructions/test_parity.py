"""Constructed students as transformers loads them."""

import numpy as np
import pytest

from limbeck.models.constructions import (
    average_layers,
    choose_layers,
    compress_embeddings,
    factorise_embeddings,
    narrow,
    trim_vocabulary,
)
from limbeck.models.constructions.model import model_of
from limbeck.models.constructions.vocabulary import trimmed_tokenizer
from limbeck.tokens import WordPiece
from limbeck.weights.hf import export_hf

KEPT = np.array([0, 1, 2, 3, 4, *range(10, 50)])

STUDENTS = {
    "chosen": lambda teacher: choose_layers(teacher, [4, 1]),
    "averaged": lambda teacher: average_layers(teacher, 2),
    "compressed": lambda teacher: compress_embeddings(teacher, 12, centred=True),
    "factorised": lambda teacher: factorise_embeddings(teacher, 9),
    "narrow": lambda teacher: narrow(teacher, hidden_dim=12, intermediate_dim=7),
    "trimmed": lambda teacher: trim_vocabulary(teacher, KEPT),
}


@pytest.mark.parametrize("name", STUDENTS)
def test_student_is_loaded_by_transformers_with_the_same_logits(
    make_teacher, run, batch, vocab_file, tmp_path, name
):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    made = STUDENTS[name](make_teacher())
    tokenizer = WordPiece(vocab_file)
    if made.kept_ids is not None:
        tokenizer = trimmed_tokenizer(tokenizer, made.kept_ids)
    export_hf(model_of(made, seed=0), tmp_path / "student", tokenizer=tokenizer)
    loaded, info = transformers.AutoModelForMaskedLM.from_pretrained(
        tmp_path / "student", output_loading_info=True
    )
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = batch["ids"] % made.architecture.vocab_size
    with torch.no_grad():
        theirs = loaded.eval()(
            torch.tensor(ids),
            attention_mask=torch.tensor(batch["attention_mask"]),
            token_type_ids=torch.tensor(batch["segment_ids"]),
        ).logits.numpy()
    real = batch["attention_mask"] == 1
    # Two implementations in float32; logits are of the order of 10.
    np.testing.assert_allclose(run(made, ids=ids)[0][real], theirs[real], atol=1e-4)
    assert len(transformers.AutoTokenizer.from_pretrained(tmp_path / "student")) == len(
        made.tensors["head/output_bias"]
    )
