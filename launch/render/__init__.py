"""`python -m launch render slurm|kubernetes|lsf`: files that hand a command to a scheduler.

Each scheduler has a frozen dataclass of what the file says and a function that writes its text;
nothing is submitted. `launch.render.command` is the command line.
"""
