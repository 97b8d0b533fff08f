"""One walk over what stands of a bill's events, oldest first: what counts, and what can't. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.his_bridge.core.bill import Bill
from services.his_bridge.core.events import BillEvent, EventKind
from services.his_bridge.core.faults import Fault, Reason, in_order
from services.his_bridge.core.folded_bill import composed
from services.his_bridge.core.folded_lines import Netted, Placed, net, numbered
from services.his_bridge.core.merges import Aliases, Order

_CLOSING = (EventKind.FINAL, EventKind.CORRECTION)


class Walk:
    """What the events leave of each other, before anybody asks whether it fits.

    `standing` are in rank order and none is a reversal; `account` is where the bill goes on.
    """

    def __init__(self, standing: Sequence[BillEvent], aliases: Aliases, account: str) -> None:
        self._aliases = aliases
        self._account = account
        self._closed: dict[str, bool] = {}
        self._social: list[BillEvent] = []
        self._heads: list[BillEvent] = []
        # What was stated anew since, save the places of lines whose charge was not seen till then.
        self._carried: list[tuple[BillEvent, frozenset[int]]] = []
        self.counted: list[BillEvent] = []
        for event in standing:
            self._take(event)
        self._places = [*(event for event, _ in self._carried), *self.counted]
        self._netted = self._net()

    @property
    def has_lines(self) -> bool:
        """Whether anything is left to be billed."""
        return bool(self._netted.lines)

    @property
    def is_closed(self) -> bool:
        """Whether no more is to come: by the account's own word, else by all that it took in."""
        spoke = {event.account for event in self.counted}
        if self._account in spoke:
            return self._closed[self._account]
        return all(self._closed[account] for account in spoke)

    def unfit(self) -> dict[tuple[str, str, Order], tuple[Fault, ...]]:
        """By event, what does not fit as things stand: a record waits whole, never half of it."""
        found: dict[tuple[str, str, Order], tuple[Fault, ...]] = {}
        for place, (reason, number) in self._netted.refused.items():
            key = self._places[place].key
            fault = Fault(reason=reason, path=f"lines[{number}]")
            found[key] = in_order((*found.get(key, ()), fault))
        if found:
            return found
        last = next((event for event in reversed(self.counted) if event.kind in _CLOSING), None)
        if last is None or last.stated_total is None or last.stated_total in self._sums(last):
            return {}
        return {last.key: (Fault(reason=Reason.LINES_DO_NOT_ADD_UP, path="total"),)}

    def bill(self, given: Mapping[str, int]) -> Bill:
        """The bill, once everything fits."""
        lines = numbered(self._netted.lines, self._account, given)
        stating = [self._places[one.place].bill for one in self._netted.lines]
        # The account's own word before that of others which it took in, the whole before a part.
        heads = sorted(
            self._heads,
            key=lambda e: (e.account == self._account, e.kind is not EventKind.LATE),
        )
        return composed(
            [event.bill for event in heads if event.bill is not None],
            [event.bill for event in self.counted if event.bill is not None],
            [(line, bill) for line, bill in zip(lines, stating, strict=True) if bill is not None],
            [event.bill for event in self._social if event.bill is not None],
        )

    def _take(self, event: BillEvent) -> None:
        within = {
            account
            for account in (event.account, *self._closed)
            if self._aliases.is_within(account, event.account, event.order)
        }
        adds = event.kind is EventKind.LATE
        if event.bill is not None and event.bill.lines and not adds:
            self._state_anew(event, within)
        self.counted.append(event)
        if event.bill is not None:
            self._heads.append(event)
            if event.bill.social_insurance is not None:
                if not adds:
                    self._social = [one for one in self._social if one.account not in within]
                self._social.append(event)
        if event.kind in _CLOSING:
            self._closed |= dict.fromkeys(within, True)
        elif event.kind is EventKind.INTERIM:
            self._closed[event.account] = False
        else:
            self._closed.setdefault(event.account, False)

    def _state_anew(self, event: BillEvent, within: set[str]) -> None:
        """All before is stated anew, but for what takes back a charge that nobody has seen yet."""
        replaced = [one for one in self.counted if one.account in within]
        stated = {
            line.line_id
            for bill in (*(one.bill for one in replaced), event.bill)
            if bill is not None
            for line in bill.lines
            if not line.reverses_line
        }
        added = {one.key for one in replaced if one.kind is EventKind.LATE}
        carried = [(e, w) for e, w in self._carried if e.account not in within]
        for one, only in (
            *((e, w) for e, w in self._carried if e.account in within),
            *((e, None) for e in replaced if e.key in added),
        ):
            waits = _waiting(one, only, stated)
            if waits:
                carried.append((one, waits))
        self._carried = carried
        self.counted = [one for one in self.counted if one.account not in within]
        self._heads = [one for one in self._heads if one.key not in added]
        self._social = [one for one in self._social if one.key not in added]

    def _net(self) -> Netted:
        wanted: list[frozenset[int] | None] = [waits for _, waits in self._carried]
        wanted += [None] * len(self.counted)
        placed = [
            Placed(key=(event.account, _name(event, line.line_id, line.number)), line=line, place=p)
            for p, (event, only) in enumerate(zip(self._places, wanted, strict=True))
            for at, line in enumerate(event.bill.lines if event.bill else ())
            if only is None or at in only
        ]
        accounts = sorted({one.key[0] for one in placed})
        within = {own: [own, *(other for other in accounts if other != own)] for own in accounts}
        currency = next((e.bill.currency for e in self._places if e.bill is not None), "")
        return net(placed, within, currency)

    def _sums(self, closing: BillEvent) -> list[int]:
        """The sum of the lines at the time of a statement, and after each addition since.

        A charge may bear a later time than the bill that has counted it already.
        """
        at = self._places.index(closing)
        sums = [sum(self._netted.moved.get(place, 0) for place in range(at + 1))]
        for place in range(at + 1, len(self._places)):
            sums.append(sums[-1] + self._netted.moved.get(place, 0))
        return sums


def _name(event: BillEvent, line_id: str, number: int) -> str:
    """What a charge is known by; without an id of its own by its number, in its record if added."""
    if line_id:
        return line_id
    return f"{event.record}#{number}" if event.kind is EventKind.LATE else f"#{number}"


def _waiting(event: BillEvent, only: frozenset[int] | None, stated: set[str]) -> frozenset[int]:
    """Places of the lines that take back what is not in `stated`, among `only`."""
    lines = event.bill.lines if event.bill is not None else ()
    return frozenset(
        at
        for at, line in enumerate(lines)
        if line.reverses_line and line.reverses_line not in stated and (only is None or at in only)
    )
