"""A memo's blocks as Markdown, or as one self-contained page. Knows no tariff."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

Language: TypeAlias = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")


class Heading(msgspec.Struct, frozen=True):
    """A heading; level 1 is the title."""

    level: int
    text: str


class Paragraph(msgspec.Struct, frozen=True):
    """A paragraph of plain text."""

    text: str


class Grid(msgspec.Struct, frozen=True):
    """A table of texts."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block: TypeAlias = Heading | Paragraph | Grid


def markdown(blocks: Sequence[Block]) -> str:
    """The memo as Markdown."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def html(blocks: Sequence[Block], language: Language) -> str:
    """The memo as one self-contained page."""
    from jinja2 import Environment  # noqa: PLC0415 - only who files a tariff makes a page

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    title = next((one.text for one in blocks if isinstance(one, Heading)), "")
    kinds = [(type(block).__name__, block) for block in blocks]
    return environment.from_string(_PAGE).render(
        blocks=kinds, title=title, language="zh-CN" if language == "zh" else "en"
    )


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_escaped(block.text)}"
    if isinstance(block, Paragraph):
        return _escaped(block.text)
    lines = [block.header, tuple("---" for _ in block.header), *block.rows]
    return "\n".join("| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


_PAGE = """\
<!DOCTYPE html>
<html lang="{{ language }}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 15px/1.55 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", sans-serif;
       margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1b1f24; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #d0d7de; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { border: 1px solid #d0d7de; padding: .25rem .6rem; text-align: left; vertical-align: top;
         overflow-wrap: anywhere; }
th { background: #f3f5f7; }
</style>
</head>
<body>
{% for kind, block in blocks %}
{% if kind == "Heading" %}
<h{{ block.level }}>{{ block.text }}</h{{ block.level }}>
{% elif kind == "Paragraph" %}
<p>{{ block.text }}</p>
{% else %}
<table>
<tr>{% for cell in block.header %}<th>{{ cell }}</th>{% endfor %}</tr>
{% for row in block.rows %}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% endif %}
{% endfor %}
</body>
</html>
"""
