"""What no good sender sends, at its largest: for measuring how long its refusal takes, and room."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import zipfile
from collections.abc import Mapping

from bench.mllp_sender import message

MIB = 1 << 20
LINE = b'{"resourceType": "Claim", "id": "x", "note": HERE}\n'


def messages(mib: int) -> Mapping[str, bytes]:
    """HL7 v2 of so many MiB each, of what takes most when it is taken apart."""
    numbers = itertools.count(2)
    charge = next(line for line in message(0).split(b"\r") if line.startswith(b"FT1"))
    most = mib * MIB - 1

    def good() -> bytes:
        return message(next(numbers))

    def filled(start: bytes, unit: bytes, size: int = most) -> bytes:
        return start + unit * ((size - len(start)) // len(unit))

    return {
        "no HL7": filled(b"", b"x"),
        "delimiters": filled(good() + b"\rZZZ", b"|^~&"),
        "segments": filled(good(), b"\r"),
        "charges": filled(good(), b"\r" + charge),
        "wide characters": filled(good() + b"\rOBX|", "\U00020000".encode("gb18030")),
        "not in the charset": filled(good() + b"\rZZZ|", b"\xff"),
        "three times too large": filled(good() + b"\rZZZ|", b"x", 3 * most),
        "entities": filled(good(), b"<!DOCTYPE a [<!ENTITY b 'c'>]>"),
    }


def files(mib: int) -> Mapping[str, bytes]:
    """Files of FHIR resources, by name; what is packed unpacks to 25 times so many MiB."""
    packed, most = bytes(MIB), 25 * mib
    zipped, gzipped = io.BytesIO(), io.BytesIO()
    with (
        zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("a.ndjson", "w") as entry,
    ):
        for _ in range(most):
            entry.write(packed)
    with gzip.GzipFile(fileobj=gzipped, mode="wb", compresslevel=1) as file:
        for _ in range(most):
            file.write(packed)
    deep = mib * MIB // 20
    return {
        "bomb.zip": zipped.getvalue(),
        "bomb.ndjson.gz": gzipped.getvalue(),
        "line.ndjson": LINE.replace(b"HERE", json.dumps("x" * (mib * MIB)).encode()),
        "values.ndjson": LINE.replace(b"HERE", b"[" + b"{}," * (mib * MIB * 2 // 5 // 3) + b"0]"),
        "deep.ndjson": LINE.replace(b"HERE", b"[" * deep + b"]" * deep),
        "twice.ndjson": LINE.replace(b"HERE", b'1, "note": 2'),
        "nan.ndjson": LINE.replace(b"HERE", b"NaN"),
        "huge.ndjson": LINE.replace(b"HERE", b"1e400"),
        "charset.ndjson": "姓名".encode("gb18030") * (mib * MIB // 4),
        "document.ndjson": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
    }
