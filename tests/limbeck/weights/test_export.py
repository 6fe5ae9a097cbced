"""Exported folders, as transformers reads them."""

import json

import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.models import build_masked_lm, named_variables
from limbeck.tokens import WordPiece, load_tokenizer
from limbeck.weights.hf import export_hf, load_masked_lm

SHAPE = EncoderArchitecture(
    vocab_size=97,
    num_layers=2,
    hidden_dim=16,
    num_heads=2,
    intermediate_dim=24,
    max_positions=40,
)
FILES = [
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
]
TEXTS = [
    "The cat sat.",
    "caf\u00e9s, \u4e2d\u4e2d sat!",
    "word3 unknownword " + "a" * 120,
    "A [MASK] sits\u00a0on\tthe mat",
]


@pytest.fixture(scope="module")
def model():
    model = build_masked_lm(SHAPE, seed=1)
    rng = np.random.default_rng(3)
    for variable in model.trainable_variables:  # no zeros and ones, which could hide a swap
        variable.assign(rng.normal(0, 0.2, variable.shape))
    return model


@pytest.fixture(scope="module")
def exported(model, vocab_file, tmp_path_factory):
    directory = tmp_path_factory.mktemp("export") / "a" / "student"
    assert export_hf(model, directory, tokenizer=WordPiece(vocab_file)) == directory
    return directory


def test_folder_holds_these_files_and_no_leftovers(exported):
    assert sorted(path.name for path in exported.iterdir()) == FILES
    assert [path.name for path in exported.parent.iterdir()] == ["student"]


def test_transformers_loads_it_without_missing_or_unexpected_keys(torch, transformers, exported):
    theirs, info = transformers.AutoModelForMaskedLM.from_pretrained(
        exported, output_loading_info=True
    )
    assert type(theirs).__name__ == "BertForMaskedLM"
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_transformers_gives_equal_logits(torch, transformers, exported, model):
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(exported).eval()
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 97, (3, 20))
    segments, mask = rng.integers(0, 2, (3, 20)), (np.arange(20) < [[20], [7], [1]]).astype(int)
    ours = model.logits(model.encode(ids, segments, mask).last).numpy()
    with torch.no_grad():
        expected = theirs(
            input_ids=torch.tensor(ids),
            token_type_ids=torch.tensor(segments),
            attention_mask=torch.tensor(mask),
        ).logits.numpy()
    assert np.abs(ours - expected)[mask == 1].max() <= 1e-4


@pytest.mark.parametrize("lower_case", [True, False])
def test_tokenizer_of_transformers_gives_our_ids(
    transformers, model, vocab_file, tmp_path, lower_case
):
    export_hf(model, tmp_path / "x", tokenizer=WordPiece(vocab_file, lower_case))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "x")
    ours = load_tokenizer(tmp_path / "x")
    assert ours.lower_case is lower_case and theirs.model_max_length == 40
    assert (theirs.pad_token_id, theirs.mask_token_id) == (ours.pad_id, ours.mask_id)
    for text in TEXTS[:3]:
        (expected,) = ours.encode([text])
        assert theirs(text)["input_ids"] == [ours.cls_id, *expected, ours.sep_id]
    pair = theirs(TEXTS[0], TEXTS[1])
    assert pair["token_type_ids"].count(0) == len(ours.encode([TEXTS[0]])[0]) + 2
    assert ours.mask_id in theirs(TEXTS[3])["input_ids"]  # to transformers it is the special token


def test_tokenizer_equals_that_of_the_vocabulary_alone(transformers, exported, vocab_file):
    plain = transformers.BertTokenizer(str(vocab_file), do_lower_case=True)
    theirs = transformers.AutoTokenizer.from_pretrained(exported)
    for text in TEXTS:
        assert theirs(text)["input_ids"] == plain(text)["input_ids"]


def test_our_own_reader_gets_the_same_model_back(exported, model):
    again, report = load_masked_lm(exported)
    assert again.architecture == SHAPE and not report.initialised and not report.unused
    for (name, old), new in zip(
        named_variables(model).items(), named_variables(again).values(), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(old), np.asarray(new), err_msg=name)


def test_what_transformers_saves_again_is_the_same_model(transformers, exported, model, tmp_path):
    transformers.AutoModelForMaskedLM.from_pretrained(exported).save_pretrained(tmp_path)
    again, _ = load_masked_lm(tmp_path)
    for old, new in zip(model.trainable_variables, again.trainable_variables, strict=True):
        tf.debugging.assert_equal(old.value, new.value)


def test_equal_models_give_equal_bytes_and_exporting_again_is_fine(
    exported, model, vocab_file, tmp_path
):
    export_hf(model, tmp_path / "x", tokenizer=WordPiece(vocab_file))
    before = {name: (exported / name).stat().st_mtime_ns for name in FILES}
    export_hf(
        model, exported, tokenizer=WordPiece(vocab_file)
    )  # the same again: nothing is touched
    assert {name: (exported / name).stat().st_mtime_ns for name in FILES} == before
    for name in FILES:
        assert (tmp_path / "x" / name).read_bytes() == (exported / name).read_bytes()


def test_folder_with_anything_else_is_refused_and_kept(model, vocab_file, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds notes.txt and other files"):
        export_hf(model, tmp_path / "x", tokenizer=WordPiece(vocab_file))
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["notes.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]  # nothing half-written beside it


def test_empty_folder_is_filled(model, vocab_file, tmp_path):
    (tmp_path / "x").mkdir()
    export_hf(model, tmp_path / "x", tokenizer=WordPiece(vocab_file))
    assert json.loads((tmp_path / "x" / "config.json").read_text())["vocab_size"] == 97


def test_leftovers_of_a_killed_export_are_removed(model, vocab_file, tmp_path):
    leftover, other = tmp_path / "x.tmp-12-0123abcd", tmp_path / "y.tmp-12-0123abcd"
    for directory in (leftover, other):
        directory.mkdir()
        (directory / "model.safetensors").write_bytes(b"half")
    export_hf(model, tmp_path / "x", tokenizer=WordPiece(vocab_file))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x", other.name]


def test_vocabulary_of_another_size_is_refused(model, tmp_path):
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    with pytest.raises(LimbeckError, match="the tokenizer has 5 ids and the model 97"):
        export_hf(model, tmp_path / "x", tokenizer=WordPiece(vocab))
    assert not (tmp_path / "x").exists()
