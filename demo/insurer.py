"""The insurer's side as the demo uses it: publish plans, import policies, list and check claims."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from demo.wire import call, pages
from lipei.claims.v1 import claims_pb2, claims_pb2_grpc, policy_pb2, provider_pb2
from lipei.claims.v1.provider_pb2_grpc import ProviderServiceStub
from services.common.transport.certificates import Identity
from services.common.transport.channels import sync_channel

# A page of claims with 50 lines each stays below a megabyte.
_PAGE = 100
_IMPORT_S = 60.0
_BOOKS_S = 60.0

UNDECIDED = frozenset(
    {
        claims_pb2.CLAIM_STATE_UNSPECIFIED,
        claims_pb2.CLAIM_STATE_RECEIVED,
        claims_pb2.CLAIM_STATE_REGISTERED,
        claims_pb2.CLAIM_STATE_ADJUDICATING,
    }
)
# Ended because the patient withdrew the consent.
WITHDRAWN = claims_pb2.CLAIM_STATE_WITHDRAWN
# Still on its way by itself; every other state is an end, or waits for a person.
MOVING = UNDECIDED | {
    claims_pb2.CLAIM_STATE_AUTO_APPROVED,
    claims_pb2.CLAIM_STATE_APPROVED,
    claims_pb2.CLAIM_STATE_PAYABLE,
    claims_pb2.CLAIM_STATE_PAYMENT_SENT,
}
PENDED = frozenset(
    {
        claims_pb2.CLAIM_STATE_PENDED_INFO,
        claims_pb2.CLAIM_STATE_PENDED_REVIEW,
        claims_pb2.CLAIM_STATE_PENDED_FRAUD,
    }
)


class Insurer:
    """Three people of the insurer at the claims service: intake, an adjuster, payments.

    `who` gives their identities by role.
    """

    def __init__(self, target: str, who: Callable[[str], Identity]) -> None:
        self._channels = [
            sync_channel(target, who(role), "claims")
            for role in ("insurer_intake", "adjuster", "payments")
        ]
        stubs = [claims_pb2_grpc.ClaimsServiceStub(channel) for channel in self._channels]
        self._intake, self._adjuster, self._payments = stubs
        self._providers = ProviderServiceStub(self._channels[0])
        self._settled: list[claims_pb2.Claim] = []
        self._place = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels:
            channel.close()

    def register(self, providers: Sequence[str], first_day: str) -> int:
        """Say which providers are known from a day on; how many they are.

        Raises: CallRefused.
        """
        known = [
            provider_pb2.KnownProvider(provider_id=one, first_day=first_day) for one in providers
        ]
        request = provider_pb2.RegisterProvidersRequest(request_id=_fresh(), providers=known)
        what = "registering providers"
        return call(self._providers.RegisterProviders, request, what=what).provider_count

    def publish(self, plan: Path) -> str:
        """Publish a plan file; its version.

        Raises: CallRefused.
        """
        request = claims_pb2.PublishPlanRequest(request_id=_fresh(), yaml=plan.read_bytes())
        return call(self._intake.PublishPlan, request, what=f"publishing {plan.name}").plan_version

    def import_policies(
        self, policies: Sequence[policy_pb2.Policy], *, dry_run: bool
    ) -> claims_pb2.ImportPoliciesResponse:
        """Import policies, or say what an import would do.

        Raises: CallRefused naming every fault.
        """
        request = claims_pb2.ImportPoliciesRequest(
            request_id=_fresh(), policies=policies, dry_run=dry_run
        )
        what = "the policies' dry run" if dry_run else "the policies' import"
        return call(self._intake.ImportPolicies, request, what=what, within_s=_IMPORT_S)

    def claims(self, *, anew: bool = False) -> list[claims_pb2.Claim]:
        """All claims, oldest first. Pages at rest are not asked for again, unless `anew`."""
        if anew:
            self._settled, self._place = [], ""
        fresh: list[claims_pb2.Claim] = []
        request = claims_pb2.ListClaimsRequest(
            parent="policies/-", page_size=_PAGE, page_token=self._place
        )
        for page in pages(self._adjuster.ListClaims, request, what="listing the claims"):
            fresh.extend(page.claims)
            if page.next_page_token and all(claim.state not in MOVING for claim in fresh):
                self._settled += fresh
                self._place = page.next_page_token
                fresh = []
        return self._settled + fresh

    def explain(self, name: str) -> claims_pb2.ExplainClaimResponse:
        """One claim's decision in words.

        Raises: CallRefused.
        """
        request = claims_pb2.ExplainClaimRequest(name=name)
        return call(self._adjuster.ExplainClaim, request, what=f"explaining {name}")

    def books(self) -> claims_pb2.CheckBooksResponse:
        """The state of the books.

        Raises: CallRefused.
        """
        request = claims_pb2.CheckBooksRequest()
        return call(
            self._payments.CheckBooks, request, what="checking the books", within_s=_BOOKS_S
        )


def _fresh() -> str:
    return f"demo-{uuid.uuid4().hex}"
