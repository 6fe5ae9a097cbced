"""Every family and head: read from every kind of file, equal to transformers, and written again."""

import json
import shutil

import numpy as np
import pytest

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.models.build import build
from limbeck.models.names import named_variables
from limbeck.weights import fingerprint
from limbeck.weights.hf import export_hf, load_model

from .families import (
    CASES,
    NUM_LABELS,
    batch,
    greatest_difference,
    make,
    ours,
    theirs,
    write,
)

ATOL = 1e-4  # logits and states, float32: the order of sums differs


def no_keys(info):
    return not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@pytest.mark.parametrize(("family", "head"), CASES)
def test_family_is_read_is_equal_and_is_written_again(torch, transformers, tmp_path, family, head):
    original = make(torch, transformers, family, head)
    write(original, tmp_path / "in")
    model, report = load_model(tmp_path / "in", head=head)
    assert not report.initialised
    assert model.architecture.family == family
    arrays = batch(family)
    expected = theirs(torch, original, family, arrays)
    assert (
        greatest_difference(ours(model, head, arrays), expected, arrays["attention_mask"]) <= ATOL
    )

    export_hf(model, tmp_path / "out", tokenizer=None)
    again, info = type(original).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert no_keys(info), info
    saved, read = original.state_dict(), again.state_dict()
    assert sorted(saved) == sorted(read)
    for name, tensor in saved.items():
        assert torch.equal(tensor, read[name]), name
    again_answers = theirs(torch, again.eval(), family, arrays)
    assert greatest_difference(again_answers, expected, arrays["attention_mask"]) <= 1e-6
    assert fingerprint(tmp_path / "out") == fingerprint(tmp_path / "in")


@pytest.mark.parametrize(("family", "head"), CASES)
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_file_gives_the_same_model(torch, transformers, tmp_path, family, head, zipped):
    original = make(torch, transformers, family, head)
    write(original, tmp_path / "a")
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "config.json", tmp_path / "b")
    torch.save(
        original.state_dict(),
        tmp_path / "b" / "pytorch_model.bin",
        _use_new_zipfile_serialization=zipped,
    )
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


@pytest.mark.parametrize("change", ["in half", "sharded", "prefixed"])
def test_other_kinds_of_files_give_the_same_model(torch, transformers, tmp_path, change):
    original = make(torch, transformers, "gpt2", "causal_lm")
    if change == "in half":
        original = original.bfloat16()
        write(original.float(), tmp_path / "a")
        write(original.bfloat16(), tmp_path / "b")
    elif change == "sharded":
        write(original, tmp_path / "a")
        original.save_pretrained(tmp_path / "b", max_shard_size="5KB")
        assert (tmp_path / "b" / "model.safetensors.index.json").exists()
    else:
        write(original, tmp_path / "a")
        (tmp_path / "b").mkdir()
        shutil.copy(tmp_path / "a" / "config.json", tmp_path / "b")
        state = {f"module.{n}": t for n, t in original.state_dict().items()}
        torch.save(state, tmp_path / "b" / "pytorch_model.bin")
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b")


def test_sharded_pytorch_files_are_read(torch, transformers, tmp_path):
    original = make(torch, transformers, "bert", "masked_lm")
    write(original, tmp_path)
    expected = fingerprint(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    state = original.state_dict()
    names = sorted(state)
    index = {}
    for part in (0, 1):
        file = f"pytorch_model-0000{part + 1}-of-00002.bin"
        torch.save({n: state[n] for n in names[part::2]}, tmp_path / file)
        index |= dict.fromkeys(names[part::2], file)
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    assert fingerprint(tmp_path) == expected


@pytest.mark.parametrize(
    ("family", "head"),
    [("roberta", "classifier"), ("electra", "replaced_token"), ("bert", "classifier")],
)
def test_missing_head_is_refused_unless_asked_for(torch, transformers, tmp_path, family, head):
    write(make(torch, transformers, family, "masked_lm"), tmp_path)
    with pytest.raises(UsageError, match="an encoder without a .* head .*set missing_head"):
        load_model(tmp_path, head=head)
    model, report = load_model(
        tmp_path, head=head, missing_head="initialise", num_labels=NUM_LABELS
    )
    fresh = {name for name, _ in report.initialised}
    assert fresh and all(not name.startswith("encoder/") for name in fresh)
    everything = {name for name, _ in report.taken} | fresh
    assert everything == set(named_variables(model))


def test_models_of_unequal_weights_have_unequal_fingerprints(torch, transformers, tmp_path):
    prints = set()
    for family, head in CASES:
        directory = tmp_path / family / head
        write(make(torch, transformers, family, head), directory)
        prints.add(fingerprint(directory))
    assert len(prints) == len(CASES)


CONTRADICTIONS = [
    ("bert", {"num_attention_heads": 3}, "hidden_dim 16 is not a multiple of num_heads 3"),
    ("bert", {"model_type": "t5"}, "model_type is 't5'; known families are bert"),
    ("bert", {"hidden_size": 32}, r"word_embeddings.weight has shape \(97, 16\); \(97, 32\)"),
    ("bert", {"num_hidden_layers": 3}, "encoder.layer.2.attention.self.query.weight is missing"),
    ("bert", {"is_decoder": True}, "is_decoder is True; only False is supported"),
    ("bert", {"hidden_act": "mish"}, "hidden_act is 'mish'; supported activations are gelu"),
    ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type is"),
    ("bert", {"vocab_size": None}, "vocab_size is missing"),
    ("roberta", {"max_position_embeddings": 50}, r"position_embeddings.weight has shape \(42"),
    ("albert", {"num_hidden_groups": 2}, "num_hidden_groups is 2; only 1 is supported"),
    ("electra", {"embedding_size": 16}, r"word_embeddings.weight has shape \(97, 12\)"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
    ("gpt2", {"n_embd": 15}, "hidden_dim 15 is not a multiple of num_heads 2"),
    ("llama", {"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters is of type 'yarn'"),
    ("llama", {"attention_bias": True}, "attention_bias is True; only False"),
    ("llama", {"num_key_value_heads": 2}, r"k_proj.weight has shape \(8, 16\); \(16, 16\)"),
]


@pytest.mark.parametrize(("family", "change", "message"), CONTRADICTIONS)
def test_config_that_contradicts_is_refused_by_name(
    torch, transformers, tmp_path, family, change, message
):
    head = "causal_lm" if family in ("gpt2", "llama") else "masked_lm"
    write(make(torch, transformers, family, head), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(LimbeckError, match=message) as error:
        load_model(tmp_path, head=head)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_labels_of_config_and_classifier_must_agree(torch, transformers, tmp_path):
    write(make(torch, transformers, "bert", "classifier"), tmp_path)
    path = tmp_path / "config.json"
    labels = {"id2label": {str(i): f"L{i}" for i in range(5)}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **labels}))
    with pytest.raises(UsageError, match="classifier.weight has 3 outputs and config.json says 5"):
        load_model(tmp_path, head="classifier")


def test_tied_config_with_another_decoder_is_refused(torch, transformers, tmp_path):
    model = make(torch, transformers, "llama", "causal_lm")
    write(model, tmp_path)
    assert not load_model(tmp_path, head="causal_lm")[0].architecture.tied
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tie_word_embeddings": True}))
    with pytest.raises(UsageError, match="lm_head.weight differs from model.embed_tokens.weight"):
        load_model(tmp_path, head="causal_lm")


def test_tied_llama_is_read_and_written(torch, transformers, tmp_path):
    original = make(torch, transformers, "llama", "causal_lm", tie_word_embeddings=True)
    write(original, tmp_path / "in")
    model, _ = load_model(tmp_path / "in", head="causal_lm")
    assert "head/kernel" not in named_variables(model)
    export_hf(model, tmp_path / "out", tokenizer=None)
    again, info = type(original).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert no_keys(info)
    assert torch.equal(again.lm_head.weight, original.lm_head.weight)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (98, "vocab.txt: 98 tokens, but bert.embeddings.word_embeddings.weight has 97 rows"),
        (96, "vocab.txt: 96 tokens, but bert.embeddings.word_embeddings.weight has 97 rows"),
        (97, None),
    ],
)
def test_vocabulary_of_another_model_is_refused(torch, transformers, tmp_path, lines, message):
    write(make(torch, transformers, "bert", "masked_lm"), tmp_path)
    (tmp_path / "vocab.txt").write_text("".join(f"t{i}\n" for i in range(lines)))
    if message is None:
        load_model(tmp_path)
        return
    with pytest.raises(UsageError, match=message):
        load_model(tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_damaged_safetensors_are_refused_or_read_as_they_are(torch, transformers, tmp_path, family):
    """Cut anywhere, or with a bit of the header flipped: one line, never a crash."""
    head = "causal_lm" if family == "gpt2" else "masked_lm"
    write(make(torch, transformers, family, head), tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(1)
    damages = [whole[:size] for size in (0, 7, 8, header // 2, header, len(whole) - 1)]
    for place in rng.integers(0, header, 60):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        damages.append(bytes(changed))
    refused = 0
    for damage in damages:
        path.write_bytes(damage)
        try:
            load_model(tmp_path, head=head)
        except LimbeckError as error:
            refused += 1
            assert str(tmp_path) in str(error) and "\n" not in str(error)
    assert refused >= len(damages) - 3  # a flip may fall on a space, or on the metadata


@pytest.mark.faults
def test_code_in_a_model_folder_is_refused_by_file_and_name(torch, transformers, tmp_path):
    write(make(torch, transformers, "bert", "masked_lm"), tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"cposix\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(UsageError, match="pytorch_model.bin: names 'posix.system'"):
        load_model(tmp_path)


@pytest.mark.parametrize("family", ["roberta", "gpt2"])
def test_weights_with_nan_are_refused_by_name(torch, transformers, tmp_path, family):
    head = "causal_lm" if family == "gpt2" else "masked_lm"
    model = make(torch, transformers, family, head)
    with torch.no_grad():
        list(model.parameters())[7].view(-1)[3] = float("nan")
    name = list(dict(model.named_parameters()))[7]
    write(model, tmp_path)
    with pytest.raises(LimbeckError, match=f"{name} holds NaN or infinity") as error:
        load_model(tmp_path, head=head)
    assert str(tmp_path) in str(error.value)


def test_bert_with_narrow_embeddings_leaves_as_the_electra_that_it_is(
    torch, transformers, tmp_path
):
    shape = EncoderArchitecture(
        vocab_size=97,
        num_layers=2,
        hidden_dim=16,
        num_heads=2,
        intermediate_dim=24,
        max_positions=40,
        embedding_dim=12,
    )
    model = build(shape, head="masked_lm", seed=1)
    export_hf(model, tmp_path, tokenizer=None)
    theirs_, info = transformers.AutoModelForMaskedLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert no_keys(info) and type(theirs_).__name__ == "ElectraForMaskedLM"
    arrays = batch("electra")
    expected = theirs(torch, theirs_.eval(), "electra", arrays)
    answers = ours(model, "masked_lm", arrays)
    assert greatest_difference(answers, expected, arrays["attention_mask"]) <= ATOL


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shared_layers": True}, "shared_layers is True, which no bert of transformers has"),
        ({"norm_position": "pre"}, "norm_position is 'pre', which no bert"),
        ({"family": "distilbert"}, "type_vocab_size is 2, which no distilbert"),
    ],
)
def test_shape_that_transformers_does_not_know_is_refused_before_anything(
    tmp_path, changes, message
):
    shape = EncoderArchitecture(
        **{"vocab_size": 97, "num_layers": 2, "hidden_dim": 16, "num_heads": 2},
        **{"intermediate_dim": 24, **changes},
    )
    with pytest.raises(UsageError, match=message):
        export_hf(build(shape, seed=1), tmp_path / "x", tokenizer=None)
    assert not (tmp_path / "x").exists()


def test_pretraining_of_a_masked_lm_starts_the_other_head_alone(torch, transformers, tmp_path):
    write(make(torch, transformers, "bert", "masked_lm"), tmp_path)
    with pytest.raises(UsageError, match=r"without a pretraining-model head .cls.seq_relationship"):
        load_model(tmp_path, head="pretraining")
    _, report = load_model(tmp_path, head="pretraining", missing_head="initialise")
    fresh = {name.split("/")[0] for name, _ in report.initialised}
    assert fresh == {"next_sentence", "pooler"}
