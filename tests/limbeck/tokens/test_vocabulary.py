import pytest

from limbeck.config.errors import LimbeckError
from limbeck.tokens import SPECIAL_TOKENS, read_vocabulary

SPECIALS = "".join(f"{token}\n" for token in SPECIAL_TOKENS)


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "vocab.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


@pytest.mark.parametrize("end", ["\n", ""])
def test_tokens_come_in_the_order_of_their_lines(write, end):
    tokens = read_vocabulary(write(SPECIALS + "the\n##s\n\u2028\n中" + end))
    assert tokens == (*SPECIAL_TOKENS, "the", "##s", "\u2028", "中")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the vocabulary is empty"),
        (SPECIALS.replace("[MASK]\n", "") + "the\n", r"\[MASK\] missing among its 5 tokens"),
        ("the\n", r"\[PAD\], \[UNK\], \[CLS\], \[SEP\], \[MASK\] missing"),
        (SPECIALS + "a\nb\na\n", "line 8 repeats the token 'a' of line 6"),
        (SPECIALS + "a\n\nb\n", "line 7 is empty"),
        (SPECIALS.replace("\n", "\r\n"), "line 1 ends with CR LF"),
        (SPECIALS.encode() + b"a\ncaf\xe9\n", "line 7: not UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "line 1: not UTF-8"),
    ],
)
def test_bad_file_is_refused_with_its_name_and_line(write, content, message):
    path = write(content)
    with pytest.raises(LimbeckError, match=f"vocab.txt: .*{message}") as error:
        read_vocabulary(path)
    assert str(error.value).startswith(path)


def test_another_size_than_expected_is_refused(write):
    path = write(SPECIALS + "the\n")
    assert len(read_vocabulary(path, expected_size=6)) == 6
    with pytest.raises(LimbeckError, match="6 tokens where 30522 are expected"):
        read_vocabulary(path, expected_size=30522)


def test_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_vocabulary(tmp_path / "vocab.txt")
