import numpy as np
import pytest
import tensorflow as tf

from limbeck.architectures import EncoderArchitecture
from limbeck.config import UsageError
from limbeck.labels import sparse
from limbeck.models import build_masked_lm
from limbeck.records.dataset import open_dataset
from train.evaluate import Evaluator, ModelPredictor, Unigram
from train.families import open_family

V = 50


@pytest.fixture(scope="module")
def heldout(shared_toy):
    return open_dataset(shared_toy.root / "examples")


@pytest.fixture(scope="module")
def model():
    shape = EncoderArchitecture(
        vocab_size=V,
        num_layers=1,
        hidden_dim=8,
        num_heads=2,
        intermediate_dim=8,
        max_positions=16,
        initializer_range=0.5,
    )
    return build_masked_lm(shape, seed=1)


def masked(dataset):
    """Row, position and true id of every masked position, the slow way."""
    rows = dataset.read(np.arange(dataset.num_rows))
    for row in range(dataset.num_rows):
        for slot in range(int(rows["num_masked"][row])):
            place, true = rows["mask_positions"][row, slot], rows["mask_ids"][row, slot]
            yield row, slot, int(place), int(true)


def oracle(model, dataset, family):
    """Scores row by row, unpadded, in NumPy."""
    rows = dataset.read(np.arange(dataset.num_rows))
    labels = family.dataset.read(np.arange(dataset.num_rows))
    right, cross_entropy, kl = [], [], []
    for row, slot, place, true in masked(dataset):
        n, split = int(rows["num_tokens"][row]), int(rows["segment_split"][row])
        ids = tf.constant(rows["ids"][row : row + 1, :n].astype(np.int32))
        segments = tf.constant([[0] * split + [1] * (n - split)])
        encoded = model.encode(ids, segments, tf.ones_like(ids))
        z = model.logits_at(encoded.last, tf.constant([[place]]))[0, 0].numpy().astype(np.float64)
        log_q = z - np.logaddexp.reduce(z)
        right.append(int(np.argmax(z)) == true)
        cross_entropy.append(-log_q[true])
        stored = {k: labels[k][row, slot][None] for k in ("ids", "logits", "log_tail")}
        decoded = sparse.decode(stored, temperatures=family.signal.temperatures)
        log_p = sparse.target(decoded, temperature=1.0)[0].astype(np.float64)
        head = log_q[decoded.ids[0]]
        rest = np.logaddexp.reduce(np.delete(log_q, decoded.ids[0]))
        kl.append(np.sum(np.exp(log_p) * (log_p - np.append(head, rest))))
    return len(right), np.mean(right), np.mean(cross_entropy), np.mean(kl)


def test_scores_are_those_of_a_slow_oracle_for_any_batch_size(shared_toy, heldout, model):
    family = open_family("top", str(shared_toy.root / "top"), heldout, vocab_size=V)
    positions, accuracy, cross_entropy, kl = oracle(model, heldout, family)
    for batch_rows in (1000, 7):
        scores = Evaluator(
            ModelPredictor(model), heldout, vocab_size=V, family=family, batch_rows=batch_rows
        ).scores()
        assert scores.positions == positions
        assert scores.accuracy == pytest.approx(accuracy)
        assert scores.cross_entropy == pytest.approx(cross_entropy, rel=1e-5)
        assert scores.kl == pytest.approx(kl, rel=1e-5)


def test_unigram_has_the_smoothed_frequencies_of_true_ids(heldout):
    counts = np.ones(V)
    for _, _, _, true in masked(heldout):
        counts[true] += 1
    unigram = Unigram.fit(heldout, vocab_size=V)
    np.testing.assert_allclose(np.exp(unigram.log_probs), counts / counts.sum(), rtol=1e-6)
    scores = Evaluator(unigram, heldout, vocab_size=V).scores()
    true = np.array([t for _, _, _, t in masked(heldout)])
    assert scores.accuracy == pytest.approx(np.mean(true == np.argmax(counts)))
    assert scores.cross_entropy == pytest.approx(-np.log(counts / counts.sum())[true].mean())
    assert scores.kl is None


def test_kl_needs_a_sparse_family_with_temperature_one(toy, model):
    examples = toy.examples()
    toy.sparse(examples, "hot", temperatures=(2.0, 4.0))
    toy.hidden(examples)
    dataset = open_dataset(examples)
    for name, message in (("hot", "temperature 1 is not in"), ("states", "no sparse family")):
        family = open_family(name, str(toy.root / name), dataset, vocab_size=V)
        with pytest.raises(UsageError, match=message):
            Evaluator(ModelPredictor(model), dataset, vocab_size=V, family=family)
