"""Source profiles from YAML: strict, every fault of every file at once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from services.common.money import currency_exponent
from services.common.strict_yaml import Fault, StrictYamlError, load
from services.common.zones import zone_names
from services.his_bridge.core.bill import CareType, Coding, Licence, Provenance, Tier
from services.his_bridge.core.terms import (
    CodeMap,
    CodeRules,
    IdentityRule,
    LineAmount,
    LineWithoutNet,
    Principal,
    ReadingRule,
    SocialInsuranceSource,
    SourceTerms,
)
from services.his_bridge.profiles.dialect_terms.table import DIALECTS
from services.his_bridge.profiles.reader import Section
from services.his_bridge.profiles.source_kinds.fhir_rest import FhirRestSettings
from services.his_bridge.profiles.source_kinds.port import Context, SourceSettings
from services.his_bridge.profiles.source_kinds.table import SOURCE_KINDS, USUAL_KIND

HOSPITAL = r"[a-z][a-z0-9-]{0,62}"
_URI = r"[!-~]{1,200}"
_CODE = r"[^\s](?:.{0,98}[^\s])?"


class ProfileError(ValueError):
    """At least one profile cannot be used; the text names every fault with file and line."""


class PullLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How gently the source is asked, and how long what it leaves open is waited for."""

    page_size: int = 200
    overlap_s: int = 120
    timeout_s: int = 20
    requests_per_s: int = 50
    attempts: int = 4
    max_wait_s: int = 5
    max_body_mib: int = 5
    lease_s: int = 15
    park_days: int = 30


class SourceProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One hospital's source: how to read its records and how to ask for them."""

    dialect: str
    charset: str
    licence: str | None
    terms: SourceTerms
    limits: PullLimits
    source: SourceSettings
    dialect_terms: msgspec.Struct | None = None

    @property
    def scope(self) -> str:
        """What a cursor belongs to: another source, period or choice of readings begins anew."""
        terms = self.terms
        parts = (
            self.source.scope,
            terms.first_day,
            terms.last_day,
            [rule.code for rule in terms.readings],
        )
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def load_profiles(folder: Path, environ: Mapping[str, str]) -> dict[str, SourceProfile]:
    """All `*.yaml` of a folder by hospital.

    `LIPEI_HIS_BRIDGE_BASE_URL_{HOSPITAL}` replaces a profile's base URL.

    Raises: ProfileError naming every fault of every file.
    """
    found: dict[str, SourceProfile] = {}
    texts: list[str] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            profile = parse_profile(path.read_bytes(), path.name, environ)
        except StrictYamlError as error:
            texts.append(str(error))
            continue
        if profile.terms.hospital != path.stem:
            texts.append(f"{path.name}: must be named {profile.terms.hospital}.yaml")
        found[profile.terms.hospital] = profile
    if texts:
        raise ProfileError("\n".join(texts))
    if not found:
        raise ProfileError(f"no source profile (*.yaml) in {folder.name}")
    return found


_CHARSETS_STAND = (
    "only utf-8, or leave it out: another charset stands in source.charset (of dropped files), "
    "hl7v2.charset, or sql_rows.charset (of a table's bytes)"
)


def parse_profile(
    content: str | bytes, source: str, environ: Mapping[str, str] | None = None
) -> SourceProfile:
    """One profile.

    Raises: StrictYamlError naming every fault with its line.
    """
    faults: list[Fault] = []
    top = Section(load(content, source), "", faults)
    hospital = top.text("hospital", HOSPITAL) or "unknown"
    named = top.text("dialect", "|".join(DIALECTS))
    dialect = named or next(iter(DIALECTS))
    charset = top.text("charset", required=False) or "utf-8"
    if charset != "utf-8":
        top.fault("charset", "TEXT", _CHARSETS_STAND)
    origin = top.section("source")
    before = len(faults)
    kind = origin.text("kind", "|".join(SOURCE_KINDS), required=False) or USUAL_KIND
    context = Context(hospital=hospital, top=top, environ=environ or {})
    own = top.section(dialect)
    # Of a kind or a dialect that is mistyped nobody can say what belongs to it.
    unknown: list[Fault] = []
    mistyped = len(faults) > before
    if mistyped:
        origin = Section(origin.node, "source", unknown)
    if mistyped or named is None:
        context = Context(hospital=hospital, top=Section(top.node, "", unknown), environ={})
        top.ignore("base_url")
    source_settings = SOURCE_KINDS[kind](origin, context)
    if named is None:
        own = Section(own.node, dialect, unknown)
        for each in DIALECTS:
            top.ignore(each)
    dialect_terms = DIALECTS[dialect](own)
    zone, currency = _zone(top), _currency(top)
    provider = top.section("provider", required=True)
    codes = top.section("codes", required=True)
    quirks = top.section("quirks")
    period = top.section("period")
    readings = top.section("readings")
    pull = top.section("pull")
    terms = SourceTerms(
        hospital=hospital,
        currency=currency,
        zone=zone,
        base_url=(
            source_settings.base_url if isinstance(source_settings, FhirRestSettings) else ""
        ),
        identities=_identities(top),
        provider_system=provider.text("identifier_system", _URI, required=False),
        provider_id=provider.text("id", _CODE, required=False),
        tier=provider.choice("tier", Tier),
        licences=provider.choices("licences", Licence),
        line_codes=_code_rules(codes, "lines"),
        diagnosis_codes=_code_rules(codes, "diagnoses"),
        encounter_types=_encounter_types(quirks),
        care_type_default=quirks.choice("care_type_default", CareType),
        principal=quirks.choice("principal_diagnosis", Principal) or Principal.MARKED,
        pharmacy_code_from_prescription=quirks.flag("pharmacy_code_from_prescription", False),
        line_without_net=_line_without_net(quirks),
        social_insurance=top.choice("social_insurance", SocialInsuranceSource)
        or SocialInsuranceSource.UNKNOWN,
        first_day=period.day("first_day"),
        last_day=period.day("last_day"),
        readings=_readings(readings),
        provenances=_provenances(readings),
    )
    if (terms.provider_system is None) == (terms.provider_id is None):
        provider.fault("id", "PROVIDER", "give either identifier_system or id")
    if terms.first_day and terms.last_day and terms.last_day < terms.first_day:
        period.fault("last_day", "PERIOD", "must not be before first_day")
    licence = provider.text("licence", r"\S.{0,98}\S", required=False)
    limits = _limits(pull)
    for section in (top, origin, own, provider, codes, quirks, period, readings, pull):
        section.close()
    if faults:
        raise StrictYamlError(faults, source)
    return SourceProfile(
        dialect=dialect,
        charset=charset,
        licence=licence,
        terms=terms,
        limits=limits,
        source=source_settings,
        dialect_terms=dialect_terms,
    )


def _zone(top: Section) -> str:
    zone = top.text("zone", r"[A-Za-z0-9_+/-]{1,60}") or "Etc/UTC"
    if zone not in zone_names():
        top.fault("zone", "ZONE", "not an IANA zone such as Asia/Shanghai")
    return zone


def _currency(top: Section) -> str:
    currency = top.text("currency", "[A-Z]{3}") or "CNY"
    try:
        currency_exponent(currency)
    except KeyError:
        top.fault("currency", "CURRENCY", "not a currency that plans may use")
    return currency


def _identities(top: Section) -> tuple[IdentityRule, ...]:
    rules = []
    for entry in top.sections("identities", required=True):
        system = entry.text("system", _URI)
        kind = entry.text("kind", r"[A-Z][A-Z0-9:./_-]{1,63}")
        entry.close()
        if system and kind:
            rules.append(IdentityRule(system=system, kind=kind))
    return tuple(rules)


def _code_rules(codes: Section, key: str) -> CodeRules:
    rules = codes.section(key, required=True)
    accepted: dict[str, bool] = {}
    for entry in rules.sections("accepted", required=True):
        system = entry.text("system", _URI)
        public = entry.flag("public_displays", False)
        entry.close()
        if system:
            accepted[system] = public
    maps = {}
    for entry in rules.sections("maps"):
        source = entry.text("from", _URI)
        target = entry.text("to", _URI)
        if target is not None and target not in accepted:
            entry.fault("to", "CODE_SYSTEM", "must be one of the accepted systems")
        table = {}
        for local, standard in entry.mapping("codes").items():
            if not isinstance(standard, str) or not standard:
                entry.fault("codes", "CODE", f"the standard code for {local} must be text")
            elif target:
                table[local] = Coding(system=target, code=standard)
        entry.close()
        if source:
            maps[source] = CodeMap(codes=table)
    rules.close()
    return CodeRules(accepted=accepted, maps=maps)


def _encounter_types(quirks: Section) -> dict[tuple[str, str], CareType]:
    found = {}
    for entry in quirks.sections("encounter_types"):
        system, code = entry.text("system", _URI), entry.text("code", _CODE)
        care_type = entry.choice("care_type", CareType)
        if care_type is None:
            entry.fault("care_type", "MISSING", "must be given")
        elif system and code:
            found[system, code] = care_type
        entry.close()
    return found


def _line_without_net(quirks: Section) -> LineWithoutNet:
    rule = quirks.section("line_without_net")
    first = rule.choice("first", LineAmount) or LineAmount.REFUSE
    others = rule.choice("others", LineAmount) or LineAmount.REFUSE
    among = rule.decimals("first_among", 2)
    if others is LineAmount.REMAINDER:
        rule.fault("others", "QUIRK", "only the first line can take the remainder")
    if among and first is not LineAmount.REMAINDER:
        rule.fault("first_among", "QUIRK", "only says something when first is remainder")
    rule.close()
    return LineWithoutNet(first=first, others=others, first_among=among)


def _readings(readings: Section) -> tuple[ReadingRule, ...]:
    rules = []
    for entry in readings.sections("codes"):
        code = entry.text("loinc", r"[0-9]{1,7}-[0-9]")
        units = entry.texts("units")
        if not units:
            entry.fault("units", "MISSING", "must list at least one UCUM unit")
        entry.close()
        if code:
            rules.append(ReadingRule(code=code, units=units))
    return tuple(rules)


def _provenances(readings: Section) -> dict[str, Provenance]:
    found = {}
    by_name: dict[Any, Provenance] = {member.value.lower(): member for member in Provenance}
    for category, name in readings.mapping("categories").items():
        if not isinstance(name, str) or name not in by_name:
            text = f"must assign each category one of: {', '.join(by_name)}"
            readings.fault("categories", "CHOICE", text)
        else:
            found[category] = by_name[name]
    return found


def _limits(pull: Section) -> PullLimits:
    usual = PullLimits()
    return PullLimits(
        page_size=pull.whole("page_size", usual.page_size, low=1, high=1000),
        overlap_s=pull.whole("overlap_s", usual.overlap_s, low=0, high=86_400),
        timeout_s=pull.whole("timeout_s", usual.timeout_s, low=1, high=300),
        requests_per_s=pull.whole("requests_per_s", usual.requests_per_s, low=1, high=10_000),
        attempts=pull.whole("attempts", usual.attempts, low=1, high=10),
        max_wait_s=pull.whole("max_wait_s", usual.max_wait_s, low=0, high=60),
        max_body_mib=pull.whole("max_body_mib", usual.max_body_mib, low=1, high=256),
        lease_s=pull.whole("lease_s", usual.lease_s, low=1, high=300),
        park_days=pull.whole("park_days", usual.park_days, low=1, high=3650),
    )
