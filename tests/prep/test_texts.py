from limbeck.records.documents import document_row
from prep.texts import marks_spaces, running_text, spaced


class Pieces:
    """Characters; a word after a space is one id more, as in byte-level BPE, or is not."""

    def __init__(self, marks):
        self.marks = marks

    def encode(self, texts):
        return [
            [ord(word[-1]) + 1000 * (self.marks and n > 0) for n, word in enumerate(t.split(" "))]
            for t in texts
        ]


def test_tokenizers_that_tell_a_word_after_a_space_are_known_by_what_they_do():
    assert marks_spaces(Pieces(True)) and not marks_spaces(Pieces(False))


def test_sentences_get_the_space_that_stood_before_them():
    assert spaced(["One.", "Two.", "Three."]) == ["One.", " Two.", " Three."]


def test_running_text_has_a_line_for_each_paragraph():
    key = bytes(16)
    sentences = ["A b.", "C.", "D.", "E."]
    row = document_row(key=key, title="", sentences=sentences, paragraphs=[0, 2])
    assert running_text(row) == "A b. C.\nD. E."
    assert running_text(document_row(key=key, title="", sentences=sentences)) == "A b. C. D. E."
    assert running_text(document_row(key=key, title="", sentences=[])) == ""
