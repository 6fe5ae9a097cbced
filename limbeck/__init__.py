"""What two or more stages of Limbeck share; imports no stage."""

__version__ = "0.1.0"

__all__ = ["__version__"]
