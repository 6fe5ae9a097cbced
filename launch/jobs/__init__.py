"""How a job on several ranks is started: hosts, their links, the mpirun line, checks before it."""
