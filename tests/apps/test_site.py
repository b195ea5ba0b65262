# SPDX-License-Identifier: GPL-2.0
"""The documentation as a reader has it: its pages in a real browser."""

from __future__ import annotations

import re
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.browser import CHROMIUM, Browser, browser
from tests.conftest import TOP
from ukl.host import exec as host_exec

WIDTHS = (400, 1200)
"""A telephone's, and a window's that shows both menus."""

CONTRAST = 4.5
"""Of text, at least: Web Content Accessibility Guidelines 2.2, 1.4.3."""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    environment = {"PYTHONPATH": str(TOP / "src"), "MPLCONFIGDIR": str(place / "matplotlib")}
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place / "site")]
    host_exec.run(argv, cwd=TOP, env=environment, timeout=300)
    return place / "site"


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture
def tab(need: Callable[..., None], tmp_path: Path) -> Iterator[Browser]:
    need(CHROMIUM)
    with browser(tmp_path / "profile") as found:
        yield found


def pages(site: Path) -> list[str]:
    return sorted(str(file.relative_to(site)) for file in site.rglob("*.html"))


def test_links_lead_somewhere(tab: Browser, site: Path, address: str) -> None:
    """Each page, picture and anchor that a page names is there, and no other host is asked."""
    tab.look(width=WIDTHS[-1])
    names: dict[str, set[str]] = {}
    links: list[tuple[str, str]] = []
    for page in pages(site):
        tab.open(address + page)
        names[page] = set(
            tab.run("[...document.querySelectorAll('[id],a[name]')].map(e=>e.id||e.name)")
        )
        links += [(page, each) for each in tab.run("[...document.links].map(e => e.href)")]
        assert tab.run("[...document.images].filter(e => !e.naturalWidth).map(e => e.src)") == []
    assert tab.errors == []
    assert {each for each in tab.requests if not each.startswith((address, "data:"))} == set()
    for page, link in links:
        if link.startswith(address):
            path, _, anchor = urllib.parse.unquote(link.removeprefix(address)).partition("#")
            path = path or "index.html"
            assert (site / path).is_file(), (page, link)
            assert not anchor or path not in names or anchor in names[path], (page, link)


OUTSIDE = """(() => { const text = document.querySelector('article').getBoundingClientRect();
    return [...document.querySelectorAll('article :is(p, li) > code, article :is(p, li) img')]
        .some(e => e.getBoundingClientRect().right > text.right + 8) })()"""
"""Whether a line has something that goes on beside the text."""


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_its_window(
    tab: Browser, site: Path, address: str, width: int
) -> None:
    tab.look(width=width)
    wide = {}
    for page in pages(site):
        tab.open(address + page)
        needs = tab.run("document.documentElement.scrollWidth")
        if needs > width or tab.run(OUTSIDE):
            wide[page] = needs
    assert wide == {}


@pytest.mark.parametrize("word", ["populate", "flame graph", "trust"])
def test_search_finds(tab: Browser, site: Path, address: str, word: str) -> None:
    tab.look(width=WIDTHS[-1])
    tab.open(address)
    tab.run("document.querySelector('[data-md-component=search-query]').focus()")
    tab.send("Input.insertText", text=word)
    found = tab.wait("[...document.querySelectorAll('.md-search-result__link')].map(e => e.href)")
    first = found[0].removeprefix(address).partition("?")[0].partition("#")[0]
    assert (site / (first or "index.html")).is_file()
    tab.open(found[0])
    text = tab.run("document.querySelector('article').innerText")
    assert word.partition(" ")[0] in text.lower()


COLOURS = """
    [...document.querySelectorAll('article :is(p, td, pre code, a:not(.headerlink))')]
    .filter(e => e.offsetParent && e.innerText.trim())
    .map(e => { const all = [getComputedStyle(e).color];
        for (let b = e; b; b = b.parentElement) all.push(getComputedStyle(b).backgroundColor);
        return [e.innerText, all] })"""
"""Of each text: its colour, and those of what lies behind it, the nearest first."""


@pytest.mark.parametrize("dark", [False, True])
def test_text_can_be_read(tab: Browser, site: Path, address: str, dark: bool) -> None:
    tab.look(width=WIDTHS[-1], dark=dark)
    for page in ("index.html", "reference/commands.html", "gallery.html", "howto/guests.html"):
        tab.open(address + page)
        assert tab.run("document.body.dataset.mdColorScheme") == ("slate" if dark else "default")
        ground = brightness(seen([tab.run("getComputedStyle(document.body).backgroundColor")]))
        assert ground < 0.1 if dark else ground > 0.9
        for words, colours in tab.run(COLOURS):
            assert contrast(colours) >= CONTRAST, (page, words, colours)


BUTTONS = "[...document.querySelectorAll('[data-md-component=palette] label')]"


def test_dark_can_be_chosen(tab: Browser, address: str) -> None:
    """By the button at the top, whatever the system says; the picture goes with it."""
    tab.look(width=WIDTHS[-1])
    tab.open(address)
    seen = set()
    for _ in range(3):
        tab.run(f"{BUTTONS}.find(e => !e.hidden).click()")
        scheme = tab.run("document.body.dataset.mdColorScheme")
        pictures = tab.run("[...document.images].filter(e => e.offsetParent).map(e => e.src)")
        shown = [each for each in pictures if "ukl-" in each]
        assert len(shown) == 1
        assert ("ukl-dark" in shown[0]) == (scheme == "slate")
        seen.add(scheme)
    assert seen == {"default", "slate"}


def seen(colours: list[str]) -> list[float]:
    """Return the colour that one sees of `rgb(...)` and `rgba(...)` behind each other, on white."""
    result = [255.0, 255.0, 255.0]
    for colour in reversed(colours):
        *parts, alpha = [*map(float, re.findall(r"[\d.]+", colour)), 1.0][:4]
        result = [new * alpha + old * (1 - alpha) for new, old in zip(parts, result, strict=True)]
    return result


def brightness(colour: list[float]) -> float:
    """Return the relative luminance, as the guidelines define it."""
    parts = [each / 255 for each in colour]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(colours: list[str]) -> float:
    """Return how a text, the first of the colours, stands out from what is behind it."""
    dark, light = sorted((brightness(seen(colours)), brightness(seen(colours[1:]))))
    return (light + 0.05) / (dark + 0.05)
