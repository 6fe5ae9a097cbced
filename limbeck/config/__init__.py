"""Settings: frozen dataclasses to and from YAML and command lines; the errors commands end with.

Only the errors are re-exported, so that any module may raise them at the cost of the standard
library alone. The other doors are opened by name: `limbeck.config.command` (tyro) and
`limbeck.config.yaml_file` (PyYAML).
"""

from limbeck.config.errors import LimbeckError, UsageError

__all__ = ["LimbeckError", "UsageError"]
