"""Builds the environment and starts the other stages' commands: writes and runs command lines.

The modules that `make setup` needs (`environment`, `mpi`, `install`, `data`, `horovod`) use the
standard library only, so that they run before anything is installed.
"""
