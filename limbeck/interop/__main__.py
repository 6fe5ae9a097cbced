"""`python -m limbeck.interop {import,export}`: other people's records, both ways."""

from collections.abc import Sequence

from limbeck.config.command import dispatch, parse

PROG = "limbeck.interop"


def import_main(argv: Sequence[str]) -> None:
    """Imports TFRecord files as datasets."""
    from limbeck.interop.importing import ImportSettings, import_records

    settings = parse(
        ImportSettings,
        argv,
        prog=f"python -m {PROG} import",
        description="Imports TFRecord files as examples, and as labels where they have any.",
    )
    for role, manifest in import_records(settings).items():
        totals = manifest.content.totals
        print(
            f"{role}: {totals['records']:,} records, {totals['labelled_positions']:,} masked "
            f"positions, {totals['bytes']:,} bytes, {len(manifest.content.shards)} shards, "
            f"id {manifest.id[:12]}"
        )


def export_main(argv: Sequence[str]) -> None:
    """Exports datasets as a TFRecord file."""
    from limbeck.interop.exporting import ExportSettings, export_records

    settings = parse(
        ExportSettings,
        argv,
        prog=f"python -m {PROG} export",
        description="Exports an examples dataset, with a sparse family or without, as one file.",
    )
    num_records = export_records(settings)
    print(f"{settings.out}: {num_records:,} records of schema {settings.schema}")


if __name__ == "__main__":
    dispatch(
        PROG,
        {
            "import": (import_main, "TFRecord files of another system become datasets"),
            "export": (export_main, "datasets become a TFRecord file for another system"),
        },
        description="Reads and writes the records of other systems.",
    )
