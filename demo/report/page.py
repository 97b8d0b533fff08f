"""The run as one self-contained HTML page: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from demo.figures import quote_worth_showing, said_of_members
from demo.report.premium import premium_view
from demo.report.view import claim_view, claims_view, head_view, hospital_view, planted_view
from demo.results import Results
from lipei.claims.v1 import claims_pb2

_TEMPLATE = "page.html.j2"


def write_page(
    path: Path,
    results: Results,
    explained: claims_pb2.ExplainClaimResponse | None,
    hints: Sequence[tuple[str, str]],
) -> None:
    """Write the page; whoever opens it needs nothing else, not even a network.

    `explained` is one claim in words; `hints` are what to see, and the command or address.
    """
    quote, hospital = quote_worth_showing(results.quotes), results.scenario.generated
    view = {
        **head_view(results),
        **claims_view(results),
        **planted_view(results),
        "claim": claim_view(explained, results.scenario.currency) if explained else None,
        "hospital": hospital_view(results),
        "premium": premium_view(
            quote.before, quote.after, hospital.record.of(quote.participant.person)
        )
        if quote and hospital
        else None,
        "members": said_of_members(results.quotes) if results.quotes else "",
        "hints": [(what, where) for what, where in hints if not where.endswith(path.name)],
    }
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        # A number that the page names and nobody gave must fail, not vanish.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    path.write_text(environment.get_template(_TEMPLATE).render(view=view), encoding="utf-8")
