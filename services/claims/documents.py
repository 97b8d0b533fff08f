"""Makes explanations into files, a few at a time: typesetting costs more than deciding does."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc

from lipei.claims.v1 import explanation_pb2 as pb
from services.claims.core.explanation import DecisionAltered
from services.claims.explained.fhir_eob import claim_response, explanation_of_benefit
from services.claims.explained.page import page
from services.claims.explained.pdf import MOST_LINES, pdf
from services.claims.explained.told import ToldClaim
from services.claims.explained.words import Language
from services.claims.explaining import altered
from services.common.grpc_edge import Refused, Violation, invalid

MOST_AT_ONCE = 2
# Who waits behind these is served within seconds; the next one is told to come again.
MOST_WAITING = 8
RETRY_AFTER_S = 1.0

_FHIR = {
    pb.DOCUMENT_FORMAT_FHIR_EXPLANATION_OF_BENEFIT: explanation_of_benefit,
    pb.DOCUMENT_FORMAT_FHIR_CLAIM_RESPONSE: claim_response,
}
_LANGUAGES = {
    pb.DOCUMENT_LANGUAGE_UNSPECIFIED: (Language.ZH, Language.EN),
    pb.DOCUMENT_LANGUAGE_ZH: (Language.ZH,),
    pb.DOCUMENT_LANGUAGE_EN: (Language.EN,),
}


def check_request(
    wanted: pb.DocumentFormat.ValueType, language: pb.DocumentLanguage.ValueType
) -> None:
    """Refuse what is no format or no language, both at once."""
    faults = []
    if wanted not in pb.DocumentFormat.values():
        faults.append(Violation("format", "UNKNOWN_VALUE", "is no format of a document"))
    if language not in pb.DocumentLanguage.values():
        faults.append(Violation("language", "UNKNOWN_VALUE", "is no language of a document"))
    if faults:
        raise invalid(faults)


class Documents:
    """The typesetters of one server process. Holds no transaction while anyone waits."""

    def __init__(self) -> None:
        self._typesetters = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="documents")
        self._in_hand = 0

    async def make(
        self,
        claim: ToldClaim,
        wanted: pb.DocumentFormat.ValueType,
        language: pb.DocumentLanguage.ValueType,
    ) -> pb.Document:
        """The document asked for; the same claim in the same state gives the same bytes.

        Raises: Refused (RESOURCE_EXHAUSTED) when too many wait, (FAILED_PRECONDITION) when the
        claim is too long for a PDF, (DATA_LOSS) when a document's own sums do not hold.
        """
        if self._in_hand >= MOST_AT_ONCE + MOST_WAITING:
            raise Refused(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "TOO_MANY_DOCUMENTS",
                "too many documents are being made; repeat after the given time",
                retry_after_s=RETRY_AFTER_S,
            )
        loop = asyncio.get_running_loop()
        work = self._typesetters.submit(_document, claim, wanted, _LANGUAGES[language])
        self._in_hand += 1
        # One that nobody waits for any more still holds its thread until it is done.
        work.add_done_callback(lambda _: loop.call_soon_threadsafe(self._done))
        return await asyncio.wrap_future(work)

    def _done(self) -> None:
        self._in_hand -= 1


def _document(
    claim: ToldClaim, wanted: pb.DocumentFormat.ValueType, languages: tuple[Language, ...]
) -> pb.Document:
    if wanted in _FHIR:
        try:
            content = _FHIR[wanted](claim)
        except DecisionAltered:
            raise altered() from None
        return pb.Document(media_type="application/fhir+json; fhirVersion=4.0", content=content)
    if wanted == pb.DOCUMENT_FORMAT_HTML:
        return pb.Document(media_type="text/html; charset=utf-8", content=page(claim, languages))
    if len(claim.told.lines) > MOST_LINES:
        raise Refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            "TOO_LONG_FOR_PDF",
            f"the claim has more than {MOST_LINES} lines; ask for HTML or FHIR",
        )
    return pb.Document(media_type="application/pdf", content=pdf(claim, languages))
