import pytest

from limbeck.config.errors import UsageError
from prep.kinds.settings import ExampleSettings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_seq_length": 4}, "max_seq_length is 4; it must be from 5 to 65535"),
        ({"max_seq_length": 2, "kind": "mlm"}, "max_seq_length is 2; it must be from 3"),
        ({"max_seq_length": 70_000}, "max_seq_length is 70000"),
        ({"max_predictions_per_seq": 0}, "max_predictions_per_seq is 0"),
        ({"max_seq_length": 10, "max_predictions_per_seq": 11}, "from 1 to 10"),
        ({"short_seq_prob": 1.5}, "short_seq_prob is 1.5; it must be from 0 to 1"),
        ({"masked_lm_prob": -0.1}, "masked_lm_prob is -0.1"),
        ({"masked_lm_prob": float("nan")}, "masked_lm_prob is nan"),
        ({"dupe_factor": 0}, "dupe_factor is 0"),
        ({"dupe_factor": 65_537}, "dupe_factor is 65537"),
        ({"seed": 1 << 63}, "seed is"),
        ({"masking": "none"}, "--masking none leaves --kind pairs without a question"),
        ({"masking": "none", "kind": "mlm"}, "--masking none leaves --kind mlm"),
    ],
)
def test_impossible_settings_are_refused_with_the_value(options, message):
    with pytest.raises(UsageError, match=message):
        ExampleSettings(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "clm", "masking": "whole-word"}, "--masking has no effect with --kind clm"),
        ({"kind": "clm", "dupe_factor": 2}, "--dupe-factor has no effect with --kind clm"),
        ({"kind": "mlm", "short_seq_prob": 0.2}, "--short-seq-prob has no effect with --kind mlm"),
        ({"within_documents": True}, "--within-documents has no effect with --kind pairs"),
        ({"kind": "mlm", "drop_tails": True}, "--drop-tails has no effect with --kind mlm"),
        ({"kind": "mlm", "second_segment": "none"}, "--second-segment has no effect"),
        ({"rare_exponent": 0.5}, "--rare-exponent has no effect with --kind pairs --masking token"),
        (
            {"interleaved": True, "masked_lm_prob": 0.2},
            "--masked-lm-prob has no effect with --kind pairs --masking token --interleaved",
        ),
        (
            {"kind": "lines", "masking": "none", "masked_lm_prob": 0.2},
            "--masked-lm-prob has no effect with --kind lines --masking none",
        ),
        (
            {"kind": "unmasked-pairs", "second_segment": "none", "dupe_factor": 3},
            "--dupe-factor has no effect with --kind unmasked-pairs --second-segment none",
        ),
        (
            {"kind": "unmasked-pairs", "within_documents": True},
            "--within-documents has no effect with --kind unmasked-pairs --second-segment random",
        ),
    ],
)
def test_options_without_effect_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        ExampleSettings(**options)


def test_interleaving_that_cannot_label_every_token_is_refused():
    with pytest.raises(UsageError, match="labels up to 126 tokens of a row in 6 passes of at most"):
        ExampleSettings(interleaved=True, dupe_factor=6)
    ExampleSettings(interleaved=True, dupe_factor=7)
    with pytest.raises(UsageError, match="--masking span chooses by another rule"):
        ExampleSettings(interleaved=True, masking="span")


@pytest.mark.parametrize(
    ("options", "content"),
    [
        (
            {},
            {
                "example_kind": "pairs",
                "recipe": "bert-pairs-1",
                "masking": "token",
                "masking_recipe": "bert-1",
                "interleaved": False,
                "dupe_factor": 10,
                "masked_lm_prob": 0.15,
                "max_predictions_per_seq": 20,
                "max_seq_length": 128,
                "short_seq_prob": 0.1,
            },
        ),
        (
            {"kind": "clm"},
            {
                "example_kind": "clm",
                "recipe": "blocks-1",
                "drop_tails": False,
                "max_seq_length": 128,
                "within_documents": False,
            },
        ),
    ],
)
def test_manifest_names_what_has_an_effect(options, content):
    assert ExampleSettings(**options).content() == content
