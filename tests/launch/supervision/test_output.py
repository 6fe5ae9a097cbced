"""Lines of several ranks are told apart, also where Open MPI cut and mixed them."""

from launch.supervision.output import Line, demultiplex


def lines(text):
    return list(demultiplex(text.splitlines(keepends=True)))


def test_marks_say_whose_line_it_is():
    text = "[1,0]<stdout>:step 1\n[1,12]<stderr>:warning\nmpirun: bye\n"
    assert lines(text) == [Line(0, "step 1"), Line(12, "warning"), Line(None, "mpirun: bye")]
    assert [str(line) for line in lines(text)] == ["[r0] step 1", "[r12] warning", "mpirun: bye"]


def test_pieces_of_lines_find_together():
    """As two ranks printed with Open MPI 4.1.8."""
    text = (
        "[1,0]<stdout>:up 0 [1,1]<stdout>:up 1 5028 [1,0]<stdout>:29952[1,0]<stdout>: 5023\n"
        "[1,1]<stdout>:29952[1,1]<stdout>: [1,1]<stdout>:5023\n"
    )
    assert lines(text) == [Line(0, "up 0 29952 5023"), Line(1, "up 1 5028 29952 5023")]


def test_output_and_errors_of_a_rank_are_not_mixed():
    text = "[1,0]<stdout>:half [1,0]<stderr>:whole\n[1,0]<stdout>:line\n"
    assert lines(text) == [Line(0, "whole"), Line(0, "half line")]


def test_last_line_without_an_end_is_not_lost():
    assert lines("[1,3]<stdout>:half") == [Line(3, "half")]


def test_own_prefix_of_a_rank_counts_and_is_said_once():
    assert lines("[1,0]<stderr>:[r2] train run: error: x\n") == [Line(2, "train run: error: x")]
    assert str(lines("[r2] x\n")[0]) == "[r2] x"
