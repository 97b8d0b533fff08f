"""FHIR bulk export (`$export`, Bulk Data Access 2.0) as a source: kick off, poll, read the files.

The cursor holds the export's status URL before anything of it is read, then the file and the
position in it: a bridge that was killed goes on where it stood. An export that is lost, fails or
contradicts itself is given up, said aloud and begun anew; `_since` moves only after one that was
read to its end, and the inbox knows what came before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from services.his_bridge.core.reconciliation import DayTotals
from services.his_bridge.dialects.fhir_r4 import moment_of
from services.his_bridge.profiles.loader import SourceProfile
from services.his_bridge.profiles.source_kinds.fhir_bulk import FhirBulkSettings
from services.his_bridge.sources.bulk_files import (
    BulkFile,
    FileBroken,
    Manifest,
    OpenFile,
    Piece,
    files_of,
    fingerprint,
    joined,
    left_of,
    next_page,
    open_file,
    read_manifest,
)
from services.his_bridge.sources.fhir_rest import FhirRest
from services.his_bridge.sources.http import HospitalHttp, Missing, refusal
from services.his_bridge.sources.port import Key, Page, RawRecord, SourceFault
from services.his_bridge.sources.wire import TRANSIENT, Answer, TooLarge, away, retry_after_s

# Pages of one manifest: a server that never ends it is not followed for ever.
_MOST_PAGES = 1_000
_OK, _ACCEPTED, _GONE, _NOT_FOUND, _FAILED = 200, 202, 410, 404, 500
# Between two looks at an export that does not say when to look.
_LOOK_AGAIN_S = 2.0
# Before an export that was given up is begun anew: doubled each time, up to an hour.
_FIRST_RETRY_S, _LONGEST_RETRY_S = 30.0, 3600.0
# What a store of files answers once the signature of a URL has run out: 401, 403 or 400.
_URL_RAN_OUT = {"SOURCE_REFUSES", "SOURCE_UNEXPECTED"}
_TEXTS = {
    "SOURCE_EXPORT_EXPIRED": "the source does not know the export any more",
    "SOURCE_EXPORT_FAILED": "the source says that the export failed",
    "SOURCE_EXPORT_STUCK": "the export did not end within the profile's longest_export_s",
    "SOURCE_EXPORT_MALFORMED": "the source's manifest cannot be read",
    "SOURCE_EXPORT_INCOMPLETE": "the source reports errors: some records are not in its files",
    "SOURCE_FILE_MISSING": "a file of the manifest is not there",
    "SOURCE_FILE_TRUNCATED": "a file is cut short, or unpacks to more than it may",
    "SOURCE_DELETED_MALFORMED": "the source's list of what it deleted cannot be read",
    "SOURCE_COUNT_DIFFERS": "a file holds another number of records than the manifest says",
    "SOURCE_WRONG_TYPE": "a file holds records of another type than the manifest says",
}


class _Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """A cursor. Moments are seconds since 1970; `file`, `line` and `offset` are the next to read.

    `reason`: why the last export was given up. `strikes`: how many were in a row.
    """

    since: str | None = None
    status_url: str = ""
    begun_s: float = 0.0
    not_before_s: float = 0.0
    files: str = ""
    file: int = 0
    line: int = 0
    offset: int = 0
    incomplete: bool = False
    next_since: str | None = None
    done: bool = False
    strikes: int = 0
    reason: str = ""


class FhirBulk:
    """A FHIR R4 server's exports as a source; what records point at is looked up by REST."""

    def __init__(
        self,
        profile: SourceProfile,
        http: HospitalHttp | None = None,
        *,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(profile.source, FhirBulkSettings):
            raise TypeError("the profile's source is no bulk export")
        self._settings = profile.source
        self._limits = profile.limits
        self._http = http or HospitalHttp(
            profile.source.base_url, profile.limits, profile.source.smart
        )
        self._rest = FhirRest(profile, self._http, now_s=now_s)
        self._now_s = now_s
        # By channel: what is open just now. Without it, everything is found by the cursor.
        self._manifests: dict[str, tuple[str, Manifest]] = {}
        self._open: dict[str, OpenFile] = {}

    async def fetch(self, kind: str, cursor: bytes | None) -> Page:
        """The next step of the export, or the next records of its files. Raises: SourceFault."""
        place = _Place() if cursor is None else msgspec.json.decode(cursor, type=_Place)
        if place.done:
            return await self._finish(kind, place)
        if not place.status_url:
            return await self._begin(kind, place)
        if self._now_s() > place.begun_s + self._settings.longest_export_s:
            return await self._given_up(kind, place, "SOURCE_EXPORT_STUCK")
        seen_before = kind in self._manifests
        try:
            return await self._read(kind, place)
        except SourceFault as fault:
            if fault.reason not in _URL_RAN_OUT:
                raise
            # The files' URLs are signed for a while, and the next look signs them anew.
            self._manifests.pop(kind, None)
            if not seen_before:
                raise
            return await self._read(kind, place)

    async def _read(self, kind: str, place: _Place) -> Page:
        manifest = await self._manifest(kind, place)
        if isinstance(manifest, Page):
            return manifest
        withdraws, base_url = self._settings.deleted_withdraws, self._http.base_url
        files = files_of(manifest, kind.split(","), withdraws, base_url)
        told = fingerprint(files)
        if place.files != told:
            # The first look at the manifest, or the server changed it: its files from the first.
            place = msgspec.structs.replace(place, files=told, file=0, line=0, offset=0)
        if place.file >= len(files):
            return await self._ended(kind, place, manifest)
        page, moved = await self._records(kind, place, manifest, files[place.file])
        left = left_of(files, moved.file, moved.line) if moved is not None else None
        return msgspec.structs.replace(page, left=left)

    async def look_up(self, keys: Collection[Key]) -> Mapping[Key, bytes]:
        """Referenced resources, by REST from the same server."""
        return await self._rest.look_up(keys)

    async def fetch_again(self, kind: str, record_ids: Sequence[str]) -> tuple[RawRecord, ...]:
        """Records as they are now, by REST."""
        return await self._rest.fetch_again(kind, record_ids)

    async def reconcile(self, first: date, last: date) -> Mapping[date, DayTotals]:
        """Every bill that the server shows, per day, by REST."""
        return await self._rest.reconcile(first, last)

    async def close(self) -> None:
        """Drop the connections."""
        for kind in list(self._open):
            await self._shut(kind)
        await self._http.close()

    async def _begin(self, kind: str, place: _Place) -> Page:
        now_s = self._now_s()
        wait = place.not_before_s - now_s
        # A clock that was set back must not stop us for as long as it was wrong.
        if 0 < wait <= max(self._settings.every_s, _LONGEST_RETRY_S):
            if place.reason:
                raise SourceFault(place.reason, _TEXTS[place.reason], retry_after_s=wait)
            return Page(records=(), cursor=_written(place), swept=True)
        parameters = [("_outputFormat", "application/fhir+ndjson"), ("_type", kind)]
        if place.since is not None:
            parameters.append(("_since", place.since))
        path = f"{self._settings.export}/$export".lstrip("/")
        answer = await self._ask(
            "GET",
            f"{self._http.base_url}/{path}",
            parameters=parameters,
            headers={"Prefer": "respond-async"},
        )
        if answer.status != _ACCEPTED:
            fault = refusal(answer.status)
            if isinstance(fault, SourceFault):
                raise fault
            text = f"the source answered {answer.status} to $export; check the profile's export"
            raise SourceFault("SOURCE_NO_EXPORT", text)
        status_url = _joined(f"{self._http.base_url}/", answer.headers.get("content-location", ""))
        if not answer.headers.get("content-location") or not self._http.is_ours(status_url):
            text = "the source names no status of its export, or one on another host"
            raise SourceFault("SOURCE_EXPORT_ELSEWHERE", text)
        begun = _Place(
            since=place.since, status_url=status_url, begun_s=now_s, strikes=place.strikes
        )
        # Nothing is read before this is kept: a bridge that is killed now finds its export again.
        return Page(records=(), cursor=_written(begun), swept=False)

    async def _manifest(self, kind: str, place: _Place) -> Manifest | Page:
        """What the export consists of; a page without records while there is nothing to read."""
        known = self._manifests.get(kind)
        if known is not None and known[0] == place.status_url:
            return known[1]
        wait = place.not_before_s - self._now_s()
        if 0 < wait <= _LONGEST_RETRY_S:
            return Page(records=(), cursor=_written(place), swept=True)
        pages: list[Manifest] = []
        seen: set[str] = set()
        url = place.status_url
        while url:
            answer = await self._ready(kind, place, url)
            if isinstance(answer, Page):
                return answer
            seen.add(url)
            page = read_manifest(answer.body, url)
            onward = _onward(url, page)
            if onward and not self._http.is_ours(onward):
                text = "the export's manifest goes on at another host"
                raise SourceFault("SOURCE_EXPORT_ELSEWHERE", text)
            if page is None or onward in seen or len(seen) > _MOST_PAGES:
                return await self._given_up(kind, place, "SOURCE_EXPORT_MALFORMED")
            pages.append(page)
            url = onward
        manifest = joined(pages)
        if manifest is None:
            return await self._given_up(kind, place, "SOURCE_EXPORT_MALFORMED")
        self._manifests[kind] = place.status_url, manifest
        return manifest

    async def _ready(self, kind: str, place: _Place, url: str) -> Answer | Page:
        """A page of the manifest as soon as it is there; else what to answer meanwhile."""
        left = float(self._limits.max_wait_s)
        while True:
            answer = await self._ask(
                "GET",
                url,
                headers={"Accept": "application/json"},
                transient=TRANSIENT - {_FAILED},
            )
            if answer.status != _ACCEPTED:
                break
            asked = retry_after_s(answer.headers)
            pause = max(_LOOK_AGAIN_S if asked is None else asked, 0.1)
            if pause > self._limits.max_wait_s:
                later = msgspec.structs.replace(place, not_before_s=self._now_s() + pause)
                return Page(records=(), cursor=_written(later), swept=True)
            if pause > left:
                return Page(records=(), cursor=_written(place), swept=False)
            left -= pause
            await self._http.wire.pause(pause)
        if answer.status in (_NOT_FOUND, _GONE):
            return await self._given_up(kind, place, "SOURCE_EXPORT_EXPIRED")
        if answer.status == _FAILED and b'"OperationOutcome"' in answer.body:
            return await self._given_up(kind, place, "SOURCE_EXPORT_FAILED")
        if answer.status == _FAILED:
            raise away("the source answered 500")
        if answer.status != _OK:
            raise _as_fault(refusal(answer.status))
        return answer

    async def _records(
        self, kind: str, place: _Place, manifest: Manifest, file: BulkFile
    ) -> tuple[Page, _Place | None]:
        """The next records of a file, and the place behind them, unless the export is given up."""
        opened = self._open.pop(kind, None)
        at = (place.status_url, place.file, place.line, place.offset)
        if opened is not None and opened.at != at:
            await opened.close()
            opened = None
        try:
            if opened is None:
                opened = await open_file(
                    self._http,
                    file,
                    at,
                    with_token=self._takes_token(manifest, file),
                    most_line=self._limits.max_body_mib << 20,
                    max_ratio=self._settings.max_ratio,
                )
            # A server that drips must not hold the pull for ever; what came is kept all the same.
            piece = await opened.read(self._limits.page_size, 2 * self._limits.timeout_s)
        except FileBroken as broken:
            if opened is not None:
                await opened.close()
            return await self._given_up(kind, place, broken.reason), None
        except BaseException as fault:
            if opened is not None:
                await opened.close()
            if isinstance(fault, httpx.TransportError | TimeoutError):
                raise away("the source breaks a file off") from None
            raise
        moved = msgspec.structs.replace(
            place,
            line=piece.line,
            offset=piece.offset,
            incomplete=place.incomplete or piece.reports_errors,
        )
        if not (piece.ended or piece.broken or piece.interrupted):
            self._open[kind] = opened
        else:
            await opened.close()
        if not (piece.ended or piece.broken):
            return Page(records=piece.records, cursor=_written(moved), swept=False), moved
        reason = piece.broken or _count_differs(piece, file)
        if reason:
            given_up = await self._given_up(kind, place, reason)
            return msgspec.structs.replace(given_up, records=piece.records), None
        moved = msgspec.structs.replace(moved, file=place.file + 1, line=0, offset=0)
        return Page(records=piece.records, cursor=_written(moved), swept=False), moved

    def _takes_token(self, manifest: Manifest, file: BulkFile) -> bool:
        """Our token goes to the server itself and to nobody else. Raises: SourceFault."""
        if self._http.is_ours(file.url):
            return manifest.requires_access_token
        parts = urlsplit(file.url)
        allowed = set(self._settings.file_hosts)
        if parts.scheme != "https" or not {parts.netloc, parts.hostname or ""} & allowed:
            text = "the export's files are on another host; name it in the profile's file_hosts"
            raise SourceFault("SOURCE_FILES_ELSEWHERE", text)
        return False

    async def _ended(self, kind: str, place: _Place, manifest: Manifest) -> Page:
        """All files were read: from when on the next export begins."""
        if place.incomplete:
            return await self._given_up(kind, place, "SOURCE_EXPORT_INCOMPLETE")
        moment = moment_of(manifest.transaction_time)
        if moment is None:
            return await self._given_up(kind, place, "SOURCE_EXPORT_MALFORMED")
        # A record may become visible after a later one (EVIDENCE, HIS): hence the overlap. A server
        # whose clock runs ahead of ours would never show what it writes until then.
        moment = min(moment, datetime.fromtimestamp(place.begun_s, UTC))
        since = (moment - timedelta(seconds=self._limits.overlap_s)).astimezone(UTC)
        text = since.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        done = msgspec.structs.replace(place, done=True, next_since=text)
        return Page(records=(), cursor=_written(done), swept=False)

    async def _finish(self, kind: str, place: _Place) -> Page:
        """The server may drop its files: everything of them lies in the inbox."""
        await self._delete(kind, place)
        rest = _Place(since=place.next_since, not_before_s=place.begun_s + self._settings.every_s)
        return Page(records=(), cursor=_written(rest), swept=True)

    async def _given_up(self, kind: str, place: _Place, reason: str) -> Page:
        await self._delete(kind, place)
        pause = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2**place.strikes)
        anew = _Place(
            since=place.since,
            not_before_s=self._now_s() + pause,
            strikes=min(place.strikes + 1, 10),
            reason=reason,
        )
        return Page(records=(), cursor=_written(anew), swept=False)

    async def _delete(self, kind: str, place: _Place) -> None:
        await self._shut(kind)
        self._manifests.pop(kind, None)
        try:
            await self._http.ask("DELETE", place.status_url)
        except (SourceFault, TooLarge):
            return  # it ends by itself at the server; nothing of it is asked for again

    async def _shut(self, kind: str) -> None:
        opened = self._open.pop(kind, None)
        if opened is not None:
            await opened.close()

    async def _ask(self, method: str, url: str, **more: object) -> Answer:
        try:
            return await self._http.ask(method, url, **more)  # type: ignore[arg-type]  # passed on as they are
        except TooLarge:
            text = "the answer is larger than the profile's max_body_mib"
            raise SourceFault("SOURCE_TOO_LARGE", text) from None


def _onward(url: str, page: Manifest | None) -> str:
    """Where a manifest goes on; empty on its last page."""
    named = next_page(page) if page is not None else ""
    return _joined(url, named) if named else ""


def _joined(base_url: str, url: str) -> str:
    """A URL as a server names it, whole; what is none stays as it is, and is nobody's."""
    try:
        return urljoin(base_url, url)
    except ValueError:
        return url


def _count_differs(piece: Piece, file: BulkFile) -> str:
    return "SOURCE_COUNT_DIFFERS" if file.count not in (None, piece.line) else ""


def _as_fault(fault: Exception) -> SourceFault:
    if isinstance(fault, SourceFault):
        return fault
    name = "missing" if isinstance(fault, Missing) else "refused"
    return SourceFault("SOURCE_UNEXPECTED", f"the export's status is {name}")


def _written(place: _Place) -> bytes:
    return msgspec.json.encode(place)
