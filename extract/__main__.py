"""`python -m extract {run,inspect,derive}`."""

from collections.abc import Sequence

from limbeck.config.command import dispatch


def _run(argv: Sequence[str]) -> None:
    from extract import commands  # costs tyro; `--version` and the list of verbs do without

    commands.run(argv)


def _inspect(argv: Sequence[str]) -> None:
    from extract import commands

    commands.inspect(argv)


def _derive(argv: Sequence[str]) -> None:
    from extract import commands

    commands.derive(argv)


def main() -> None:
    """Runs the verb of the command line."""
    verbs = {
        "run": (_run, "label examples with a teacher"),
        "inspect": (
            _inspect,
            "what label families hold, as a page with plots; their codecs' error",
        ),
        "derive": (_derive, "a sparse family from a final family, without the teacher"),
    }
    dispatch("extract", verbs, description="Teacher signals, kept on disk once.")


if __name__ == "__main__":
    main()
