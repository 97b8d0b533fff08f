"""The guards between a caller and what is not theirs: how each is taken out, and who notices.

A change is a text that stands in its file exactly once, and what takes its place; when the source
moves on, the removal fails instead of removing nothing. `tests` are what must notice.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One replacement in one file, by its path in the project."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Guard:
    """A guard, what is removed of it in words, the removal, and the test files that hold it."""

    name: str
    removed: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]


_GUARD = "tests/services/common/access/test_guard.py"
_IDENTIFICATION = "tests/services/common/access/test_identification.py"


def _guard(
    name: str, removed: str, *changes: tuple[str, str, str], tests: tuple[str, ...]
) -> Guard:
    made = tuple(Change(path=path, old=old, new=new) for path, old, new in changes)
    return Guard(name=name, removed=removed, changes=made, tests=tests)


ROLE_CHECK = _guard(
    "role check",
    "every role may call every labelled rpc",
    (
        "services/common/access/guard.py",
        "if not rpc.roles & caller.roles:",
        "if not rpc.roles:",
    ),
    tests=(_GUARD,),
)
PROVENANCE = _guard(
    "provenance by recorder",
    "whoever records a reading may say that a laboratory measured it",
    (
        "services/pricing/requests.py",
        "elif provenance not in _STATES.get(recorder, ()):",
        "elif provenance not in Provenance:",
    ),
    tests=("tests/services/pricing/test_readings_served.py",),
)
PURPOSE = _guard(
    "purpose check",
    "whoever may call may read for any purpose that there is, or for a word of their own",
    (
        "services/common/access/guard.py",
        "roles = may_read_for(caller.purpose, rpc.roles & caller.roles)",
        "roles = rpc.roles & caller.roles",
    ),
    tests=(_GUARD,),
)
OF_INSTALLATION = _guard(
    "the installation's own",
    "a tenant's operator or auditor may call what is the whole installation's",
    (
        "services/common/access/guard.py",
        "if rpc.of_installation and tenant_of(caller)",
        "if not rpc.roles and tenant_of(caller)",
    ),
    tests=(_GUARD,),
)
OFFICE = _guard(
    "desk and tenant",
    "a token is good at any desk, also one from which the tenant was left out",
    (
        "services/common/access/identification.py",
        "if not _sits_at(desk, person):",
        "if not person.roles:",
    ),
    tests=(_IDENTIFICATION,),
)
EVIDENCE_FILTER = _guard(
    "tenant filter of evidence",
    "a tenant's auditor finds every leaf of the installation",
    (
        "services/common/evidence/servicer.py",
        'return "" if tenant.kind is Kind.INSTALLATION else tenant.key',
        'return "" if tenant.key else tenant.key',
    ),
    tests=("tests/services/common/evidence/test_servicer.py",),
)
MEMBER_READS = _guard(
    "whose reads a member lists",
    "a member lists who read anybody's data",
    (
        "services/common/evidence/member_reads.py",
        "        if tenant.member != token:",
        "        if not token:",
    ),
    tests=("tests/services/common/evidence/test_servicer.py",),
)
MASK = _guard(
    "mask",
    "answers leave with every field, whatever the caller's clearance",
    (
        "services/common/access/guard.py",
        "withheld = mask(answer, call.clearance)",
        "withheld = mask(type(answer)(), call.clearance)",
    ),
    tests=(_GUARD,),
)
_REGISTRY = "tests/services/pricing/test_registry.py"
TARIFF_APPROVERS = _guard(
    "two people for a tariff",
    "who has proposed a tariff approves it, twice",
    (
        "services/pricing/core/life_cycle.py",
        "if earlier == person and event in (Event.PROPOSE, Event.APPROVE):",
        "if earlier == person and event not in Event:",
    ),
    tests=(_REGISTRY,),
)
TARIFF_PROPOSERS = _guard(
    "everybody who has proposed a tariff",
    "only the first who proposes a tariff counts as its proposer",
    (
        "services/pricing/storage/registry.py",
        "if row.state in _WAITING and (Event.PROPOSE, act.actor) not in said:",
        "if not said:",
    ),
    tests=(_REGISTRY,),
)
TARIFF_FILTER = _guard(
    "filter on tariffs",
    "an insurer reads every insurer's tariffs",
    (
        "services/pricing/storage/registry.py",
        "false() if tenant.insurer is None else registered_tariff.c.insurer == tenant.insurer",
        "false() if tenant.insurer is None else true()",
    ),
    tests=(_REGISTRY,),
)
TARIFF_GATES = _guard(
    "gates of a tariff",
    "the service believes that a client has judged the gates",
    (
        "services/pricing/tariff_servicer.py",
        "    if all_passed(gates):",
        "    if gates is not None:",
    ),
    tests=(_REGISTRY,),
)
TARIFF_CONTENT = _guard(
    "tariff's name over its content",
    "what is stored under a tariff's name prices, whatever it is",
    (
        "services/pricing/own_tariffs.py",
        "if version_of(tariff) != version:",
        "if not version:",
    ),
    tests=(_REGISTRY,),
)
LEAF = _guard(
    "leaf",
    "sensitive answers leave without a record of the read",
    ("services/common/access/guard.py", "await self._append(reads)", "await self._append(())"),
    tests=(_GUARD,),
)
EXPIRY = _guard(
    "expiry check",
    "a certificate that expires on an open channel goes on",
    (
        "services/common/access/identification.py",
        "if not peer.not_before_s <= self._now_s() < peer.not_after_s:",
        "if not peer.not_before_s <= self._now_s():",
    ),
    tests=(_IDENTIFICATION,),
)
REVOCATION = _guard(
    "revocation check",
    "a revoked certificate goes on",
    ("services/common/transport/revocation.py", "if serial in found[2]:", "if serial is None:"),
    tests=("tests/services/common/transport/test_revocation.py",),
)
TOKEN_BINDING = _guard(
    "token binding",
    "a token is good with any certificate",
    (
        "services/common/access/tokens.py",
        'if not isinstance(binding, dict) or binding.get("x5t#S256") != wanted:',
        "if not wanted:",
    ),
    tests=("tests/services/common/access/test_tokens.py",),
)
ASSERTION_ONCE = _guard(
    "single use of assertions",
    "a client assertion may be used again",
    (
        "services/common/access/assertions.py",
        "        except IntegrityError:\n            return False",
        "        except IntegrityError:\n            return True",
    ),
    tests=("tests/services/common/access/test_assertions.py",),
)
TENANT_FILTER = _guard(
    "tenant filter",
    "claims: every claim is everybody's in look-ups and lists",
    (
        "services/claims/storage/tenancy.py",
        '_OWNERS[kind] == bindparam("owner") if kind in _OWNERS else false()',
        "true()",
    ),
    tests=("tests/services/claims/test_tenants.py",),
)
MEMBER_FILTER = _guard(
    "tenant filter of pricing",
    "pricing: every member is everybody's",
    (
        "services/pricing/storage/tenancy.py",
        "if tenant.kind not in _FINDS_MEMBERS or held(connection, tenant, found) is None:",
        "if False:",
    ),
    tests=("tests/services/pricing/test_tenants.py",),
)
OWN_ERASURE = _guard(
    "owner of what is erased",
    "pricing: whoever erases a member erases what everybody holds",
    ("services/pricing/storage/tenancy.py", "if by == holder_of(tenant))", "if by)"),
    tests=("tests/services/pricing/test_tenants.py",),
)
TARGET_STANDING = _guard(
    "standing of who sets a target",
    "pricing: anybody's target decides anybody's months",
    (
        "services/pricing/core/months.py",
        "[target for target in personal if (target.set_by, target.measure.quantity) in measured]",
        "list(personal)",
    ),
    tests=("tests/services/pricing/core/test_month_properties.py",),
)
HOSPITAL_FILTER = _guard(
    "tenant filter of the bridge",
    "his_bridge: every hospital exists for every caller",
    ("services/his_bridge/callers.py", "if name == tenant.hospital}", "}"),
    tests=("tests/services/his_bridge/test_tenants.py",),
)
REQUEST_IDS = _guard(
    "request ids of a tenant",
    "one tenant's request_id answers for another's",
    (
        "services/common/access/tenant.py",
        'hashlib.sha256(f"{self.key}\\n{request_id}".encode())',
        "hashlib.sha256(request_id.encode())",
    ),
    tests=("tests/services/claims/test_tenants.py",),
)
CODEC = _guard(
    "codec",
    "Temporal payloads are stored as they are",
    (
        "services/common/temporal/codec.py",
        "nonce + cipher.encrypt(nonce, payload.SerializeToString(), place)",
        "nonce + payload.SerializeToString()",
    ),
    tests=("tests/services/common/temporal/test_codec.py",),
)
SEALING = _guard(
    "sealing",
    "sealed columns hold clear text",
    (
        "services/common/sealing/value.py",
        "cipher.encrypt(nonce, plaintext, header + place.encoded())",
        "plaintext",
    ),
    tests=("tests/services/common/sealing/test_value.py",),
)
ROW_BINDING = _guard(
    "row binding",
    "a sealed value opens in any row of its column and subject",
    (
        "services/common/sealing/value.py",
        "_part(self.row) + _part(self.subject)",
        "_part(self.subject)",
    ),
    tests=("tests/services/common/sealing/test_value.py",),
)
ERASURE = _guard(
    "erasure",
    "an erased person's key stays",
    (
        "services/common/sealing/subject_keys.py",
        ".where(_columns.subject == subject, _columns.wrapped.is_not(None))",
        ".where(_columns.subject == subject, _columns.wrapped.is_(None))",
    ),
    tests=("tests/services/common/sealing/test_subject_keys.py",),
)
SCRUBBING = _guard(
    "scrubbing that is owed",
    "a key destroyed while somebody read the database stays in its log",
    (
        "services/common/database.py",
        "if self._owes_scrub and time.monotonic() >= self._scrub_again_at_s:",
        "if False:",
    ),
    tests=("tests/services/common/sealing/test_subject_keys.py",),
)
SALT = _guard(
    "salt of a commitment",
    "what is left of an erased decision can be guessed back",
    ("services/claims/storage/sealed.py", "canonical.sha256(salt + ", "canonical.sha256(b'' + "),
    tests=("tests/services/claims/test_erasure.py",),
)
SAME_REFUSAL = _guard(
    "one refusal for a hospital",
    "a hospital learns from a refusal whom an insurer insures",
    (
        "services/claims/intake.py",
        "        if tenant.hospital is None:\n            raise\n",
        "        raise\n",
    ),
    tests=("tests/services/claims/test_tenants.py",),
)
ADOPTION = _guard(
    "adoption by a known hospital",
    "whoever sends a bill word for word gets the claim that nobody's hospital opened",
    (
        "services/claims/intake.py",
        "anothers = anothers or known != {tenant.hospital}",
        "anothers = anothers or not known <= known",
    ),
    tests=("tests/services/claims/test_tenants.py",),
)
ANOTHERS_POLICY = _guard(
    "another insurer's policy in an explanation",
    "an explanation names the policy of another insurer that paid first",
    (
        "services/claims/storage/coordination.py",
        "claim.c.person_id == row.person_id,\n            claim.c.insurer == row.insurer,\n",
        "claim.c.person_id == row.person_id,\n",
    ),
    tests=("tests/services/claims/test_explaining.py",),
)
ESCAPING = _guard(
    "escaping",
    "a service's name from a bill runs in the browser of whoever reads the page",
    ("services/claims/explained/page.py", "autoescape=True,", "autoescape=False,"),
    tests=("tests/services/claims/explained/test_page.py",),
)
MONTHS_READ = _guard(
    "leaf of a quote's months",
    "a quote shows a member's months, and no leaf names the member",
    ("services/pricing/messages.py", "        member=member,\n", ""),
    tests=("tests/services/pricing/test_tenants.py",),
)
CONSENT_CHECK = _guard(
    "consent check",
    "whatever was consented to once is released, also after its end or withdrawal",
    (
        "services/his_bridge/core/consent.py",
        "        and state_at(consent, at_us) is State.ACTIVE\n",
        "",
    ),
    tests=("tests/services/his_bridge/core/test_consent.py",),
)
BILL_CONSENT = _guard(
    "consent to a bill of many records",
    "a bill that several records make leaves when it is closed, whatever the person allowed",
    (
        "services/his_bridge/storage/releases.py",
        "        if self.consent(bill.member_token, need) is None:\n",
        "        if not bill.lines:\n",
    ),
    tests=("tests/services/his_bridge/storage/test_bills_held.py",),
)
TAKEN_BACK = _guard(
    "reversals without a consent",
    "the reversal of a bill leaves without a consent whether or not this insurer has the bill",
    (
        "services/his_bridge/storage/taking_back.py",
        "        had.c.handed_to == recipient,\n",
        "",
    ),
    tests=("tests/services/his_bridge/storage/test_taking_back.py",),
)
BARE = _guard(
    "what a reversal says without a consent",
    "a reversal that no consent covers leaves as a whole",
    (
        "services/his_bridge/messages.py",
        "        found = bare_reversal(shown.bill, name=name)\n",
        "        found = bill(shown.bill, name=name, kind=row.kind)\n",
    ),
    tests=("tests/services/his_bridge/storage/test_taking_back.py",),
)
OVERTAKEN = _guard(
    "what was stated before a reversal",
    "a later consent lets out what was stated before the reversal that the insurer heard of",
    (
        "services/his_bridge/storage/taking_back.py",
        "    if to_answer and later:\n",
        "    if not to_answer and later:\n",
    ),
    (  # the same once more, for what a worker that died was given
        "services/his_bridge/storage/taking_back.py",
        "        if not (to_answer and _end_overtaken(connection, hospital, recipient, rows)):\n",
        "        if True:\n",
    ),
    tests=("tests/services/his_bridge/storage/test_taking_back.py",),
)
BARE_KIND = _guard(
    "a bare bill takes back",
    "a bill of any kind may lack all its content",
    (
        "services/claims/bill_intake.py",
        "    return bill.kind == bill_pb2.BILL_KIND_REVERSAL and said <= _WHICH_BILL\n",
        "    return said <= _WHICH_BILL\n",
    ),
    tests=("tests/services/claims/test_bare_reversals.py",),
)
ONE_PATIENT = _guard(
    "one patient a bill",
    "what the records of several patients say under one id leaves as one bill",
    (
        "services/his_bridge/core/folding.py",
        "if len(set(speaking.values())) < 2:",
        "if speaking is not None:",
    ),
    tests=("tests/services/his_bridge/core/test_folding.py",),
)
LOG_ALLOW_LIST = _guard(
    "log allow-list",
    "whatever a program logs gets into the line",
    (
        "services/common/log.py",
        'return {**allowed(line.pop("event", None), line)}',
        "return line",
    ),
    tests=("tests/services/common/test_log.py",),
)

SEEN = _guard(
    "revision of a claim",
    "whoever acts on a claim need not have seen it as it stands",
    ("services/claims/reviewing.py", "if row.revision != revision:", "if row.revision < 0:"),
    tests=("tests/services/claims/test_reviews.py",),
)
SECOND_PERSON = _guard(
    "second person",
    "who has reviewed a claim confirms the review as well",
    (
        "services/claims/confirming.py",
        "if own and not request.reject:",
        "if own and not proposed.actor:",
    ),
    tests=("tests/services/claims/test_reviews.py",),
)
SECOND_ROLE = _guard(
    "role of the second person",
    "a plain adjuster confirms what only a senior may propose, and intake an account",
    (
        "services/claims/second_word.py",
        "if not roles & current_caller().roles:",
        "if not roles:",
    ),
    tests=("tests/services/claims/test_second_word.py",),
)
PROPOSED_AMOUNTS = _guard(
    "amounts of a proposal",
    "a second person confirms amounts that nobody proposed: balances have changed since",
    (
        "services/claims/findings.py",
        "    _check_amounts(told, decided, row.currency)\n",
        "",
    ),
    tests=("tests/services/claims/test_second_word.py",),
)
PROPOSAL_FIRST = _guard(
    "proposal that waits",
    "somebody acts past what waits for a second person, and takes its place without a word",
    (
        "services/claims/reviewing.py",
        "if row.proposal is not None and step.method in",
        'if row.proposal == "" and step.method in',
    ),
    tests=("tests/services/claims/test_second_word.py",),
)
OWN_APPEAL = _guard(
    "judge of an appeal",
    "who has reviewed a claim, or objected, decides the appeal against it",
    (
        "services/claims/appealing.py",
        "if doing.person in actors_of(desk.connection, row.id, _HAD_A_PART):",
        "if doing.person in actors_of(desk.connection, row.id, ()):",
    ),
    tests=("tests/services/claims/test_reviews.py",),
)
SENDERS = _guard(
    "senders of HL7 v2",
    "whoever reaches the port may push records into a hospital's inbox",
    (
        "services/his_bridge/receiving/mllp.py",
        "if mapped is None or not any(mapped in network for network in self._allowed):",
        "if mapped is None:",
    ),
    tests=("tests/services/his_bridge/receiving/test_mllp.py",),
)
STANDING_OUT = _guard(
    "five share a birth",
    "a study is told of people whom their birth and sex tell",
    ("services/claims/core/study.py", "LEAST = 5\n", "LEAST = 1\n"),
    tests=("tests/services/claims/test_studies.py",),
)
STUDY_PURPOSE = _guard(
    "a study's purpose",
    "people are told of to a study whatever it is read for",
    (
        "services/common/access/studies.py",
        "if current_caller().purpose != PURPOSE:",
        "if current_caller().purpose is None:",
    ),
    tests=("tests/services/claims/test_studies.py", "tests/services/pricing/test_studies.py"),
)
STUDY_FILTER = _guard(
    "a study's tenant",
    "a study is told of every insurer's people",
    (
        "services/claims/storage/studies.py",
        "            policy.c.insurer == insurer,\n            policy.c.seq <= newest,\n",
        "            policy.c.seq <= newest,\n",
    ),
    tests=("tests/services/claims/test_studies.py",),
)
STUDY_WITHDRAWAL = _guard(
    "out of studies",
    "a study is told of who withdrew from it",
    (
        "services/claims/studying.py",
        "may = [row for row in rows if row.left_out is None and row.id not in withdrew]",
        "may = [row for row in rows if row.id not in withdrew]",
    ),
    tests=("tests/services/claims/test_studies.py",),
)
STUDY_NAMED = _guard(
    "named readers",
    "readings of all members are told to a study, whomever it names",
    ("services/pricing/storage/studies.py", "if not is_wanted(token):", "if not token:"),
    tests=("tests/services/pricing/test_studies.py",),
)

GUARDS = (
    ROLE_CHECK,
    PROVENANCE,
    PURPOSE,
    OF_INSTALLATION,
    OFFICE,
    EVIDENCE_FILTER,
    MEMBER_READS,
    MASK,
    TENANT_FILTER,
    MEMBER_FILTER,
    OWN_ERASURE,
    TARGET_STANDING,
    HOSPITAL_FILTER,
    REQUEST_IDS,
    EXPIRY,
    REVOCATION,
    TOKEN_BINDING,
    ASSERTION_ONCE,
    CODEC,
    SEALING,
    ROW_BINDING,
    ERASURE,
    SCRUBBING,
    SALT,
    SAME_REFUSAL,
    ADOPTION,
    ANOTHERS_POLICY,
    ESCAPING,
    MONTHS_READ,
    CONSENT_CHECK,
    BILL_CONSENT,
    TAKEN_BACK,
    BARE,
    OVERTAKEN,
    BARE_KIND,
    ONE_PATIENT,
    SEEN,
    SECOND_PERSON,
    SECOND_ROLE,
    PROPOSED_AMOUNTS,
    PROPOSAL_FIRST,
    OWN_APPEAL,
    TARIFF_APPROVERS,
    TARIFF_PROPOSERS,
    TARIFF_FILTER,
    TARIFF_GATES,
    TARIFF_CONTENT,
    LEAF,
    LOG_ALLOW_LIST,
    SENDERS,
    STANDING_OUT,
    STUDY_PURPOSE,
    STUDY_FILTER,
    STUDY_WITHDRAWAL,
    STUDY_NAMED,
)
