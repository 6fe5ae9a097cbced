"""Which tokenizer a folder or a file holds is told by the files."""

import json
import shutil

import pytest
import tokenizers

from limbeck.config.errors import LimbeckError
from limbeck.tokens import holds_tokenizer, load_tokenizer, save_tokenizer

KIND_OF = {
    "wordpiece": "wordpiece",
    "byte-bpe": "byte_bpe",
    "bpe": "sentencepiece",
    "xlm-r": "sentencepiece",
    "file": "tokenizer_json",
}


def configure(folder, **config):
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture
def copy(tokenizer_folder, tmp_path):
    """Copies files of a kind's folder into a new one, without its configuration."""

    def make(kind, *, names=None):
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        for path in tokenizer_folder(kind).iterdir():
            if path.name != "tokenizer_config.json":
                shutil.copy(path, folder / (names or {}).get(path.name, path.name))
        return folder

    return make


@pytest.mark.parametrize("kind", KIND_OF)
def test_kind_is_told_by_the_files(tokenizer_folder, kind):
    assert load_tokenizer(tokenizer_folder(kind)).info()["kind"] == KIND_OF[kind]
    assert holds_tokenizer(tokenizer_folder(kind))


@pytest.mark.parametrize("kind", ["wordpiece", "byte-bpe", "bpe"])
def test_foreign_folder_without_a_configuration_is_read_too(tokenizer_folder, copy, kind):
    ours = load_tokenizer(tokenizer_folder(kind))
    theirs = load_tokenizer(copy(kind))
    assert theirs.encode(["The river, 42"]) == ours.encode(["The river, 42"])
    assert theirs.special.mask == ours.special.mask


def test_names_of_gpt2s_own_files_are_known(tokenizer_folder, copy):
    folder = copy("byte-bpe", names={"vocab.json": "encoder.json", "merges.txt": "vocab.bpe"})
    assert load_tokenizer(folder).encode(["a"]) == load_tokenizer(
        tokenizer_folder("byte-bpe")
    ).encode(["a"])


def test_lone_files_are_read_by_their_names(tokenizer_folder, copy):
    assert load_tokenizer(copy("wordpiece") / "vocab.txt").info()["kind"] == "wordpiece"
    assert load_tokenizer(copy("bpe") / "tokenizer.model").info()["convention"] == "plain"
    assert load_tokenizer(copy("file") / "tokenizer.json").info()["model"] == "Unigram"


@pytest.mark.parametrize(
    ("kind", "file", "message"),
    [
        ("byte-bpe", "vocab.json", "has two files; name their folder"),
        ("byte-bpe", "merges.txt", "has two files; name their folder"),
        ("xlm-r", "sentencepiece.bpe.model", "shifted ids; name the folder"),
    ],
)
def test_lone_file_that_says_too_little_is_refused(copy, kind, file, message):
    with pytest.raises(LimbeckError, match=message):
        load_tokenizer(copy(kind) / file)


def test_nothing_there_is_one_clear_error(tmp_path):
    assert not holds_tokenizer(tmp_path)
    with pytest.raises(LimbeckError, match=r"no tokenizer in it; expected vocab\.txt \(WordPiece"):
        load_tokenizer(tmp_path)


def test_half_of_a_byte_bpe_is_refused(copy):
    folder = copy("byte-bpe")
    (folder / "merges.txt").unlink()
    with pytest.raises(LimbeckError, match=r"vocab\.json without merges\.txt; .* needs both"):
        load_tokenizer(folder)


def test_shifted_model_without_a_class_is_refused(copy):
    with pytest.raises(LimbeckError, match="shifted ids; say the tokenizer_class"):
        load_tokenizer(copy("xlm-r"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("wordpiece", "BertJapanese"), ("byte-bpe", "Qwen2"), ("bpe", "Camembert")],
)
def test_class_that_reads_the_same_files_otherwise_is_refused(copy, kind, name):
    folder = copy(kind)
    configure(folder, tokenizer_class=f"{name}Tokenizer")
    with pytest.raises(LimbeckError, match=f"tokenizer_class is {name}Tokenizer, .* needs a tok"):
        load_tokenizer(folder)
    copy("file")
    assert load_tokenizer(folder).info()["kind"] == "tokenizer_json"


def test_case_of_a_silent_configuration_is_taken_from_the_tokenizer_json(copy):
    folder = copy("wordpiece")
    configure(folder, tokenizer_class="BertTokenizer")
    assert load_tokenizer(folder).lower_case
    file = {"normalizer": {"type": "BertNormalizer", "lowercase": False}, "model": {}}
    (folder / "tokenizer.json").write_text(json.dumps(file))
    assert not load_tokenizer(folder).lower_case


def test_roles_are_read_from_the_map_of_special_tokens(copy):
    folder = copy("byte-bpe")
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"cls_token": {"content": "<s>"}, "mask_token": "<mask>"})
    )
    special = load_tokenizer(folder).special
    assert (special.cls, special.mask, special.pad) == (0, 4, None)
    configure(folder, mask_token="[MASK]")
    with pytest.raises(LimbeckError, match=r"mask_token is '\[MASK\]', which is none of the 880"):
        load_tokenizer(folder)


def test_special_tokens_behind_the_vocabulary_get_ids_and_no_text(copy):
    folder = copy("bpe")
    (folder / "added_tokens.json").write_text(json.dumps({"<extra>": 880}))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.vocab_size == 881 and tokenizer.token(880) == "<extra>"
    assert 880 not in tokenizer.encode(["<extra>"])[0]
    save_tokenizer(tokenizer, folder.parent / "again")
    assert load_tokenizer(folder.parent / "again").fingerprint() == tokenizer.fingerprint()


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"7": {"content": "other"}}, "id 7 is .*, but the tokenizer's configuration says 'other'"),
        ({"990": {"content": "<x>"}}, "adds '<x>' as 990; ids in between would mean nothing"),
        ({"880": {"content": "word", "special": False}}, "adds the word 'word'; that needs a tok"),
    ],
)
@pytest.mark.parametrize("kind", ["bpe", "byte-bpe"])
def test_added_tokens_that_do_not_fit_are_refused(copy, kind, added, message):
    folder = copy(kind)
    configure(folder, added_tokens_decoder=added)
    with pytest.raises(LimbeckError, match=message):
        load_tokenizer(folder)


def test_added_tokens_of_wordpiece_belong_into_its_file(copy):
    folder = copy("wordpiece")
    configure(folder, added_tokens_decoder={"0": {"content": "[PAD]"}})
    assert load_tokenizer(folder).vocab_size == 880
    configure(folder, added_tokens_decoder={"880": {"content": "<x>"}})
    with pytest.raises(LimbeckError, match="adds '<x>' behind its 880 tokens"):
        load_tokenizer(folder)


def test_tokenizer_json_whose_ids_are_random_is_refused(tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, [], dropout=0.1)).save(str(path))
    with pytest.raises(LimbeckError, match="dropout 0.1.* gives other ids each time"):
        load_tokenizer(path)


@pytest.mark.parametrize("kind", ["byte-bpe", "bpe", "file"])
def test_changed_folder_of_ours_is_noticed(tokenizer_folder, tmp_path, kind):
    save_tokenizer(load_tokenizer(tokenizer_folder(kind)), tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["limbeck"]["fingerprint"] = "00ff"
    path.write_text(json.dumps(config))
    with pytest.raises(LimbeckError, match="the vocabulary or a setting was changed since"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("kind", "file", "content", "message"),
    [
        ("byte-bpe", "vocab.json", '{"a": 0, "b": 2}', "2 tokens have ids from 0 to 2; expected"),
        ("byte-bpe", "vocab.json", '{"a": "x"}', "expected an object of token -> id"),
        ("byte-bpe", "vocab.json", "[1]", "holds a list; expected a JSON object"),
        ("byte-bpe", "merges.txt", "#version: 0.2\nxyz zyx\n", "needs 'xyz', which .* lacks"),
        ("byte-bpe", "merges.txt", "a b c\n", "line 1 is 'a b c'; expected two tokens"),
        ("bpe", "tokenizer.model", "text", "not a SentencePiece model, or a damaged one"),
        ("bpe", "tokenizer.model", "", "not a SentencePiece model, or a damaged one"),
        ("file", "tokenizer.json", "{}", "no model with a vocabulary in it"),
        ("file", "tokenizer.json", "{", "not JSON"),
        (
            "file",
            "tokenizer.json",
            '{"model": {"type": "Odd", "vocab": {"a": 0}}}',
            "ModelUntagged",
        ),
    ],
)
def test_damaged_file_is_one_clear_error(copy, kind, file, content, message):
    folder = copy(kind)
    (folder / file).write_text(content)
    with pytest.raises(LimbeckError, match=message) as error:
        load_tokenizer(folder)
    assert str(error.value).startswith(str(folder / file))


def test_merge_that_makes_a_special_token_is_refused(copy):
    folder = copy("byte-bpe")
    vocabulary = json.loads((folder / "vocab.json").read_text())
    vocabulary["<s"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    with (folder / "merges.txt").open("a") as file:
        file.write("< s\n<s >\n")
    with pytest.raises(LimbeckError, match="makes the special token '<s>'"):
        load_tokenizer(folder)


def test_model_of_another_family_is_not_read_with_shifted_ids(tokenizer_folder, tmp_path):
    shutil.copy(tokenizer_folder("bpe") / "tokenizer.model", tmp_path)
    configure(tmp_path, tokenizer_class="XLMRobertaTokenizer")
    with pytest.raises(LimbeckError, match="a model of XLM-R begins with <unk>, <s>, </s>"):
        load_tokenizer(tmp_path)
