"""Other systems' records: BERT's pre-training schema and the first seed's labelled one, both ways.

TensorFlow-free. `python -m limbeck.interop {import,export}` is the command.
"""

from limbeck.interop.exporting import ExportSettings, export_records
from limbeck.interop.importing import ImportSettings, import_records

__all__ = ["ExportSettings", "ImportSettings", "export_records", "import_records"]
