"""What the databases counted beside what the logs hold: two ways to one number. Asks nobody.

Of rpcs that show stored records, each record that a call fetched must have its leaf, and each leaf
its record. What other rpcs fetched, or put on record, is told beside, with the reason.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from services.common.access.labels import SENSITIVE
from services.common.evidence.access_read import AccessRead

_CLAIMS, _PRICING = "/lipei.claims.v1.ClaimsService/", "/lipei.pricing.v1.PricingService/"
_REVIEWS = "/lipei.claims.v1.ReviewService/"
_RECOMPUTE = "/lipei.claims.v1.RecomputeService/"
_BRIDGE = "/lipei.his_bridge.v1.HisBridgeService/"
_CONSENTS = "/lipei.his_bridge.v1.ConsentService/"
_OPERATIONS = "/lipei.his_bridge.v1.OperationsService/"

# rpc → the kind of stored record that it shows.
SHOWN = {
    f"{_CLAIMS}GetClaim": "claim",
    f"{_CLAIMS}ListClaims": "claim",
    f"{_CLAIMS}ExplainClaim": "claim",
    f"{_CLAIMS}ReplayClaim": "claim",
    f"{_BRIDGE}GetBill": "bill",
    f"{_BRIDGE}ListBills": "bill",
    f"{_BRIDGE}ListReadings": "reading",
    f"{_BRIDGE}ListQuarantine": "inbox",
    f"{_BRIDGE}ListHeldRecords": "inbox",
    f"{_CONSENTS}GetConsent": "consent",
    f"{_CONSENTS}ListConsents": "consent",
    f"{_PRICING}GetQuote": "quote",
    f"{_PRICING}ListCoachTasks": "coach_task",
}
_STUDIED = "weighs all people to tell of those who do not stand out, under other names"
_WROTE = "answers with what it has just written or worked out"
# rpc → why its leaves are not its fetched records.
COMPUTED = {
    f"{_CLAIMS}SubmitClaim": "answers with what it and the workflow have just written",
    f"{_CLAIMS}SubmitBill": "finds the claims of a bill among all that the member has",
    **{
        f"{_REVIEWS}{rpc}": _WROTE
        for rpc in (
            *("ReviewClaim", "ConfirmReview", "ClearSuspicion", "SupplyFacts", "ReverseClaim"),
            *("WriteOffRecovery", "AppealClaim", "DecideAppeal", "AdjustClaim"),
            "RecordRefusalNotice",
        )
    },
    f"{_RECOMPUTE}DecideWhatIf": "decides many claims anew to show the sum, and some of them",
    f"{_CONSENTS}GrantConsent": _WROTE,
    f"{_CONSENTS}WithdrawConsent": _WROTE,
    f"{_CONSENTS}ListWithdrawals": "weighs all consents of a person to show one",
    f"{_OPERATIONS}ReconcileSource": "compares all bills of some days to name those that differ",
    "/lipei.claims.v1.StudyService/ExportPeople": _STUDIED,
    "/lipei.pricing.v1.StudyService/ExportReadings": _STUDIED,
    f"{_PRICING}QuotePremium": _WROTE,
    f"{_PRICING}RenewPolicy": _WROTE,
    f"{_PRICING}RecordReadings": _WROTE,
    f"{_PRICING}StreamReadings": _WROTE,
    f"{_PRICING}ClearFlag": "answers with what it computes from many readings",
    f"{_PRICING}AssessMember": "answers with what it computes from many readings",
}
# A stored quote is a record, and so is the member whose months it holds.
_GET_QUOTE, _WHOSE = f"{_PRICING}GetQuote", "names the member whose months the quote holds"
_MASKED = "the caller may see nothing of level 3 and above: fetched, and masked"
_HANDLED = "fetched to work with, and not shown"
_UNKNOWN = "nobody said whether this shows what is stored"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One kind of fetched record of one rpc."""

    rpc: str
    kind: str  # empty for all kinds together
    fetched: int  # distinct records of each call, added up
    leaves: int
    why: str  # empty where the two must be equal


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """Both numbers, what differs, and the table."""

    fetched: int
    leaves: int
    differing: int  # reads of a record that only one side knows
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Fetched:
    """One record that one call fetched."""

    rpc: str
    clearance: int
    kind: str
    record: str


def fetched_in(file: Path) -> Iterator[Fetched]:
    """What a service's tally holds; nothing when it wrote none."""
    if file.exists():
        for line in file.read_text("ascii").splitlines():
            said = json.loads(line)
            yield Fetched(said["rpc"], said["clearance"], said["kind"], said["record"])


def compared(fetched: Iterable[Fetched], leaves: Iterable[AccessRead]) -> Compared:
    """Hold the two against each other, record by record."""
    at_database: Counter[tuple[str, str]] = Counter()  # by rpc and record
    in_log: Counter[tuple[str, str]] = Counter()
    beside: Counter[tuple[str, str, str]] = Counter()  # by rpc, kind and why
    computed: Counter[tuple[str, str]] = Counter()  # by rpc and why
    for one in fetched:
        shown = SHOWN.get(one.rpc) == one.kind
        if shown and one.clearance >= SENSITIVE:
            at_database[one.rpc, one.record] += 1
        elif one.rpc in COMPUTED:
            beside[one.rpc, "", COMPUTED[one.rpc]] += 1
        else:
            beside[one.rpc, one.kind, _MASKED if shown else _HANDLED] += 1
    for leaf in leaves:
        if leaf.rpc in COMPUTED:
            computed[leaf.rpc, COMPUTED[leaf.rpc]] += 1
            beside[leaf.rpc, "", COMPUTED[leaf.rpc]] += 0
        elif leaf.rpc == _GET_QUOTE and leaf.record.startswith("members/"):
            computed[leaf.rpc, _WHOSE] += 1
            beside[leaf.rpc, "", _WHOSE] += 0
        else:
            in_log[leaf.rpc, leaf.record.rpartition("/")[2]] += 1
    counted, proved = _by_rpc(at_database), _by_rpc(in_log)
    rows = [
        Row(
            rpc=rpc,
            kind=SHOWN.get(rpc, ""),
            fetched=counted[rpc],
            leaves=proved[rpc],
            why="" if rpc in SHOWN else _UNKNOWN,
        )
        for rpc in sorted(counted.keys() | proved.keys())
    ]
    rows += [
        Row(rpc=rpc, kind=kind, fetched=count, leaves=computed[rpc, why], why=why)
        for (rpc, kind, why), count in sorted(beside.items())
    ]
    return Compared(
        fetched=at_database.total(),
        leaves=in_log.total(),
        differing=((at_database - in_log) + (in_log - at_database)).total(),
        rows=tuple(rows),
    )


def _by_rpc(reads: Counter[tuple[str, str]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for (rpc, _record), count in reads.items():
        found[rpc] += count
    return found
