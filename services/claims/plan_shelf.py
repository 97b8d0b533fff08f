"""Published plans, parsed once per process: a version never changes, so nothing ever expires."""

from __future__ import annotations

from sqlalchemy import Connection

from services.claims.core.plan import Plan
from services.claims.storage import policies


class PlanShelf:
    """Parsed plans by version name. Reads the database only for versions not seen before."""

    def __init__(self) -> None:
        self._plans: dict[str, Plan] = {}

    def plan(self, connection: Connection, version: str) -> Plan:
        """The plan of a published version.

        Raises: KeyError when the version was never published.
        """
        if version not in self._plans:
            plan = policies.plan_of(connection, version)
            if plan is None:
                raise KeyError(version)
            self._plans[version] = plan
        return self._plans[version]
