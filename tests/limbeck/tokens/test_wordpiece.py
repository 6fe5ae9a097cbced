import concurrent.futures
import json
import multiprocessing
import os
import pickle
import subprocess
import sys

import pytest

from launch.data import data_dir
from limbeck.config.errors import LimbeckError, UsageError
from limbeck.tokens import SPECIAL_TOKENS, WordPiece, load_tokenizer, save_tokenizer

WORDS = ["the", "un", "##aff", "##able", "cafe", "café", "a", "[", "]", "mask", ".", "中", "##s"]


@pytest.fixture
def vocab_file(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, *WORDS]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def tokenizer(vocab_file):
    return WordPiece(vocab_file)


def tokens(tokenizer, text):
    return [tokenizer.token(number) for number in tokenizer.encode([text])[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the unaffable", ["the", "un", "##aff", "##able"]),
        ("THE Café.", ["the", "cafe", "."]),  # lower case, accents stripped
        ("the中a", ["the", "中", "a"]),  # CJK characters stand alone
        ("unknownword", ["[UNK]"]),
        ("a\u0000\t\n the", ["a", "the"]),  # control characters and white space
        ("as" * 80, ["[UNK]"]),  # longer than a word may be
        ("[MASK]", ["[", "mask", "]"]),  # a page cannot forge a special token
        ("", []),
        (" \n", []),
    ],
)
def test_text_is_tokenised_as_bert_does(tokenizer, text, expected):
    assert tokens(tokenizer, text) == expected


def test_cased_tokenizer_keeps_case_and_accents(vocab_file):
    assert tokens(WordPiece(vocab_file, lower_case=False), "the The café") == [
        "the",
        "[UNK]",
        "café",
    ]


def test_ids_of_special_tokens_are_named(tokenizer):
    assert [
        tokenizer.pad_id,
        tokenizer.unk_id,
        tokenizer.cls_id,
        tokenizer.sep_id,
        tokenizer.mask_id,
    ] == [0, 1, 2, 3, 4]
    assert tokenizer.vocab_size == 5 + len(WORDS)


@pytest.mark.parametrize("number", [-1, 18, 1000])
def test_token_of_an_unknown_id_is_an_error(tokenizer, number):
    with pytest.raises(IndexError, match=f"token id {number}"):
        tokenizer.token(number)


def test_decode_joins_pieces(tokenizer):
    assert tokenizer.decode(tokenizer.encode(["the unaffable cafe."])[0]) == "the unaffable cafe ."


def test_fingerprint_depends_on_vocabulary_and_settings_not_on_the_path(tokenizer, tmp_path):
    other = tmp_path / "elsewhere.txt"
    other.write_bytes((tmp_path / "vocab.txt").read_bytes().rstrip(b"\n"))
    assert WordPiece(other).fingerprint() == tokenizer.fingerprint()
    assert WordPiece(other, lower_case=False).fingerprint() != tokenizer.fingerprint()
    other.write_text(other.read_text(encoding="utf-8").replace("##s", "##t"), encoding="utf-8")
    assert WordPiece(other).fingerprint() != tokenizer.fingerprint()
    golden = "6da7aed121892f0f463b89dcb67e74dc503939f08140be4908ca6856a8956ddb"
    assert tokenizer.fingerprint() == golden


def test_info_is_what_manifests_say(tokenizer):
    assert tokenizer.info() == {
        "kind": "wordpiece",
        "fingerprint": tokenizer.fingerprint(),
        "vocab_size": 18,
        "lower_case": True,
    }


def test_copy_for_another_process_is_the_same(tokenizer):
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert copy.fingerprint() == tokenizer.fingerprint()
    assert copy.encode(["the cafe"]) == tokenizer.encode(["the cafe"])


def test_threads_may_share_one(tokenizer):
    texts = [f"the {'un' * (n % 5)} cafe." for n in range(2000)]
    expected = tokenizer.encode(texts)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: tokenizer.encode([text])[0], texts)) == expected


def test_fork_after_use_neither_hangs_nor_warns(vocab_file):
    program = (
        "import os, sys\n"
        "from limbeck.tokens import WordPiece\n"
        f"tokenizer = WordPiece({str(vocab_file)!r})\n"
        "ids = tokenizer.encode(['the cafe'] * 500)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    os._exit(0 if tokenizer.encode(['the cafe'] * 500) == ids else 1)\n"
        "sys.exit(os.waitpid(pid, 0)[1])\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TOKENIZERS_PARALLELISM"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_spawned_process_takes_one_as_an_argument(tokenizer):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(WordPiece.fingerprint, tokenizer).result() == tokenizer.fingerprint()


def test_folder_is_written_and_loaded(tokenizer, tmp_path):
    folder = tmp_path / "tokenizer"
    save_tokenizer(tokenizer, folder)
    assert sorted(os.listdir(folder)) == ["tokenizer_config.json", "vocab.txt"]
    assert load_tokenizer(folder).fingerprint() == tokenizer.fingerprint()
    assert load_tokenizer(folder / "vocab.txt").fingerprint() == tokenizer.fingerprint()
    save_tokenizer(tokenizer, folder)  # once more is no harm


def test_folder_of_another_tokenizer_is_not_overwritten(tokenizer, vocab_file, tmp_path):
    save_tokenizer(tokenizer, tmp_path / "t")
    with pytest.raises(UsageError, match="tokenizer_config.json: belongs to another tokenizer"):
        save_tokenizer(WordPiece(vocab_file, lower_case=False), tmp_path / "t")
    assert load_tokenizer(tmp_path / "t").lower_case


def test_folder_says_its_own_case(vocab_file, tmp_path):
    save_tokenizer(WordPiece(vocab_file, lower_case=False), tmp_path / "t")
    assert not load_tokenizer(tmp_path / "t").lower_case
    assert not load_tokenizer(tmp_path / "t", lower_case=False).lower_case
    with pytest.raises(LimbeckError, match="do_lower_case is False there; True was asked for"):
        load_tokenizer(tmp_path / "t", lower_case=True)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "tokenizer_config.json: not JSON"),
        ("[]", "holds a list; expected a JSON object"),
        ('{"do_lower_case": "yes"}', "do_lower_case is 'yes'; expected true or false"),
        ('{"strip_accents": 1}', "strip_accents is 1; expected true or false"),
        ('{"tokenize_chinese_chars": "no"}', "tokenize_chinese_chars is 'no'; expected true"),
        ('{"limbeck": {"fingerprint": "00ff"}}', "the vocabulary or a setting was changed since"),
    ],
)
def test_bad_folder_is_refused(vocab_file, tmp_path, config, message):
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(LimbeckError, match=message):
        load_tokenizer(tmp_path)


def test_folder_without_a_vocabulary_is_refused(tmp_path):
    with pytest.raises(LimbeckError, match=r"no tokenizer in it; expected vocab\.txt"):
        load_tokenizer(tmp_path)


def test_size_is_checked_where_it_is_known(vocab_file):
    with pytest.raises(LimbeckError, match="18 tokens where 30522 are expected"):
        load_tokenizer(vocab_file, expected_size=30522)


def test_ids_equal_those_of_the_checkpoints_own_tokenizer():
    folder = data_dir() / "all-minilm-l6-v2"
    if not (folder / "tokenizer.json").exists():
        pytest.skip("run `make setup` to fetch the real vocabulary")
    import tokenizers

    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.no_padding()
    theirs.no_truncation()
    ours = load_tokenizer(folder, expected_size=30522)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert ours.lower_case == config["do_lower_case"]
    texts = [
        "The quick brown fox jumps over the lazy dog.",
        "Crème brûlée, naïve façade — Ångström's 3.14%!",
        "日本語 and 中文 mixed with العربية and हिन्दी",
        "x" * 99 + " " + "x" * 101,
        "\u200bzero\u00adwidth\ufeff \U0001f600 ﬁ ½ ①",
        "http://example.org/a_b?c=d#e",
        "".join(map(chr, range(0x20, 0x3000, 7))),
    ]
    expected = [e.ids for e in theirs.encode_batch(texts, add_special_tokens=False)]
    assert ours.encode(texts) == expected


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({"strip_accents": False}, "Caf\u00e9", ["caf\u00e9"]),
        ({"strip_accents": True, "lower_case": False}, "caf\u00e9", ["cafe"]),
        ({"split_chinese": False}, "a\u4e2d", ["[UNK]"]),
    ],
)
def test_other_settings_are_honoured_and_kept(vocab_file, tmp_path, options, text, expected):
    tokenizer = WordPiece(vocab_file, **options)
    assert tokens(tokenizer, text) == expected
    assert tokens(WordPiece(vocab_file, options.get("lower_case", True)), text) != expected
    save_tokenizer(tokenizer, tmp_path / "t")
    for copy in (load_tokenizer(tmp_path / "t"), pickle.loads(pickle.dumps(tokenizer))):
        assert copy.fingerprint() == tokenizer.fingerprint() and tokens(copy, text) == expected
    plain = WordPiece(vocab_file, options.get("lower_case", True))
    assert plain.fingerprint() != tokenizer.fingerprint() and plain.info() != tokenizer.info()


def test_settings_that_say_the_default_change_nothing(vocab_file):
    plain = WordPiece(vocab_file)
    said = WordPiece(vocab_file, strip_accents=True, split_chinese=True)
    assert said.fingerprint() == plain.fingerprint() and said.info() == plain.info()
