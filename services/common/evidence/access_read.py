"""One read of sensitive data, as it goes into the evidence log. Holds opaque ids only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessRead:
    """Who read which record, as what, why, under whose consent, when."""

    who: str  # the caller's subject
    uri: str  # of the client certificate
    role: str  # of the caller's roles the one that the read rests on, for example "adjuster"
    purpose: str
    consent: str  # name of the consent, or empty where the contract is the ground
    rpc: str  # "/lipei.claims.v1.ClaimsService/GetClaim"
    record: str  # the record's name; member tokens in it replaced by a keyed pseudonym
    level: int  # highest level among the fields that left
    at_us: int  # microseconds since 1970 in UTC
    owner: str = ""  # key of the tenant whose record it is, "insurer/anxin"; empty: nobody's alone
