"""Everything Kindred raises on purpose.

KindredError
├── InputError            the caller's data is wrong; carries the path of the field at fault
│   ├── UnknownItem       an item id that the catalogue does not hold
│   ├── UnknownRule       a rule id that nothing is kept under
│   └── ImageRejected     an image that cannot be fetched, is too large or does not decode
├── SettingsError         kindred.toml or the environment is wrong; carries the path
├── ArtefactError         something on disk is missing, damaged or made for other inputs
│   ├── NotBuilt          no index or model version is current yet
│   └── VersionMismatch   two artefacts that do not belong together
├── StoreError            the vector store failed
│   ├── StoreUnavailable  it does not answer
│   └── StoreTimeout      it did not answer in time
├── CatalogueError        the catalogue of record failed (disk full, read-only, locked)
├── RulesError            the rules failed (disk full, read-only, locked, damaged)
└── LogError              the event or decision log failed (disk full, read-only, locked)
    └── LogFull           more waits for its commit than the process will hold
"""

from __future__ import annotations


class KindredError(Exception):
    """Base of every error that Kindred raises on purpose."""


class InputError(KindredError):
    """The caller's data is wrong.

    `path` names the field at fault in JSON-path form (`$.items[3].price_minor`).
    """

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(f"{message} - at `{path}`")
        self.message = message
        self.path = path


class UnknownItem(InputError):
    """An item id that the catalogue does not hold."""

    def __init__(self, item_id: str, path: str = "$.item_id") -> None:
        super().__init__(f"unknown item {item_id!r}", path)
        self.item_id = item_id


class UnknownRule(InputError):
    """A rule id that nothing is kept under."""

    def __init__(self, rule_id: str, path: str = "path.rule_id") -> None:
        super().__init__(f"unknown rule {rule_id!r}", path)
        self.rule_id = rule_id


class ImageRejected(InputError):
    """An image that cannot be fetched, is too large, or does not decode."""


class SettingsError(KindredError):
    """A setting is wrong; `path` says which."""

    def __init__(self, message: str, path: str = "$") -> None:
        super().__init__(f"{message} - at `{path}`")
        self.path = path


class ArtefactError(KindredError):
    """Something on disk is missing, damaged or made for other inputs."""


class NotBuilt(ArtefactError):
    """No index or model version is current yet; the message names the command that makes one."""


class VersionMismatch(ArtefactError):
    """Two artefacts that do not belong together."""


class StoreError(KindredError):
    """The vector store failed."""


class StoreUnavailable(StoreError):
    """The vector store does not answer."""


class StoreTimeout(StoreError):
    """The vector store did not answer in time."""


class CatalogueError(KindredError):
    """The catalogue of record failed (disk full, read-only, locked)."""


class RulesError(KindredError):
    """The merchandisers' rules failed (disk full, read-only, locked, damaged)."""


class LogError(KindredError):
    """The event or decision log failed (disk full, read-only, locked)."""


class LogFull(LogError):
    """More waits for its commit than the process will hold."""
