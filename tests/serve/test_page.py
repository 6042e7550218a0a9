"""The page of the server in a real browser."""

from collections.abc import Iterator

import pytest

from erprm.serve import serving
from tests.report.page.chromium import Page, start_chromium
from tests.serve.conftest import EchoPolicy, make_config

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("prometheus_client", reason="needs the extra serve")

KEY = "a key for tests"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    driver = start_chromium()
    yield Page(driver)
    driver.quit()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(make_config(), EchoPolicy()) as address:
        yield address


def open_page(page: Page, url: str, width: int = 1200) -> None:
    page.size(width, 800)
    page.dark(False)
    page.driver.get(url)
    page.wait("return document.getElementById('model').value || document.getElementById('status').textContent")


def ask(page: Page, question: str, model: str = "") -> None:
    for name, text in (("question", question), ("model", model)):
        if text:
            page.one(f"#{name}").clear()
            page.one(f"#{name}").send_keys(text)
    page.one("#ask").click()
    page.wait("return !document.getElementById('ask').disabled")


def test_a_question_gets_its_candidates_with_the_scores_of_their_steps(page: Page, url: str) -> None:
    open_page(page, url)
    assert page.run("return document.getElementById('model').value") == "echo"
    ask(page, "1 2 3 =", "echo@best_of_n:n=24")
    titles = page.texts("article h2")
    assert len(titles) >= 24
    assert titles[0] == "Answer: 0.900"
    assert titles[-1].endswith(": 0.500")  # All of 24 end with 7 with the chance 3^-24.
    steps = page.texts("article:first-child .step")
    assert len(steps) == 1
    assert steps[0].endswith("0.900")
    assert steps[0].split()[:4] == ["so", "1", "2", "3"]
    colours = page.run(
        "return [...document.querySelectorAll('.step')].map((each) => getComputedStyle(each).backgroundColor)"
    )
    assert len(set(colours)) == 2
    assert page.complaints() == []


def test_every_strategy_is_proposed(page: Page, url: str) -> None:
    open_page(page, url)
    options = page.run("return [...document.querySelectorAll('#models option')].map((each) => each.value)")
    assert {"echo", "echo@beam"} <= set(options)


def test_a_refusal_is_shown_until_the_next_answer(page: Page, url: str) -> None:
    open_page(page, url)
    ask(page, "1 2 3 =", "echo@beem")
    assert "did you mean 'beam'" in page.one("#status").text
    ask(page, "1 2 3 =", "echo@beam:budget=64")
    assert "candidates by beam:budget=64" in page.one("#status").text


def test_a_key_is_sent(page: Page) -> None:
    with serving(make_config(api_key=KEY), EchoPolicy()) as url:
        open_page(page, url)
        assert "a key is needed" in page.one("#status").text
        page.one("#key").send_keys(KEY, "\t")
        page.wait("return document.getElementById('model').value")
        ask(page, "1 2 3 =")
        assert len(page.texts("article")) >= 4
    page.complaints()  # The browser notes the refused request.


def test_what_the_policy_writes_is_shown_as_text(page: Page, url: str) -> None:
    open_page(page, url)
    page.run("document.getElementById('candidates').append(step('<img src=x onerror=alert(1)>', null))")
    assert page.texts(".step span:first-child") == ["<img src=x onerror=alert(1)>"]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_is_readable_at_any_width_in_both_themes(page: Page, url: str, width: int, theme: str) -> None:
    open_page(page, url, width)
    page.dark(theme == "dark")
    ask(page, "1 2 3 =", "echo@best_of_n:n=24")
    assert page.run("return document.documentElement.scrollWidth") <= width
    contrasts = page.contrasts()
    assert len(contrasts) > 50
    assert [each for each in contrasts if each[0] < 4.5] == []
    page.screenshot(f"serve-{width}-{theme}")


def test_every_control_has_a_name(page: Page, url: str) -> None:
    open_page(page, url)
    elements = page.accessible_elements()
    named = {"textbox", "combobox", "button"}
    assert named <= {role for role, _ in elements}
    assert [role for role, name in elements if role in named and not name.strip()] == []
