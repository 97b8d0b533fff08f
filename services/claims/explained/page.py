"""An explained decision as one self-contained HTML page: no script, no link, all text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from services.claims.explained.told import ToldClaim
from services.claims.explained.view import title, view
from services.claims.explained.words import Language

if TYPE_CHECKING:
    from jinja2 import Template


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import (  # noqa: PLC0415 - most processes that could make a page never do
        Environment,
        PackageLoader,
        StrictUndefined,
    )

    # Everything is escaped and nothing may be missing: a name of a service is anybody's text.
    environment = Environment(
        loader=PackageLoader("services.claims.explained", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def page(claim: ToldClaim, languages: Sequence[Language]) -> bytes:
    """The page in UTF-8, one part a language; readable on a phone, printable on paper."""
    views = [view(claim, language) for language in languages]
    return _template().render(title=title(views), views=views).encode()
