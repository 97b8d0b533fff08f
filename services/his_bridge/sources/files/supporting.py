"""What records of a file point at: other resources of the same file, found again when asked for.

Patients' own records are read where they lie and are kept in memory within bounds, never stored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping

from services.his_bridge.cutting.formats import Cut, Pieces
from services.his_bridge.cutting.opening import parts
from services.his_bridge.cutting.refusals import FileRefused
from services.his_bridge.profiles.source_kinds.files import FilesSettings
from services.his_bridge.sources.files.folder import DropFolder, drop_folder
from services.his_bridge.sources.files.records import supporting_key
from services.his_bridge.sources.port import Key

# Of one hospital's files; a patient with name and numbers is about a kilobyte.
_MOST_HELD = 16 << 20


class Supporting:
    """Finds resources in the files that are being read."""

    def __init__(self, settings: FilesSettings, cut: Callable[[Pieces], Iterator[Cut]]) -> None:
        self._settings = settings
        self._cut = cut
        self._lock = threading.Lock()
        self._held: dict[Key, bytes] = {}
        self._size = 0
        self._files: frozenset[str] = frozenset()
        self._is_whole = False
        self._linked: frozenset[str] = frozenset()

    def admit(self, kind: str, name: str) -> None:
        """A file being read got another name, and holds what it held when it was checked."""
        with self._lock:
            self._linked |= {f"{kind}/{name}"}

    def forget(self) -> None:
        """A file was put away."""
        with self._lock:
            self._held.clear()
            self._size, self._files, self._is_whole = 0, frozenset(), False
            self._linked = frozenset()

    def find(self, keys: frozenset[Key]) -> Mapping[Key, bytes]:
        """Those of the keys that the files hold, once or alike; blocks while they are read."""
        with self._lock:
            found = {key: self._held[key] for key in keys if key in self._held}
            missing = keys - found.keys()
            if not missing:
                return found
            files = frozenset(self._names())
            if self._is_whole and files == self._files:
                return found
            self._held.clear()
            self._size, self._is_whole, self._files = 0, True, files
            differing: set[Key] = set()
            for key, raw in self._everything():
                if found.get(key, raw) != raw or self._held.get(key, raw) != raw:
                    differing.add(key)
                if key in missing:
                    found[key] = raw
                self._hold(key, raw)
            # Nobody can say which of two patients of one id a record means.
            for key in differing:
                found.pop(key, None)
                self._held.pop(key, None)
            return found

    def _hold(self, key: Key, raw: bytes) -> None:
        if self._size + len(raw) > _MOST_HELD:
            self._is_whole = False
            return
        self._size += len(raw)
        self._held[key] = raw

    def _names(self) -> Iterator[str]:
        for kind, folder in self._folders():
            yield from (f"{kind}/{name}" for name in folder.begun())

    def _everything(self) -> Iterator[tuple[Key, bytes]]:
        for kind, folder in self._folders():
            for name in folder.begun():
                try:
                    linked = f"{kind}/{name}" in self._linked
                    with folder.open(name, linked=linked) as file:
                        for pieces in parts(file, name, self._settings):
                            for cut in self._cut(pieces):
                                key = supporting_key(cut)
                                if key is not None:
                                    yield key, cut.raw
                except (FileRefused, FileNotFoundError):
                    continue  # whoever reads the file itself says why

    def _folders(self) -> Iterator[tuple[str, DropFolder]]:
        for path in sorted(self._settings.folder.iterdir()):
            if not path.name.startswith(".") and path.is_dir():
                with drop_folder(self._settings.folder, path.name) as folder:
                    yield path.name, folder
