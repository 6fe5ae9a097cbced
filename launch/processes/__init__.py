"""A command and all processes that came of it: followed, asked to stop, ended. Linux only."""
