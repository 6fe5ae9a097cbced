import pytest

from extract.settings import ExtractSettings
from limbeck.config.errors import UsageError
from limbeck.labels import SparseSignal

FAMILIES = {"sparse": SparseSignal(k=4)}


def test_empty_output_is_refused_rather_than_the_working_directory():
    with pytest.raises(UsageError, match="--out is empty"):
        ExtractSettings(families=FAMILIES, examples="e", teacher="t", out="")


def test_no_family_is_refused():
    with pytest.raises(ValueError, match="families is empty"):
        ExtractSettings(families={}, examples="e", teacher="t", out="o")
