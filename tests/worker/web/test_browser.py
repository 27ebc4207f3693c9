"""The status page in Chromium: at phone and desktop width, by keyboard alone, and checked by axe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page

from model.controls.breaker import list_open
from model.controls.holds import list_holds
from tests.support.databases import Databases
from tests.support.world import World
from tests.worker.web.browsing import CHROMIUM, DESKTOP, PHONE, chromium, served, sign_in
from tests.worker.web.filled import fill
from worker import wiring
from worker.api_token import make_token
from worker.settings import Settings
from worker.web.app import build

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium (Debian: chromium) is not installed"),
]

SECRET, TOKEN = make_token("anna", ["read", "operate"])
PATHS = (
    "/",
    "/look?what=acme/app",
    "/look?what=acme/service-0",
    "/look?what=acme/app:latest",
    "/look?what=nobody",
    "/deleted",
)


@pytest.fixture(scope="module")
def world(databases: Databases) -> Iterator[World]:
    with databases.clone() as url:
        made = World(url)
        yield made
        made.close()


@pytest.fixture(scope="module")
def address(world: World) -> Iterator[str]:
    settings = Settings(database_url=world.url, web_tokens=(TOKEN,))
    with served(build(wiring.in_process(settings))) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def violations(page: Page) -> list[tuple[str, str]]:
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [(each["id"], node["html"][:200]) for each in found for node in each["nodes"]]


def listen(page: Page) -> list[str]:
    """What the browser complains of from now on, such as a style that the policy forbids."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A page that says that something is not there is one of those that are looked at.
        if message.type == "error" and "the server responded with a status of 40" not in message.text:
            errors.append(message.text)

    page.on("console", note)
    return errors


def examine(browser: Browser, address: str, width: int, scheme: Any) -> None:
    """No violation, nothing wider than the screen, no error on the console; on every page."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    errors = listen(page)
    page.goto(f"{address}/login")
    assert violations(page) == []
    sign_in(page, address, SECRET)
    for path in PATHS:
        page.goto(address + path)
        assert (path, violations(page)) == (path, [])
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    assert errors == []
    context.close()


def test_empty_and_full_pages_are_accessible_on_a_phone_and_a_desktop_dark_and_light(
    world: World, address: str, browser: Browser
) -> None:
    world.namespace("customer0")
    examine(browser, address, PHONE, "light")
    fill(world)
    examine(browser, address, PHONE, "dark")
    examine(browser, address, DESKTOP, "light")


def press_until(page: Page, name: str, most: int = 120) -> None:
    """Walk with the tab key until something of that name has the focus, and is seen to have it."""
    for _ in range(most):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => { const e = document.activeElement;"
            " return [e.labels?.[0]?.innerText ?? e.innerText ?? '', getComputedStyle(e).outlineStyle]; }"
        )
        if focused[0].replace("\n", " ").strip().startswith(name):
            assert focused[1] != "none"
            return
    raise AssertionError(f"the tab key never reached {name}")


def test_a_hold_and_an_approval_are_made_by_keyboard_alone(
    world: World, address: str, browser: Browser
) -> None:
    if not list_open():
        fill(world)
    page = browser.new_context(viewport={"width": 1280, "height": 844}).new_page()
    page.goto(address)
    press_until(page, "Token")
    page.keyboard.type(SECRET)
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:has-text('Status')")
    press_until(page, "I looked at the plan")
    page.keyboard.press("Space")
    press_until(page, "Approve acme")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=The breaker is closed")
    assert list_open() == []
    press_until(page, "Set a hold")
    page.keyboard.press("Enter")
    press_until(page, "Reason")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=The hold is set")
    assert [hold.target for hold in list_holds() if hold.reason == "by keyboard"] == ["the whole registry"]
