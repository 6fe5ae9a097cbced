"""Models of any family through transformers: what is asked of them, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import HiddenSignal, SparseSignal, sparse
from limbeck.teachers import find_teacher, load_teacher
from limbeck.weights import read_tensors, write_tensors

SPARSE = {"sparse": SparseSignal(k=4, temperatures=(1.0,))}
HIDDEN = {"hidden": HiddenSignal(layer=3, dtype="float32")}


@pytest.fixture
def broken(write_folder, tmp_path):
    """A copy of a BERT folder, and a function that changes its tensors."""
    folder = tmp_path / "broken"
    shutil.copytree(write_folder("BertForMaskedLM"), folder)

    def change(edit):
        tensors = read_tensors(folder / "model.safetensors")
        edit(tensors)
        write_tensors(folder / "model.safetensors", tensors, metadata={"format": "pt"})

    return folder, change


@pytest.mark.parametrize("kind", ["DebertaV2ForMaskedLM", "MPNetForMaskedLM"])
def test_families_that_we_do_not_have_are_served(kind, write_folder, transformers, batch):
    folder = write_folder(kind)
    teacher = load_teacher(folder)
    assert teacher.facts.backend == "pytorch" and len(teacher.facts.fingerprint) == 64
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    ids, mask = (teacher._tensor(a) for a in (batch.ids, batch.attention_mask))
    ids[mask == 0] = model.config.pad_token_id
    output = model(ids, attention_mask=mask, output_hidden_states=True)
    answers = teacher.signals(batch, {**SPARSE, **HIDDEN})
    rows, slots = np.nonzero(batch.used_slots)
    logits = output.logits.detach().numpy()[rows, batch.positions[rows, slots]]
    expected = sparse.encode(logits, batch.true_ids[rows, slots], k=4, temperatures=(1.0,))
    found = {name: values[rows, slots] for name, values in answers["sparse"].items()}
    np.testing.assert_array_equal(found["ids"], expected["ids"])
    for name in ("zmax", "log_tail", "true_logit"):  # the head ran on other rows: other sums
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5)
    states = output.hidden_states[3].detach().numpy()
    real = batch.attention_mask.astype(bool)
    np.testing.assert_allclose(
        answers["hidden"]["states"][real], states[real], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    "kind", ["BertForMaskedLM", "DistilBertForMaskedLM", "DebertaV2ForMaskedLM"]
)
def test_head_runs_at_the_masked_positions_only(kind, write_folder, batch):
    teacher = load_teacher(write_folder(kind), backend="pytorch")
    assert teacher._head_alone
    cut = teacher.signals(batch, SPARSE)["sparse"]
    teacher._head_alone = False
    whole = teacher.signals(batch, SPARSE)["sparse"]
    np.testing.assert_array_equal(cut["ids"], whole["ids"])
    np.testing.assert_allclose(cut["zmax"], whole["zmax"], rtol=1e-5, atol=1e-5)


def test_same_batch_gives_the_same_bits(write_folder, batch):
    teacher = load_teacher(write_folder("BertForMaskedLM"), backend="pytorch")
    wanted = {**SPARSE, **HIDDEN}
    first, second = (teacher.signals(batch, wanted) for _ in range(2))
    for name, arrays in first.items():
        for field, values in arrays.items():
            np.testing.assert_array_equal(values, second[name][field])


def test_threads_are_those_that_were_asked_for(write_folder, torch):
    load_teacher(write_folder("BertForMaskedLM"), backend="pytorch", threads=1)
    assert torch.get_num_threads() == 1


def test_encoder_without_a_head_gives_states_and_refuses_logits(write_folder, batch):
    source = find_teacher(write_folder("BertModel"), backend="pytorch")
    with pytest.raises(UsageError, match="families.sparse: .* is an encoder without one"):
        source.facts.check(SPARSE)
    assert source.load(0).signals(batch, HIDDEN)["hidden"]["states"].shape == (3, 20, 16)


def test_logit_that_is_not_finite_is_marked(broken, batch):
    folder, change = broken

    def edit(tensors):
        tensors["bert.embeddings.position_embeddings.weight"][15] = np.nan

    change(edit)
    found = load_teacher(folder, backend="pytorch").signals(batch, SPARSE)["sparse"]
    assert np.isnan(found["zmax"][batch.used_slots]).all()  # padding attends to it in every row


def test_tensor_that_is_missing_is_named_and_never_drawn(broken):
    folder, change = broken
    change(lambda tensors: tensors.pop("bert.encoder.layer.1.output.dense.weight"))
    with pytest.raises(LimbeckError, match="encoder.layer.1.output.dense.weight .*is missing"):
        find_teacher(folder, backend="pytorch")


def test_damaged_weights_give_one_line(broken):
    folder, _ = broken
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UsageError, match="transformers cannot load it") as caught:
        find_teacher(folder, backend="pytorch")
    assert "\n" not in str(caught.value)


def test_encoder_decoder_is_refused(write_folder):
    with pytest.raises(UsageError, match="an encoder-decoder"):
        find_teacher(write_folder("T5ForConditionalGeneration"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "nothing-of-the-kind"}, "transformers cannot load it"),
        ({"model_type": "vit"}, "no vocab_size"),
    ],
)
def test_folders_of_other_kinds_are_refused(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=message):
        find_teacher(tmp_path)


def test_code_in_a_folder_is_never_run(broken):
    folder, _ = broken
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('it ran')\n")
    with pytest.raises(UsageError, match="transformers cannot load it"):
        find_teacher(folder)
