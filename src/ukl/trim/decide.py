# SPDX-License-Identifier: GPL-2.0
"""Which options can go, and why each other one stays. Pure, but for asking Kconfig.

Only what was asked for is looked at: the base configuration is `make allnoconfig` with a
list of options, each of which is on because the list says so; what is on besides follows
from them, and goes with them.
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
from ukl.trim.reach import Code, Ran, is_open
from ukl.trim.rules import Kind

Resolve = Callable[[frozenset[str]], Mapping[str, str]]
"""Asks Kconfig: the `.config` (names with CONFIG_) without these options (names without)."""


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
    """Nothing tells whether it is used."""
    FAILED = "tried"
    """Without it the workload failed, or there were no builds left to find that out."""


_WEAK = frozenset({Why.UNSEEN, Why.CHOICE})
"""Reasons to stay that are none to keep something else for it."""


class Seen(StrEnum):
    """What was seen of an option that can go, the surest first."""

    NEVER = "never ran"
    BOOT = "ran only while the kernel booted"
    IDLE = "ran, but for nobody"
    FOLLOWS = "goes with another one"
    GIVEN_UP = "given up"
    """A person gave up what it is for, and nothing used it."""
    TOLD = "is to go"
    """A person said so, whatever was seen."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An option that stays."""

    option: str
    why: Why
    text: str


@dataclass(frozen=True, slots=True)
class Gone:
    """An option that can go; `size` are the bytes of code that are there only because of it."""

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
    """Options with another value than y that cannot keep it then, and what they become."""

    @property
    def names(self) -> frozenset[str]:
        """The options that can go."""
        return frozenset(each.option for each in self.gone)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person says besides: kinds of rules that do not hold, options to keep or to drop."""

    without: frozenset[Kind] = frozenset()
    keep: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known when it is decided. `asked` are the requested options, `config` the
    whole configuration of the kernel that ran (names with CONFIG_)."""

    spec: AppSpec
    asked: Mapping[str, Request]
    config: Mapping[str, str]
    code: Code
    ran: Ran
    definitions: Definitions
    wishes: Wishes = Wishes()


def options(asked: Mapping[str, Request]) -> list[str]:
    """Return the options that were asked to be on, without CONFIG_."""
    return [name.removeprefix("CONFIG_") for name, request in asked.items() if request.value == "y"]


def check(facts: Facts) -> None:
    """Raise InputError for a wish about what was not asked for."""
    known = set(options(facts.asked))
    for option in sorted(facts.wishes.keep | facts.wishes.drop):
        if option not in known:
            raise InputError(
                f"nothing asks for the kernel option {option}: there is nothing to keep or drop",
                remedy=f"there are: {', '.join(sorted(known))}",
            )
        if option in facts.wishes.keep & facts.wishes.drop:
            raise InputError(f"{option} cannot be both kept and dropped")


# --- each by itself ---------------------------------------------------------------------------


def propose(facts: Facts) -> Proposal:
    """Return what can go by what was seen, without regard to what depends on what."""
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
        return Gone(option, Seen.TOLD, "by --drop", size)
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
        return Kept(option, Why.CHOICE, "one of several, and one there has to be")
    if found is not None:
        return Gone(option, Seen.GIVEN_UP, f"by --without {found[0]}", size)
    if not objects:
        return Kept(option, Why.UNSEEN, "no object of the kernel is there only because of it")
    if function := _first(facts.ran.idle, objects):
        return Gone(option, Seen.IDLE, function, size)
    if function := _first(facts.ran.boot, objects):
        return Gone(option, Seen.BOOT, function, size)
    return Gone(option, Seen.NEVER, "", size)


def _first(executed: Mapping[str, str], objects: frozenset[str]) -> str:
    """Return the function by which the first of these objects was entered, empty if none was."""
    return next((function for each, function in executed.items() if each in objects), "")


# --- together -----------------------------------------------------------------------------------


def consistent(proposal: Proposal, facts: Facts, resolve: Resolve) -> Proposal:
    """Return what of a proposal Kconfig can do without losing what has to stay.

    An option that something kept selects, or depends on, stays. One that stays only because
    nothing is known of it goes with what it depends on.
    """
    while True:
        config = resolve(proposal.names)
        changed = _step(proposal, facts, config)
        if changed == proposal:
            return replace(proposal, values=_values(facts, config))
        proposal = changed


def _values(facts: Facts, config: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return what the requested numbers and words are in `config` where they are others."""
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
    told = {each.option for each in proposal.gone if each.seen is Seen.TOLD}

    def put_back(symbols: Iterable[str], wanted: str) -> None:
        found = culprits(symbols, facts, off, config)
        for option in found or off:  # nobody knows why: none of them can go
            back.setdefault(option, Kept(option, Why.NEEDED, f"by {wanted}"))

    for option in off:
        if config.get(f"CONFIG_{option}", "n") != "n":
            by = facts.definitions.selectors(option, config)
            text = f"by {', '.join(by[:3])}" if by else "by what stays"
            back[option] = Kept(option, Why.NEEDED, text)
    for each in proposal.kept:
        if config.get(f"CONFIG_{each.option}", "n") != "n":
            continue
        on = culprits([each.option], facts, off, config)
        text = ", ".join(sorted(on)[:3])
        if each.why is Why.REACHED and on and on <= told:
            size = facts.code.size(facts.code.of(each.option))
            follow.append(Gone(each.option, Seen.TOLD, f"with {text}", size))
        elif each.why in _WEAK or each.option in rules.FOLLOWS:
            follow.append(Gone(each.option, Seen.FOLLOWS, text))
        else:
            put_back([each.option], each.option)
    for name, function in facts.ran.work.items():
        ways = facts.code.ways[name]
        if any(is_open(way, config) for way in ways):
            continue
        symbols = {option for way in ways for option in way}
        on = culprits(symbols, facts, off, config)
        if not on or not on <= told:
            put_back(symbols, f"{function}(), which is reached")
    followed = {each.option for each in follow}
    kept = [each for each in proposal.kept if each.option not in followed]
    gone = [each for each in proposal.gone if each.option not in back]
    return Proposal((*kept, *back.values()), _ordered([*gone, *follow]))


def culprits(
    symbols: Iterable[str], facts: Facts, off: frozenset[str], config: Mapping[str, str]
) -> set[str]:
    """Return those of `off` without which symbols are off in `config`, the nearest ones.

    A symbol is off because it is in `off` itself, or what it depends on or is selected by is.
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
    """Return `whole`, made of `first` by `consistent`, with what only follows kept again."""
    followers = {each.option for each in whole.gone if each.seen is Seen.FOLLOWS}
    back = (each for each in first.kept if each.option in followers)
    gone = (each for each in whole.gone if each.option not in followers)
    return Proposal((*whole.kept, *back), tuple(gone))


def restricted(proposal: Proposal, names: frozenset[str], text: str) -> Proposal:
    """Return the proposal with only `names` of it; the others stay for the reason `text`."""
    others = (each for each in proposal.gone if each.option not in names)
    kept = (*proposal.kept, *(Kept(each.option, Why.FAILED, text) for each in others))
    return Proposal(kept, tuple(each for each in proposal.gone if each.option in names))
