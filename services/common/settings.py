"""Settings from LIPEI_* variables. An unknown one stops the start: it would be silently ignored."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path

PREFIX = "LIPEI_"
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_LONGEST_DOMAIN = 200
_DAY_S = 86_400


class UnknownSetting(ValueError):
    """At least one LIPEI_* variable that nobody reads, or a value that cannot be used."""


def key_file(state: Path, variable: str, name: str) -> Path:
    """The file named by LIPEI_{variable}, else `keys/{name}` in the state directory."""
    named = os.environ.get(PREFIX + variable)
    return Path(named) if named else state / "keys" / name


def member_token_key_file(state: Path) -> Path:
    """Where the key shared by insurer and hospitals stands."""
    return key_file(state, "MEMBER_TOKEN_KEY_FILE", "member_token.key")


def member_token_key_version() -> str:
    """Version of that key, written into every token."""
    return os.environ.get(PREFIX + "MEMBER_TOKEN_KEY_VERSION", "k1")


def keys_pinned_anew() -> frozenset[str]:
    """Keys of pseudonyms whose files are right now, where a database knows another one."""
    return frozenset(os.environ.get(PREFIX + "KEYS_PINNED_ANEW", "").replace(",", " ").split())


def master_key_file(state: Path) -> Path:
    """Where the master keys stand that wrap the keys of sealed columns."""
    return key_file(state, "MASTER_KEY_FILE", "master_keys.json")


def master_key_command() -> str:
    """The command that prints the master keys instead of that file; empty without one."""
    return os.environ.get(PREFIX + "MASTER_KEY_COMMAND", "")


def trust_domain() -> str:
    """The trust domain of every name in this installation's certificates.

    Raises: UnknownSetting when it is no DNS name in small letters.
    """
    found = os.environ.get(PREFIX + "TRUST_DOMAIN", "lipei.local")
    if len(found) > _LONGEST_DOMAIN or not _DOMAIN.fullmatch(found):
        raise UnknownSetting("LIPEI_TRUST_DOMAIN must be a DNS name in small letters")
    return found


def insurer() -> str:
    """The insurer of this installation, as its people's certificates and tokens name it."""
    return os.environ.get(PREFIX + "INSURER", "insurer")


def token_issuer() -> str:
    """Who must have issued a person's token."""
    return os.environ.get(PREFIX + "TOKEN_ISSUER") or f"https://{trust_domain()}/sandbox-issuer"


def token_keys_file(state: Path) -> Path:
    """Where the token issuer's public keys stand."""
    named = os.environ.get(PREFIX + "TOKEN_KEYS_FILE")
    return Path(named) if named else state / "tls" / "issuer.jwks.json"


def connection_age_s() -> int:
    """Seconds after which a server has a connection made anew, and so a certificate shown again.

    Raises: UnknownSetting when it is not 1 to 86400.
    """
    found = os.environ.get(PREFIX + "CONNECTION_AGE_S", "600")
    if not found.isascii() or not found.isdecimal() or not 1 <= int(found) <= _DAY_S:
        raise UnknownSetting("LIPEI_CONNECTION_AGE_S must be 1 to 86400")
    return int(found)


def evidence_pseudonym_key_file(state: Path) -> Path:
    """Where the key stands that keeps member tokens out of the evidence of access."""
    return key_file(state, "EVIDENCE_PSEUDONYM_KEY_FILE", "evidence_pseudonym.key")


def study_pseudonym_key_file(state: Path) -> Path:
    """Where the key stands by which claims and pricing give people the names of a study."""
    return key_file(state, "STUDY_PSEUDONYM_KEY_FILE", "study_pseudonym.key")


def temporal_codec_key_file(state: Path) -> Path:
    """Where the keys that encrypt Temporal payloads stand."""
    return key_file(state, "TEMPORAL_CODEC_KEY_FILE", "temporal_codec.key")


# Every setting of every process, so that one service accepts what another reads.
KNOWN: dict[str, str] = {
    "STATE": "directory of databases, keys and addresses; default .lipei",
    "LOG_LEVEL": "debug, info, warning or error",
    "COUNT_READS": "true: services on SQLite count which sealed records each call fetches",
    "CLAIMS_ADDRESS": "host:port where claims listens; default 127.0.0.1:0",
    "CLAIMS_DATABASE_URL": "SQLAlchemy URL; default SQLite in the state directory",
    "CLAIMS_MAX_IN_FLIGHT": "claims being decided at once; more are refused early",
    "CLAIMS_PAYING_ACCOUNT": "name of the account that pays; default main",
    "CLAIMS_DEBTOR_NAME": "name of the paying insurer on payment files",
    "CLAIMS_DEBTOR_ACCOUNT": "account number of the paying insurer on payment files",
    "CLAIMS_DEBTOR_BANK": "clearing code of the paying insurer's bank",
    "CLAIMS_TARGET": "host:port of claims for a worker elsewhere; default the one in run.json",
    "HIS_BRIDGE_ADDRESS": "host:port where the bridge listens; default 127.0.0.1:0",
    "HIS_BRIDGE_DATABASE_URL": "SQLAlchemy URL; default SQLite in the state directory",
    "HIS_BRIDGE_METRICS_ADDRESS": "host:port of the bridge's metrics for Prometheus; default none",
    "HIS_BRIDGE_PROFILES": "folder of source profiles (YAML)",
    "PRICING_ADDRESS": "host:port where pricing listens; default 127.0.0.1:0",
    "PRICING_DATABASE_URL": "SQLAlchemy URL; default SQLite in the state directory",
    "PRICING_TARIFFS": "folder of tariffs; default the examples",
    "PRICING_PROGRAMMES": "folder of health programmes; default the examples",
    "PRICING_CREDIT_CAP": "the law's bound on credits as a share, for example 0.20; no default",
    "PRICING_CREDIT_CAP_SOURCE": "where that bound is written; no default",
    "PRICING_BACKFILL": "true while a book's history is loaded: typed readings may state receipt",
    "PRICING_TARGET": "host:port of pricing for a worker elsewhere; default the one in run.json",
    "BANK_URL": "base URL of the bank's file interface",
    "MEMBER_TOKEN_KEY_FILE": "key shared by insurer and hospitals; default in the state directory",
    "MEMBER_TOKEN_KEY_VERSION": "version written into tokens; default k1",
    "KEYS_PINNED_ANEW": "keys of pseudonyms that one start takes as right: member_token, ...",
    "MASTER_KEY_FILE": "keys that wrap those of sealed columns; default in the state directory",
    "MASTER_KEY_COMMAND": "command that prints the master keys, from a key service, for the file",
    "EVIDENCE_PSEUDONYM_KEY_FILE": "key of member tokens' pseudonyms in evidence; default in state",
    "STUDY_PSEUDONYM_KEY_FILE": "key of people's names in exported books; default in the state",
    "CLAIMS_EVIDENCE_KEY_FILE": "key that signs the evidence of claims; default in the state",
    "HIS_BRIDGE_EVIDENCE_KEY_FILE": "the same of the bridge",
    "PRICING_BANNED": "file of factors that the law bans from prices; default the one of lipei",
    "PRICING_EVIDENCE_KEY_FILE": "the same of pricing",
    "EVIDENCE_KEYS": "folder of the logs' public keys, {log}_evidence.vkey; default keys/",
    "WITNESS_ADDRESS": "host:port where a witness listens; default 127.0.0.1:0",
    "WITNESS_KEY_FILE": "key that a witness cosigns with; default in the state folder",
    "WITNESS_FOLDER": "where a witness keeps checkpoints; default witness-{name} in the state",
    "HIS_BRIDGE_TARGET": "host:port of the bridge for a witness elsewhere; default in run.json",
    "TEMPORAL_CODEC_KEY_FILE": "keys that encrypt Temporal payloads; default in the state folder",
    "TRUST_DOMAIN": "domain of the names in certificates; default lipei.local",
    "INSURER": "name of the insurer, the tenant of its people; default insurer",
    "TLS_CERT_FILE": "certificate chain, {name} stands for the process; default in the state",
    "TLS_KEY_FILE": "its key, readable by its owner only; default in the state directory",
    "TLS_CA_FILE": "authorities that are trusted; default in the state directory",
    "TLS_REVOCATION_FILE": "lists of revoked certificates (CRL); default in the state directory",
    "CONNECTION_AGE_S": "seconds after which a server has a connection made anew; default 600",
    "TOKEN_ISSUER": "who issues people's tokens; default the sandbox issuer of lipei up",
    "TOKEN_KEYS_FILE": "that issuer's public keys (JWKS); default in the state directory",
    "TOKEN_FILE": "a person's token for commands, where lipei up runs elsewhere",
    "AS": "role in which a command acts, instead of its own",
    "PERSON": "which person of the sandbox a command acts as, for what needs somebody else",
    "PURPOSE": "what a command reads for, instead of its role's usual purpose",
    "CLIENT_KEYS_FILE": "public keys of workloads that sign client assertions; default none",
    "PULL_INTERVAL_S": "seconds between two pulls of a hospital",
}
# Prefixes with a free ending, for example LIPEI_HIS_BRIDGE_BASE_URL_GENERAL.
KNOWN_PREFIXES = (
    "HIS_BRIDGE_BASE_URL_",
    "HIS_BRIDGE_SQL_URL_",
    "HIS_BRIDGE_FOLDER_",
    "HIS_BRIDGE_SMART_KEY_FILE_",
)


def refuse_unknown(environ: Mapping[str, str] | None = None) -> None:
    """Stop when a LIPEI_* variable is not a setting of any process.

    Raises: UnknownSetting naming all of them, each with the nearest known name.
    """
    environ = os.environ if environ is None else environ
    # pydantic reads lipei_state as well as LIPEI_STATE; the odd spellings are refused.
    unknown = [
        name
        for name in sorted(environ)
        if name.upper().startswith(PREFIX) and not _is_known(name.removeprefix(PREFIX))
    ]
    if unknown:
        raise UnknownSetting("\n".join(_advice(name) for name in unknown))


def _is_known(name: str) -> bool:
    return name in KNOWN or any(
        name.startswith(prefix) and name != prefix for prefix in KNOWN_PREFIXES
    )


def _advice(name: str) -> str:
    near = difflib.get_close_matches(name[len(PREFIX) :].upper(), KNOWN, n=1)
    hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
    return f"{name} is not a setting{hint}"
