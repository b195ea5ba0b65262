# SPDX-License-Identifier: GPL-2.0
"""Decides which options to drop, and why the others stay. Pure, except for asking Kconfig.

Only requested options are considered. The base configuration is `make allnoconfig` with a
list of requested options; all other options that are on follow from these, and go with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from ukl.base.errors import InputError
from ukl.base.model import AppSpec
from ukl.kernel import kconfig
from ukl.kernel.kconfig import Request
from ukl.kernel.kconfig_why import Definitions
from ukl.trim import rules
from ukl.trim.reach import Code, Ran, holds
from ukl.trim.rules import Kind

Resolve = Callable[[frozenset[str]], Mapping[str, str]]
"""Asks Kconfig for the `.config` (names with CONFIG_) without these options (names without)."""


class Why(StrEnum):
    """Why an option stays."""

    REACHED = "reached"
    NEEDED = "needed"
    MACHINE = "machine"
    PROTECTION = "protection"
    DIAGNOSIS = "diagnosis"
    ASKED = "asked for"
    CHOICE = "choice"
    UNSEEN = "unseen"
    """It is unknown whether the option is used."""
    FAILED = "tried"
    """Without it the workload failed, or no builds were left for a trial."""


_WEAK = frozenset({Why.UNSEEN, Why.CHOICE})
"""Reasons that do not keep the options on which such an option depends."""


class Seen(StrEnum):
    """Evidence that an option can go, the surest first."""

    NEVER = "never ran"
    BOOT = "ran only while the kernel booted"
    IDLE = "ran, but also in an idle guest"
    FOLLOWS = "goes with another one"
    GIVEN_UP = "given up"
    """The user gave up its purpose (--without), and nothing used it."""
    REQUESTED = "dropped on request"
    """The user asked to drop it (--drop), regardless of use."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An option that stays."""

    option: str
    why: Why
    text: str


@dataclass(frozen=True, slots=True)
class Gone:
    """An option that can go; `size` is the code [bytes] that is built only because of it."""

    option: str
    seen: Seen
    text: str = ""
    size: int = 0


@dataclass(frozen=True, slots=True)
class Proposal:
    """The options that stay and those that can go, the surest first."""

    kept: tuple[Kept, ...]
    gone: tuple[Gone, ...]
    values: tuple[tuple[str, str], ...] = ()
    """Options with another value than y that Kconfig then changes, and their new values."""

    @property
    def names(self) -> frozenset[str]:
        """The options that can go."""
        return frozenset(each.option for each in self.gone)


@dataclass(frozen=True, slots=True)
class Wishes:
    """The user's wishes: kinds of rules to ignore, options to keep or to drop."""

    without: frozenset[Kind] = frozenset()
    keep: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """The input of the decision. `asked` are the requested options, `config` is the whole
    configuration of the kernel that ran (names with CONFIG_)."""

    spec: AppSpec
    asked: Mapping[str, Request]
    config: Mapping[str, str]
    code: Code
    ran: Ran
    definitions: Definitions
    wishes: Wishes = Wishes()


def options(asked: Mapping[str, Request]) -> list[str]:
    """Return the options that are requested with value y, without CONFIG_."""
    return [name.removeprefix("CONFIG_") for name, request in asked.items() if request.value == "y"]


def check(facts: Facts) -> None:
    """Raise InputError for a wish about an option that is not requested."""
    known = set(options(facts.asked))
    for option in sorted(facts.wishes.keep | facts.wishes.drop):
        if option not in known:
            raise InputError(
                f"cannot keep or drop {option}: nothing requests this kernel option",
                remedy=f"choose from: {', '.join(sorted(known))}",
            )
        if option in facts.wishes.keep & facts.wishes.drop:
            raise InputError(f"{option} cannot be both kept and dropped")


# --- each option by itself --------------------------------------------------------------------


def propose(facts: Facts) -> Proposal:
    """Return the options that can go by the evidence, regardless of dependencies."""
    kept: list[Kept] = []
    gone: list[Gone] = []
    for option in options(facts.asked):
        verdict = _verdict(option, facts)
        (kept if isinstance(verdict, Kept) else gone).append(verdict)  # type: ignore[arg-type]
    return Proposal(tuple(kept), _ordered(gone))


def _ordered(gone: Iterable[Gone]) -> tuple[Gone, ...]:
    sure = list(Seen)
    return tuple(sorted(gone, key=lambda each: (sure.index(each.seen), -each.size, each.option)))


def _verdict(option: str, facts: Facts) -> Kept | Gone:
    objects = facts.code.of(option)
    size = facts.code.size(objects)
    if option in facts.wishes.drop:
        return Gone(option, Seen.REQUESTED, "by --drop", size)
    if option in facts.wishes.keep:
        return Kept(option, Why.ASKED, "by --keep")
    found = rules.rule(option, facts.spec)
    given_up = found is not None and found[0] in facts.wishes.without
    if found is not None and not given_up:
        return Kept(option, Why(found[0].value), found[1])
    if function := _first(facts.ran.work, objects):
        return Kept(option, Why.REACHED, function)
    names = {name.removeprefix("CONFIG_") for name in facts.spec.kernel_options}
    if option in names:
        return Kept(option, Why.ASKED, "by the manifest")
    if any(block.choice for block in facts.definitions.blocks.get(option, ())):
        return Kept(option, Why.CHOICE, "one option of a choice, of which one must be on")
    if found is not None:
        return Gone(option, Seen.GIVEN_UP, f"by --without {found[0]}", size)
    if not objects:
        return Kept(option, Why.UNSEEN, "no object of the kernel is built only because of it")
    if function := _first(facts.ran.idle, objects):
        return Gone(option, Seen.IDLE, function, size)
    if function := _first(facts.ran.boot, objects):
        return Gone(option, Seen.BOOT, function, size)
    return Gone(option, Seen.NEVER, "", size)


def _first(executed: Mapping[str, str], objects: frozenset[str]) -> str:
    """Return the first executed function of any of these objects, "" if there is none."""
    return next((function for each, function in executed.items() if each in objects), "")


# --- all options together -----------------------------------------------------------------------


def consistent(proposal: Proposal, facts: Facts, resolve: Resolve) -> Proposal:
    """Return the part of a proposal with which Kconfig keeps all options that have to stay.

    An option stays if a kept one selects it or depends on it. An option that is kept only for
    lack of evidence goes with the options that it depends on.
    """
    while True:
        config = resolve(proposal.names)
        changed = _step(proposal, facts, config)
        if changed == proposal:
            return replace(proposal, values=_values(facts, config))
        proposal = changed


def _values(facts: Facts, config: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the requested numbers and strings that have another value in `config`."""
    return tuple(
        (name.removeprefix("CONFIG_"), config.get(name, "n"))
        for name, request in facts.asked.items()
        if request.value not in {"y", "n", '""'}
        and not kconfig.same(request.value, config.get(name, "n"))
    )


def _step(proposal: Proposal, facts: Facts, config: Mapping[str, str]) -> Proposal:
    back: dict[str, Kept] = {}
    follow: list[Gone] = []
    off = proposal.names
    requested = {each.option for each in proposal.gone if each.seen is Seen.REQUESTED}

    def put_back(symbols: Iterable[str], wanted: str) -> None:
        found = culprits(symbols, facts, off, config)
        for option in found or off:  # the cause is unknown: none of them can go
            back.setdefault(option, Kept(option, Why.NEEDED, f"by {wanted}"))

    for option in off:
        if config.get(f"CONFIG_{option}", "n") != "n":
            by = facts.definitions.selectors(option, config)
            text = f"by {', '.join(by[:3])}" if by else "by an option that stays"
            back[option] = Kept(option, Why.NEEDED, text)
    for each in proposal.kept:
        if config.get(f"CONFIG_{each.option}", "n") != "n":
            continue
        on = culprits([each.option], facts, off, config)
        text = ", ".join(sorted(on)[:3])
        if each.why is Why.REACHED and on and on <= requested:
            size = facts.code.size(facts.code.of(each.option))
            follow.append(Gone(each.option, Seen.REQUESTED, f"with {text}", size))
        elif each.why in _WEAK or each.option in rules.FOLLOWS:
            follow.append(Gone(each.option, Seen.FOLLOWS, text))
        else:
            put_back([each.option], each.option)
    for name, function in facts.ran.work.items():
        conditions = facts.code.conditions[name]
        if any(holds(condition, config) for condition in conditions):
            continue
        symbols = {option for condition in conditions for option in condition}
        on = culprits(symbols, facts, off, config)
        if not on or not on <= requested:
            put_back(symbols, f"{function}(), which is reached")
    followed = {each.option for each in follow}
    kept = [each for each in proposal.kept if each.option not in followed]
    gone = [each for each in proposal.gone if each.option not in back]
    return Proposal((*kept, *back.values()), _ordered([*gone, *follow]))


def culprits(
    symbols: Iterable[str], facts: Facts, off: frozenset[str], config: Mapping[str, str]
) -> set[str]:
    """Return the options in `off` that turn symbols off in `config`, the nearest ones.

    A symbol is off because `off` has it, or an option that it depends on or that selects it.
    """

    def lost(symbol: str) -> bool:
        name = f"CONFIG_{symbol}"
        return facts.config.get(name, "n") != "n" and config.get(name, "n") == "n"

    found: set[str] = set()
    seen: set[str] = set()
    level = set(symbols)
    while level and not found:
        level = {each for each in level if lost(each)}
        found = level & off
        seen |= level
        level = {other for each in level for other in facts.definitions.influences(each)} - seen
    return found


# --- after trials -------------------------------------------------------------------------------


def leading(first: Proposal, whole: Proposal) -> Proposal:
    """Return `whole` = consistent(first) without the options that only follow others."""
    followers = {each.option for each in whole.gone if each.seen is Seen.FOLLOWS}
    back = (each for each in first.kept if each.option in followers)
    gone = (each for each in whole.gone if each.option not in followers)
    return Proposal((*whole.kept, *back), tuple(gone))


def restricted(proposal: Proposal, names: frozenset[str], text: str) -> Proposal:
    """Return the proposal limited to `names`; the others stay for the reason `text`."""
    others = (each for each in proposal.gone if each.option not in names)
    kept = (*proposal.kept, *(Kept(each.option, Why.FAILED, text) for each in others))
    return Proposal(kept, tuple(each for each in proposal.gone if each.option in names))
