"""Beam glue over `prep`: sources, the keyed sink, pipelines and their commands.

Commands: `python -m beam_pipelines.{wikipedia,text,examples,vocabulary,token_counts,labels}`.
"""

import logging

# Beam's first import reports, on the root logger, optional cloud libraries that nobody asked for,
# and so makes Python configure that logger to print. A handler for the while prevents both.
_SILENT = logging.NullHandler()
logging.getLogger().addHandler(_SILENT)
import apache_beam  # noqa: E402, F401
from apache_beam.runners.portability.fn_api_runner import FnApiRunner  # noqa: E402, F401

logging.getLogger().removeHandler(_SILENT)

__all__: list[str] = []
