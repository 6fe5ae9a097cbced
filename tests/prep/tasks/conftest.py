"""A small WordPiece vocabulary, and files of labelled rows."""

import pytest

from limbeck.tokens import SPECIAL_TOKENS, WordPiece
from prep.kinds.frame import frame_of
from prep.tasks.encoding import TaskEncoder
from prep.tasks.settings import TaskSettings

WORDS = "a good bad film the play ##ing ##er dog runs in paris new york who where ? . , 1 2 3"


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    letters = "bcdefghijklmnopqrstuvwxyz"
    tokens = [*SPECIAL_TOKENS, *WORDS.split(), *letters, *(f"##{n}" for n in "a" + letters)]
    path.write_text("\n".join(dict.fromkeys(tokens)) + "\n")
    return WordPiece(path)


@pytest.fixture
def write(tmp_path):
    """Writes a file of lines, or of bytes; returns its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.fixture
def encoder(tokenizer):
    """Returns an encoder for a task."""

    def encoder(*, labels=(), **options):
        return TaskEncoder(
            settings=TaskSettings(**{"max_seq_length": 16, **options}),
            tokenizer=tokenizer,
            frame=frame_of(tokenizer, what="a test"),
            labels=labels,
        )

    return encoder
