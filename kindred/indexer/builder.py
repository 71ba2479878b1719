"""What the builder process does all day: encode what is new, and build the next index version.

Encoding goes on while a version is built, because the build runs in a process of its own: a new
item's vectors must not wait for minutes of graph building.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog

from kindred.indexer.catalogue import Catalogue, Change
from kindred.indexer.encoders.base import Encoder
from kindred.indexer.encoders.cache import EncodingCache
from kindred.indexer.encoders.factory import Modules, no_modules
from kindred.indexer.encoders.run import encode_missing
from kindred.indexer.live import Live
from kindred.indexer.versions import IndexFolder, Manifest
from kindred.schemas.clock import micros_now
from kindred.schemas.errors import ArtefactError, KindredError, NotBuilt
from kindred.schemas.item import Item, Status
from kindred.schemas.settings import KindredSettings
from kindred.schemas.workspace import Workspace

BATCH = 64
"""Items encoded between two looks at the catalogue: what a new item may wait behind."""
LONGEST_PAUSE_S = 30.0
FAILED_REBUILD_PAUSE_US = 30_000_000
QUIET_US = 2_000_000
"""Newer models are taken up when nothing has been trained or rolled back for this long: training
brings stages into use one after the other."""
LOOK_US = 250_000
"""Pause between two looks at the models in use."""


class Rebuild(Protocol):
    """A build under way in a process of its own; `subprocess.Popen` is one."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""

    def terminate(self) -> None:
        """End it."""


class Builder:
    """Follows the catalogue. `step` is one turn of the loop, `run` the loop."""

    def __init__(
        self,
        workspace: Workspace,
        settings: KindredSettings,
        catalogue: Catalogue,
        cache: EncodingCache,
        encoders: Mapping[str, Encoder],
        start_rebuild: Callable[[], Rebuild],
        *,
        open_writer: Callable[[], Live] | None = None,
        modules: Modules = no_modules,
        models: Callable[[], Mapping[str, str] | None] | None = None,
        poll_s: float = 0.1,
        clock: Callable[[], int] = micros_now,
    ) -> None:
        """`start_rebuild` starts `build_index` in another process. `open_writer` opens the `Live`
        that writes to a server's collection, where there is one. `modules` gives the encoders of
        trained modules. `models` tells the versions in use by stage, None while some are being
        trained; without it newer ones wait for the next build."""
        self._folder = IndexFolder(workspace.index)
        self._rebuild_after = settings.store.rebuild_after
        self._catalogue = catalogue
        self._cache = cache
        self._base = {s: e for s, e in encoders.items() if e.cached}
        self._modules = modules
        self._models = models
        self._start_rebuild = start_rebuild
        self._open_writer = open_writer
        self._writer: Live | None = None
        self._poll_s = poll_s
        self._clock = clock
        self._log = structlog.get_logger("kindred.builder")
        self._rebuild: Rebuild | None = None
        self._not_before = 0
        self._spaces: set[str] = set()
        """Spaces that something has been encoded for since the last build was started."""
        self._asked: set[str] = set()
        """Those of before; where the build fails, they still want one."""
        self._encoders: Mapping[str, Encoder] = self._base
        self._version: str | None = None
        """Whose learned encoders `_encoders` has"""
        self._seen: Mapping[str, str] | None = None
        self._seen_since = 0
        self._look_at = 0
        manifest = self._manifest()
        self._head = manifest.sequence if manifest else catalogue.sequence
        self._backlog: deque[tuple[int, int]] = deque()
        """(after, up to and with): sequences still to be encoded, oldest range first"""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set. Failures are logged and tried again, ever more slowly."""
        self._warm()
        failures = 0
        pause = 0.0
        while not stop.wait(pause):
            try:
                busy = self.step()
                failures, pause = 0, 0.0 if busy else self._poll_s
            except Exception as error:
                failures += 1
                pause = min(LONGEST_PAUSE_S, self._poll_s * 2**failures)
                words = str(error) if isinstance(error, KindredError) else repr(error)
                self._log.error("builder failed", error=words, retry_s=round(pause, 1))
        if self._rebuild is not None:
            self._rebuild.terminate()
        if self._writer is not None:
            self._writer.close()

    def _warm(self) -> None:
        """Load what the first new item would wait for: a text model takes seconds."""
        self._take_encoders()
        probe = Item(item_id="warm-up", title="warm-up")
        for space, encoder in self._encoders.items():
            try:
                if encoder.key(probe) is not None:
                    encoder.encode([probe])
            except KindredError as error:
                self._log.error("not encoding", space=space, error=str(error))

    def step(self) -> bool:
        """One turn: the newest changes first, then a batch of the backlog, then the version.

        True where there is more to do at once.
        """
        applied = self._follow()
        self._take_encoders()
        self._take_new()
        self._work_backlog()
        self._tend()
        return bool(self._backlog) or applied

    def _take_encoders(self) -> None:
        """Those of the version in use: new items need vectors of the very modules that it names."""
        current = self._folder.current()
        if current == self._version:
            return
        manifest = self._manifest()
        if manifest is None:
            return
        learned = self._modules(manifest.models)
        self._encoders = {**self._base, **learned}
        self._version = manifest.version
        # While it was built, changes were encoded with the modules of the version before.
        if learned and manifest.sequence < self._head:
            self._backlog.append((manifest.sequence, self._head))

    def _take_new(self) -> None:
        """Encode a few new changes at once; many of them join the backlog."""
        new = self._catalogue.changes(self._head, BATCH + 1)
        if not new:
            return
        if len(new) <= BATCH:
            self._encode(new)
            self._head = new[-1].sequence
        else:
            newest = self._catalogue.sequence
            self._backlog.append((self._head, newest))
            self._head = newest

    def _work_backlog(self) -> None:
        if not self._backlog:
            return
        after, until = self._backlog[0]
        changes = [c for c in self._catalogue.changes(after, BATCH) if c.sequence <= until]
        if changes:
            self._encode(changes)
            self._backlog[0] = (changes[-1].sequence, until)
        else:
            self._backlog.popleft()

    def _encode(self, changes: Sequence[Change]) -> None:
        items: list[Item] = [c.item for c in changes if c.item.status is Status.ACTIVE]
        for space, encoder in self._encoders.items():
            made = encode_missing(items, encoder, self._cache, clock=self._clock)
            if made.present.any():
                self._spaces.add(space)
            for reject in made.rejects:
                self._log.warning(
                    "not encoded",
                    space=space,
                    item=items[reject.index].item_id,
                    path=reject.path,
                    reason=reject.reason,
                )

    def _follow(self) -> bool:
        """Bring a server's collection up to date."""
        if self._open_writer is None:
            return False
        current = self._folder.current()
        if current is None:
            return False
        if self._writer is None or self._writer.manifest.version != current:
            if self._writer is not None:
                self._writer.close()
            self._writer = None
            self._writer = self._open_writer()
        return self._writer.apply_changes() > 0

    def _tend(self) -> None:
        """Start a build where one is due, and notice its end."""
        if self._rebuild is not None:
            code = self._rebuild.poll()
            if code is None:
                return
            self._rebuild = None
            self._log.info("index built" if code == 0 else "build failed", code=code)
            if code != 0:
                self._spaces |= self._asked
                self._not_before = self._clock() + FAILED_REBUILD_PAUSE_US
        if self._clock() < self._not_before:
            return
        reason = self.due()
        if reason is not None:
            self._log.info("building the index", reason=reason)
            self._rebuild = self._start_rebuild()
            # What is withdrawn meanwhile leaves its space empty: that asks for no other build.
            self._asked, self._spaces = self._spaces, set()

    def due(self) -> str | None:
        """Why the next version should be built now; None where the current one will do."""
        self._take_encoders()
        manifest = self._manifest()
        if manifest is None:
            return "there is no index yet" if self._catalogue.active else None
        if manifest.version != self._version:
            return None  # it has just come: the next turn looks again
        for space, encoder in self._encoders.items():
            known = manifest.spaces.get(space)
            if known is not None and known.version != encoder.version:
                return f"the {space} encoder has changed"
            if known is None and space in self._spaces:
                return f"{space} has its first vectors"
        changes = self._catalogue.sequence - manifest.sequence
        if changes >= self._rebuild_after:
            return f"{changes} changes are in no graph"
        return "newer models are in use" if self._models_moved() else None

    def _models_moved(self) -> bool:
        """Whether other models are in use than the newest version was built with, and settled.

        A version that somebody went back to is left alone.
        """
        now = self._clock()
        if self._models is None or now < self._look_at:
            return False
        self._look_at = now + LOOK_US
        found = self._models()
        if found is None or found != self._seen:
            self._seen, self._seen_since = found, now
            return False
        newest = max(self._folder.versions(), default=None)
        if now - self._seen_since < QUIET_US or newest is None:
            return False
        return self._folder.manifest(newest).models != found and not self._folder.being_built()

    def _manifest(self) -> Manifest | None:
        try:
            return self._folder.manifest()
        except NotBuilt:
            return None
        except ArtefactError as error:
            self._log.error("the index is damaged", error=str(error))
            return None
