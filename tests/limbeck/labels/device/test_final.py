import numpy as np

from limbeck.labels import FinalSignal, Side, final
from limbeck.labels.device.final import full_logits


def test_full_logits_of_both_twins_agree():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(40, 16)).astype(np.float32)
    side = Side(
        tensors={
            "decoder/kernel": rng.normal(scale=0.1, size=(30, 16)).astype(np.float32),
            "decoder/bias": rng.normal(size=30).astype(np.float32),
        }
    )
    fitted, _ = final.fit(FinalSignal(), {"states": states}, side=side)
    arrays = final.encode(fitted, {"states": states})
    expected = final.full_logits(final.decode(fitted, arrays)["states"], fitted.tensors)
    # Sums of 16 products below 1: a few half ulps.
    np.testing.assert_allclose(full_logits(fitted, arrays).numpy(), expected, atol=1e-6)
