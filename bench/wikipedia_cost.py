"""What all of English Wikipedia costs: tokens, bytes, core-hours, GPU-hours, network. Arithmetic.

    python -m bench.wikipedia_cost [--tokens 3.2e9] [--epochs 3] [--gpu-flops 989e12] ...

Nothing is measured here; every assumption is an option and is printed with where it comes from, and
sizes and operations follow from the formats and shapes that the rest of the project uses. Prints
Markdown.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import tyro

from launch.planning.network import Cluster, parse_network, reduce_seconds
from limbeck.architectures import EncoderArchitecture
from limbeck.labels.signals import FinalSignal, HiddenSignal, LabelDims, SparseSignal
from limbeck.records.examples import examples_layout
from limbeck.records.layout import Layout
from limbeck.records.rows import FixedRows

VOCAB_SIZE = 30522
TEACHER = EncoderArchitecture(
    vocab_size=VOCAB_SIZE, num_layers=12, hidden_dim=768, num_heads=12, intermediate_dim=3072
)
STUDENTS = {
    "DistilBERT's shape, 6 x 768": dataclasses.replace(TEACHER, num_layers=6),
    "MiniLM's shape, 6 x 384": dataclasses.replace(
        TEACHER, num_layers=6, hidden_dim=384, intermediate_dim=1536
    ),
    "TinyBERT's shape, 4 x 312": dataclasses.replace(
        TEACHER, num_layers=4, hidden_dim=312, intermediate_dim=1200
    ),
}
NETWORKS = ("10GbE", "25GbE", "100Gb/s", "400Gb/s")


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What is not known before it was done; each is an option."""

    tokens: float = 3.2e9
    """WordPiece tokens of all articles, bert-base-uncased vocabulary. An assumption."""
    xml_bytes: float = 100e9
    """Unpacked size of the dump of current articles. An assumption: about 23 GB as bz2."""
    bytes_per_token: float = 4.80
    """Of clean text; measured on the sample of 106 articles."""
    seq_length: int = 128
    """Tokens a row; rows are taken as full."""
    max_predictions: int = 20
    """Masked positions a row, most."""
    maskings: int = 1
    """Differently masked copies of every row (dupe_factor); bytes and extraction grow with them."""
    mask_rate: float = 0.15
    """Share of the tokens that is masked."""
    lean_bytes: float = 96.4
    """A position of the default sparse codec; measured (docs/codecs.md)."""
    record_overhead: float = 100.0
    """Of a record of variable length: key, digest, counts, framing and names of fields."""
    wikipedia_rate: float = 487e6 / 78.3
    """XML a core and second through beam_pipelines.wikipedia; measured (docs/preparation.md)."""
    examples_rate: float = 24 * 2.93e6 / 40.9
    """Text a core and second through beam_pipelines.examples; measured (docs/preparation.md)."""
    gpu_flops: float = 989e12
    """Peak of one GPU in bfloat16 without sparsity: an H100 (an A100 312e12, a V100 125e12)."""
    utilisation: float = 0.35
    """Share of the peak that is reached. An assumption: NVIDIA's published 485.6 sequences/s of
    BERT-Large on one A100 are 0.37 of its peak. Small students reach less."""
    epochs: float = 3.0
    """How often the student goes through the rows, all maskings together."""
    global_batch: int = 4096
    """Rows of an update."""
    hosts: int = 4
    """Hosts of the training job."""
    ranks_per_host: int = 8
    """GPUs of each."""

    @property
    def rows(self) -> float:
        """Of one masking."""
        return self.tokens / self.seq_length

    @property
    def masked(self) -> float:
        """Positions a row."""
        return min(self.mask_rate * self.seq_length, self.max_predictions)


def sizes(a: Assumptions) -> dict[str, float]:
    """Bytes of examples and families, all maskings."""
    dims = LabelDims(
        seq_length=a.seq_length,
        max_predictions=a.max_predictions,
        vocab_size=VOCAB_SIZE,
        hidden_dim=TEACHER.hidden_dim,
        final_dim=TEACHER.hidden_dim,
    )
    examples = examples_layout(
        seq_length=a.seq_length, max_predictions=a.max_predictions, vocab_size=VOCAB_SIZE
    )
    states = HiddenSignal(layer=12, positions="all", codec="int8")
    a_row = {
        "examples, masked pairs": _stride(examples),
        "`sparse`, recommended: lean 1/120, T = 1": a.masked * a.lean_bytes + a.record_overhead,
        "`sparse`, top 16 and the rest, T = 1, 2, 4": _stride(SparseSignal(k=16).layout(dims, {})),
        "`final`, int8: any temperature": _stride(FinalSignal(codec="int8").layout(dims)),
        "`hidden`, one layer, all tokens, int8": _stride(states.layout(dims)),
        "full logits, float16, for comparison": a.masked * VOCAB_SIZE * 2.0,
    }
    return {name: size * a.rows * a.maskings for name, size in a_row.items()}


def forward_flops(shape: EncoderArchitecture, a: Assumptions) -> float:
    """Of a forward pass over one row, with the head at its masked positions."""
    positions = 1_000_000  # of as many rows, so that shares of a position do not round away
    flops = shape.forward_flops(
        num_tokens=a.seq_length * positions,
        seq_length=a.seq_length,
        num_logit_positions=round(a.masked * positions),
    )
    return flops / positions


def gpu_hours(flops: float, a: Assumptions) -> float:
    """Of so many operations."""
    return flops / (a.gpu_flops * a.utilisation) / 3600


def report(a: Assumptions) -> Iterator[str]:
    """The lines of the page."""
    yield from _assumptions(a)
    yield "\n**Preparation.**"
    xml_h, text = a.xml_bytes / a.wikipedia_rate / 3600, a.tokens * a.bytes_per_token
    yield (
        f"{a.xml_bytes / 1e9:.0f} GB of XML become {text / 1e9:.1f} GB of text and {a.tokens:.3g} "
        f"tokens: {xml_h:.1f} core-hours of `beam_pipelines.wikipedia` and "
        f"{a.maskings * text / a.examples_rate / 3600:.1f} of `.examples`."
    )
    yield "\n**Store.**\n\n| dataset | bytes a token | all |\n|---|---|---|"
    for name, size in sizes(a).items():
        yield f"| {name} | {size / a.tokens / a.maskings:,.1f} | {size / 1e9:,.0f} GB |"
    teacher = forward_flops(TEACHER, a) * a.rows * a.maskings
    yield "\n**Extraction.**"
    yield (
        f"BERT-base runs forward once over {a.rows * a.maskings:,.0f} rows: {teacher:.3g} "
        f"operations, {gpu_hours(teacher, a):.1f} GPU-hours."
    )
    yield "\n**Training.**\n"
    yield "| student | parameters | operations | GPU-hours |\n|---|---|---|---|"
    for name, shape in STUDENTS.items():
        flops = 3 * forward_flops(shape, a) * a.rows * a.epochs
        yield (
            f"| {name} | {shape.num_parameters() / 1e6:.1f} M | {flops:.3g} | "
            f"{gpu_hours(flops, a):,.1f} |"
        )
    yield from _network(a)
    yield from _reading(a)


def _assumptions(a: Assumptions) -> Iterator[str]:
    yield "| assumption | value |\n|---|---|"
    for field in dataclasses.fields(a):
        yield f"| `{field.name}` | {getattr(a, field.name):.3g} |"


def _network(a: Assumptions) -> Iterator[str]:
    """The ring's time against the step's, for every student."""
    cluster = Cluster(hosts=a.hosts, ranks_per_host=a.ranks_per_host)
    rows = a.global_batch / cluster.size
    yield (
        f"\n**Network.** {cluster}, {a.global_batch:,} rows an update, {rows:.0f} a rank; one "
        "ring; efficiency with float32 / float16 gradients.\n"
    )
    yield f"| student | step alone | {' | '.join(NETWORKS)} |\n|---|---|{'---|' * len(NETWORKS)}"
    for name, shape in STUDENTS.items():
        compute_s = 3600 * gpu_hours(3 * forward_flops(shape, a) * rows, a)
        cells = [_efficiencies(shape, cluster, network, compute_s) for network in NETWORKS]
        yield f"| {name} | {1e3 * compute_s:.1f} ms | {' | '.join(cells)} |"


def _reading(a: Assumptions) -> Iterator[str]:
    """What the disks of a host must give where nothing else slows a student down."""
    yield (
        f"\n**Reading.** MB/s of each host with {a.ranks_per_host} GPUs at the speed of the step "
        "alone.\n"
    )
    yield f"| dataset | {' | '.join(STUDENTS)} |\n|---|{'---|' * len(STUDENTS)}"
    rows_per_s = [
        a.ranks_per_host / 3600 / gpu_hours(3 * forward_flops(shape, a), a)
        for shape in STUDENTS.values()
    ]
    for name, size in sizes(a).items():
        a_row = size / a.rows / a.maskings
        yield f"| {name} | {' | '.join(f'{a_row * r / 1e6:,.0f}' for r in rows_per_s)} |"


def _efficiencies(
    shape: EncoderArchitecture, cluster: Cluster, network: str, compute_s: float
) -> str:
    found = []
    for size in (4, 2):
        reduce_s = reduce_seconds(size * shape.num_parameters(), cluster, parse_network(network))
        found.append(f"{100 * compute_s / (compute_s + reduce_s):.0f}")
    return " / ".join(found) + " %"


def _stride(layout: Layout) -> float:
    return float(FixedRows(layout).stride)


if __name__ == "__main__":
    print("\n".join(report(tyro.cli(Assumptions, description=__doc__))))
