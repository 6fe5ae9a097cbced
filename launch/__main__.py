"""`python -m launch`: start commands on several ranks."""

from launch.run import LATER_VERBS, later, run
from limbeck.config.command import dispatch

if __name__ == "__main__":
    dispatch(
        "launch",
        {
            "run": (run, "run a command on several ranks under mpirun"),
            **{verb: (later(verb), text) for verb, text in LATER_VERBS.items()},
        },
    )
