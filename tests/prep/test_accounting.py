import pytest

from limbeck.config.errors import LimbeckError
from prep.accounting import Accounting

COUNTS = {"in": 10, "kept": 6, "redirect": 2, "empty": 1, "dead:timeout": 1}


def test_balanced_counts_pass_and_go_into_the_manifest():
    accounting = Accounting.of(COUNTS)
    accounting.check(what="pages")
    assert accounting.to_json() == {
        "in": 10,
        "kept": 6,
        "filtered": {"empty": 1, "redirect": 2},
        "dead_letters": 1,
    }
    again = Accounting.from_json(accounting.to_json())
    again.check(what="pages")
    assert again.to_json() == accounting.to_json()


@pytest.mark.parametrize("name", list(COUNTS))
@pytest.mark.parametrize("change", [-1, 1])
def test_any_count_that_is_off_by_one_is_an_error(name, change):
    counts = {**COUNTS, name: COUNTS[name] + change}
    with pytest.raises(LimbeckError, match="pages went in and"):
        Accounting.of(counts).check(what="pages")


def test_notes_are_told_and_are_no_part_of_the_balance():
    accounting = Accounting.of({**COUNTS, "note:truncated_tokens": 7})
    accounting.check(what="pages")
    assert accounting.to_json() == {
        **Accounting.of(COUNTS).to_json(),
        "notes": {"truncated_tokens": 7},
    }
    assert Accounting.from_json(accounting.to_json()).notes == {"truncated_tokens": 7}
    assert "note: truncated_tokens" in accounting.table(what="pages")


def test_table_lists_every_reason():
    lines = Accounting.of(COUNTS).table(what="pages").splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "pages in 10",
        "= kept 6",
        "+ filtered: empty 1",
        "+ filtered: redirect 2",
        "+ dead letters: timeout 1",
    ]
    assert "+ dead letters" in Accounting.of({"in": 0}).table(what="pages")
