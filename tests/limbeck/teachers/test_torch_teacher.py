"""Models of any family through transformers: what is asked of them, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from limbeck.config.errors import LimbeckError, UsageError
from limbeck.labels import HiddenSignal, SparseSignal
from limbeck.labels.fitted import Fitted
from limbeck.labels.signals import AttentionSignal, FinalSignal, QkvSignal, RelationsSignal
from limbeck.teachers import Items, TeacherBatch, TeacherOutOfMemory, find_teacher, load_teacher
from limbeck.teachers.protocol import LoadOptions
from limbeck.weights import read_tensors, write_tensors

SPARSE = {"sparse": SparseSignal(k=4, temperatures=(1.0,))}
HIDDEN = {"hidden": HiddenSignal(layer=3)}
HEAD = {**SPARSE, "final": FinalSignal(), "all": SparseSignal(k=4, positions="all")}


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


def assert_close(found, expected, **tolerance):
    for name, arrays in expected.items():
        for field, values in arrays.items():
            np.testing.assert_allclose(found[name][field], values, err_msg=name, **tolerance)


@pytest.mark.parametrize(
    "kind",
    [
        "BertForMaskedLM",
        "BertForPreTraining",
        "DistilBertForMaskedLM",
        "DebertaV2ForMaskedLM",
        "GPT2LMHeadModel",
        "Qwen2ForCausalLM",
    ],
)
def test_head_runs_at_the_chosen_positions_only(kind, write_folder, batch, monkeypatch):
    from limbeck.teachers import parts

    teacher = load_teacher(write_folder(kind), backend="pytorch")
    assert teacher._head_alone
    wanted = {name: s for name, s in HEAD.items() if "Masked" in kind or s.positions == "all"}
    cut = teacher.raw(batch, wanted)
    monkeypatch.setattr(parts, "HEAD_ROWS", 3)
    assert_close(teacher.raw(batch, wanted), cut, rtol=1e-5, atol=1e-5)
    teacher._head_alone = False  # other rows in one product: other sums
    assert_close(teacher.raw(batch, wanted), cut, rtol=1e-5, atol=1e-5)


def test_same_batch_gives_the_same_bits_whoever_else_asks(write_folder, batch):
    teacher = load_teacher(write_folder("BertForMaskedLM"), backend="pytorch")
    more = {"attention": AttentionSignal(layer=1), "qkv": QkvSignal(layer=2), **HEAD}
    first = teacher.raw(batch, HIDDEN)["hidden"]["states"]
    second = teacher.raw(batch, {**HIDDEN, **more})["hidden"]["states"]
    np.testing.assert_array_equal(first, second)
    assert teacher.bare(batch, {**HIDDEN, **more}) is None


def test_only_what_is_stored_is_given(write_folder, batch):
    teacher = load_teacher(write_folder("BertForMaskedLM"), backend="pytorch")
    wanted = {name: Fitted(signal=signal) for name, signal in {**SPARSE, **HIDDEN}.items()}
    found = teacher.signals(batch, wanted)
    assert found["sparse"]["ids"].shape == (4, 4)
    assert found["hidden"]["states"].dtype == np.float16


def test_threads_are_those_that_were_asked_for(write_folder, torch):
    load_teacher(write_folder("BertForMaskedLM"), backend="pytorch", threads=1)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_rounds_products_and_answers_in_float32(precision, write_folder, batch):
    folder = write_folder("BertForMaskedLM")
    exact = load_teacher(folder, backend="pytorch").raw(batch, {**HEAD, **HIDDEN})
    mixed = load_teacher(folder, backend="pytorch", precision=precision)
    found = mixed.raw(batch, {**HEAD, **HIDDEN})
    assert all(x.dtype == np.float32 for arrays in found.values() for x in arrays.values())
    # 8 bits of mantissa in bfloat16, through three layers, on logits of size 10.
    assert_close(found, exact, rtol=0.1, atol=0.2)
    assert np.abs(found["hidden"]["states"] - exact["hidden"]["states"]).max() > 1e-5


def test_compilation_is_refused(write_folder):
    with pytest.raises(UsageError, match="jit is on, but .* runs in PyTorch"):
        load_teacher(write_folder("BertForMaskedLM"), backend="pytorch", jit=True)


def test_batch_that_does_not_fit_memory_is_one_clear_error(write_folder):
    folder = write_folder("BertForMaskedLM", num_hidden_layers=1, intermediate_size=2**19)
    teacher = load_teacher(folder, backend="pytorch")
    ids = np.ones((8192, 20), np.int32)  # 344 GB inside the feed-forward block
    one = Items(index=np.zeros(1, np.int32), true_ids=np.zeros(1, np.int32))
    batch = TeacherBatch(ids=ids, segment_ids=0 * ids, attention_mask=ids, items={"all": one})
    with pytest.raises(TeacherOutOfMemory, match="a batch of 8192 rows of 20 tokens .*budget"):
        teacher.raw(batch, {"hidden": HiddenSignal(layer=1)})


def test_encoder_without_a_head_gives_states_and_refuses_logits(write_folder, batch):
    source = find_teacher(write_folder("BertModel"), backend="pytorch")
    for name in ("sparse", "final"):
        with pytest.raises(UsageError, match=f"families.{name}: .* is an encoder without one"):
            source.facts.check({name: HEAD[name]})
    found = source.load(LoadOptions()).raw(batch, HIDDEN)["hidden"]["states"]
    assert found.shape == (33, 16)


def test_relations_of_families_that_we_do_not_have_are_refused(write_folder):
    facts = find_teacher(write_folder("DebertaV2ForMaskedLM")).facts
    with pytest.raises(UsageError, match=r"a family \(deberta-v2\) whose .*: keep qkv of it"):
        facts.check({"relations": RelationsSignal(layer=1)})
    facts.check({"qkv": QkvSignal(layer=1)})


def test_projections_that_are_called_for_something_else_too_give_the_layer_s(
    write_folder, batch, torch
):
    """DeBERTa's, which also project its table of distances."""
    folder = write_folder(
        "DebertaV2ForMaskedLM", relative_attention=True, pos_att_type="p2c|c2p", share_att_key=True
    )
    teacher = load_teacher(folder)
    found = teacher.raw(batch, {"qkv": QkvSignal(layer=2), "in": HiddenSignal(layer=1)})
    layer = teacher._model.base_model.encoder.layer[1].attention.self
    states = found["in"]["states"]
    weight, bias = layer.query_proj.weight.numpy(), layer.query_proj.bias.numpy()
    expected = states @ weight.T + bias
    np.testing.assert_allclose(found["qkv"]["queries"], expected, rtol=1e-5, atol=1e-5)


def test_logits_that_are_scaled_behind_the_matrix_have_no_final_state(write_folder, batch):
    """Cohere's: the matrix alone does not rebuild them."""
    folder = write_folder("CohereForCausalLM", logit_scale=0.25, num_key_value_heads=1)
    facts = find_teacher(folder).facts
    with pytest.raises(UsageError, match="gives logits that are not its decoder's matrix"):
        facts.check({"final": FinalSignal(positions="all")})
    facts.check({"sparse": SparseSignal(k=2, positions="all")})


def test_answer_that_is_not_finite_is_given_as_it_is(broken, batch):
    folder, change = broken

    def edit(tensors):
        tensors["bert.embeddings.position_embeddings.weight"][15] = np.nan

    change(edit)
    found = load_teacher(folder, backend="pytorch").raw(batch, SPARSE)["sparse"]["logits"]
    assert np.isnan(found).all()  # padding attends to it in every row


def test_tensor_that_is_missing_is_named_and_never_drawn(broken):
    folder, change = broken
    change(lambda tensors: tensors.pop("bert.encoder.layer.1.output.dense.weight"))
    with pytest.raises(LimbeckError, match="encoder.layer.1.output.dense.weight .*is missing"):
        find_teacher(folder, backend="pytorch")


def test_damaged_weights_give_one_line(broken):
    folder, _ = broken
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(LimbeckError, match=r"model.safetensors|transformers cannot load") as caught:
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


@pytest.mark.parametrize(
    ("kind", "mask"), [("DebertaV2ForMaskedLM", "padding"), ("CohereForCausalLM", "causal")]
)
def test_families_that_we_do_not_have_say_what_their_tokens_see(write_folder, kind, mask):
    """Found by asking: what comes last changes the first state, or not."""
    source = find_teacher(write_folder(kind, num_key_value_heads=1), backend="pytorch")
    assert source.facts.causal == (mask == "causal")
    teacher = source.load(LoadOptions())
    assert teacher.side(QkvSignal(layer=1)).facts == {"mask": mask}
    assert teacher.side(AttentionSignal(layer=1)).facts == {"mask": mask}
