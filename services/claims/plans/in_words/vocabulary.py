"""What a word of the plan language is: its label, its sentence, and what a change of it means.

One entry per field; `explain` and `diff` both speak from it. Holds no words itself.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.claims.core.plan_parts import Text
from services.claims.plans.in_words.values import Names


class Effect(enum.StrEnum):
    """What a change means for the insured, other things being equal."""

    BETTER = "better"
    WORSE = "worse"
    NONE = "none"
    DEPENDS = "depends"

    @property
    def opposite(self) -> Effect:
        """What the change back means."""
        return {Effect.BETTER: Effect.WORSE, Effect.WORSE: Effect.BETTER}.get(self, self)


class Absent(enum.Enum):
    """What a value that is absent or null amounts to, when values are compared."""

    MOST = "most"  # no limit; every section
    LEAST = "least"  # nothing is taken; nothing is exempt
    APART = "apart"  # another thing altogether


_NONE = Text(zh="无", en="none")
Say = Callable[[Any, Names], Text]


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """A field of the plan language in words.

    `told` is the sentence of an explanation with {} for the value, `ended` what null says, and
    `absent` the sentence where nothing is given; empty says nothing. `more` is what it means for
    the insured when the value grows or takes in more. `about` marks what says whom or what a term
    concerns.
    """

    label: Text
    told: Text
    say: Say
    more: Effect = Effect.DEPENDS
    none: Absent = Absent.APART
    ended: Text = _NONE
    absent: Text | None = None
    about: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of term: what it is called, what it does, and what one more of it means.

    In a `ranked` list the first that fits holds, so that its order says something.
    """

    name: Text
    does: Text
    added: Effect
    ranked: bool = False


Vocabulary = Mapping[tuple[type, str], Words]


def words(label: tuple[str, str], told: tuple[str, str], say: Say, **more: Any) -> Words:
    """One entry; texts are (Chinese, English)."""
    for key in ("ended", "absent"):
        if key in more:
            more[key] = Text(zh=more[key][0], en=more[key][1])
    return Words(
        label=Text(zh=label[0], en=label[1]),
        told=Text(zh=told[0], en=told[1]),
        say=say,
        **more,
    )


def kind(
    name: tuple[str, str], does: tuple[str, str], added: Effect, *, ranked: bool = False
) -> Kind:
    """One kind of term; texts are (Chinese, English)."""
    return Kind(
        name=Text(zh=name[0], en=name[1]),
        does=Text(zh=does[0], en=does[1]),
        added=added,
        ranked=ranked,
    )
