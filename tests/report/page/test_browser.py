"""The page in a real browser."""

import logging
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from erprm.cli.report import main
from tests.report.page.chromium import Page, start_chromium
from tests.report.page.example_runs import (
    FOOLED,
    SEEING,
    problem,
    small_pool,
    write_ablation,
    write_pool_run,
    write_step_run,
    write_training,
)

ROLES_THAT_NEED_A_NAME = {
    *("button", "link", "combobox", "listbox", "option", "searchbox", "checkbox", "image", "img", "table"),
    *("figure", "region", "navigation", "article", "DisclosureTriangle"),
}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    driver = start_chromium()
    yield Page(driver)
    driver.quit()


def write_page(folder: Path, *arguments: str) -> Path:
    path = folder / "page.html"
    assert main(["report", *arguments, "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs on two pools with everything there is to show: ``fooled`` selects a wrong candidate of sum/0."""
    folder = tmp_path_factory.mktemp("example")
    formulas = [
        problem("math/0", r"What is $\frac{1}{2} + \frac{1}{4}$?", r"\frac{3}{4}", FORMULA_CANDIDATES, level="3"),
        problem("math/1", r"A pen costs \$2 and a book $5. What do \(x^2\) of both cost?", "7", FORMULA_CANDIDATES),
    ]
    for name, scores in {"fooled": FOOLED, "seeing": SEEING}.items():
        write_pool_run(folder / name, small_pool(), scores)
        write_pool_run(folder / name, formulas, scores, "formulas", kind="math")
        write_step_run(folder / name, [[0.9, 0.8], [0.3 if name == "seeing" else 0.8, 0.2], [0.9, 0.1]])
    ablation = folder / "ablation"
    write_ablation(
        ablation,
        {
            name: write_pool_run(ablation / name, small_pool()[:1], scores[:4], "one sum")
            for name, scores in {"eta inf": SEEING, "outcome": FOOLED, "eta 0": FOOLED, "eta 2": SEEING}.items()
        },
    )
    return write_page(folder, *(str(folder / name) for name in ("fooled", "seeing", "ablation")))


FORMULA_CANDIDATES = [
    "$\\frac{1}{2} = \\frac{2}{4}$, so \\[\\frac{2}{4} + \\frac14 = \\frac{3}{4}.\\]\nSo \\boxed{\\frac{3}{4}}.",
    "$\\sqrt[3]{x^{2}_1} \\le \\left( \\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix} \\right)$\nSo \\boxed{2}.",
    "$\\unheardof{x} + \\mathbb{R}$ and $\\frac{1}{$ end here.\nSo \\boxed{3}.",
    "It costs $5 and then $10, which is 100\\% of it.\nSo \\boxed{4}.",
]


@pytest.fixture
def opened(page: Page, example: Path) -> Iterator[Page]:
    """The example, opened; whatever a test does, the browser has nothing to complain of."""
    page.open(example)
    yield page
    assert page.complaints() == []


def shown_problems(page: Page) -> list[str]:
    return page.texts("#problems .row .id")


def shown_candidates(page: Page) -> list[str]:
    """Rank, sign and answer of the candidates in sight."""
    return page.texts("#candidates .row .rank, #candidates .row .id")


def choose_sums(page: Page) -> None:
    page.choose("Pool", "sums")


# Charts and tables ------------------------------------------------------------------------------------------------


def test_runs_stand_side_by_side(opened: Page) -> None:
    assert opened.texts("#summary table")[0].startswith("Best-of-n on formulas")
    tables = opened.run(
        "return [...document.querySelectorAll('#summary .block')].map((block) => ["
        "block.querySelector('h3').textContent,"
        "[...block.querySelector('tbody').rows].map((row) => [...row.cells].map((cell) => cell.textContent))])"
    )
    sums = dict(tables)["sums"]
    assert [row[0] for row in sums] == ["fooled", "seeing"]
    # Of two problems, one has no right candidate; the other is wrong at n = 4 by the scores of the first run alone.
    assert [row[2].split()[0] for row in sums] == ["0.0", "50.0"]
    assert sums[1][5].split()[0] == "+50.0"


def test_every_chart_has_a_title_a_description_and_its_numbers(opened: Page) -> None:
    charts = opened.run(
        "return [...document.querySelectorAll('figure')].map((figure) => ["
        "figure.querySelector('svg[role=img] > title').textContent,"
        "figure.querySelector('svg[role=img] > desc').textContent,"
        "figure.querySelectorAll('details tbody tr').length,"
        "figure.querySelectorAll('.plot .curve, .plot .bar').length])"
    )
    # Best-of-n, vote and score of each pool, eta, two of step labels, labels.
    assert len(charts) == 3 + 3 + 3 + 1 + 2 + 1
    for title, description, rows, marks in charts:
        assert title
        assert description
        assert rows
        assert marks


def test_the_chart_shows_the_way_of_choosing_that_is_asked_for(opened: Page) -> None:
    opened.choose("Show", "best-of-n, mean", "#best-of-n .block:nth-of-type(2)")
    legend = "#best-of-n .block:nth-of-type(2) .legend li"
    assert opened.texts(legend)[:3] == ["fooled", "seeing", "majority vote"]
    opened.choose("Show", "fooled", "#best-of-n .block:nth-of-type(2)")
    assert "best-of-n, sum of logits" in opened.texts(legend)


def test_the_pointer_reads_values_from_a_chart(opened: Page) -> None:
    from selenium.webdriver import ActionChains

    chart = opened.one("#best-of-n figure .plot svg")
    opened.run("arguments[0].scrollIntoView({block: 'center'})", chart)
    ActionChains(opened.driver).move_to_element(chart).perform()
    assert "n = 2" in opened.one("#best-of-n figure .readout").text


def test_etas_are_in_order_and_costs_are_shown(opened: Page) -> None:
    names = opened.texts("#ablation svg .axes text")
    assert [name for name in names if name in ("2", "inf", "outcome")] == ["2", "inf", "outcome"]
    path = opened.one("#ablation svg g.series path.curve").get_attribute("d")
    assert [path.count(letter) for letter in "ML"] == [2, 2]
    assert any("62.0 (60.0 to 64.0)" in text for text in opened.texts("#costs td"))


def test_the_vote_goes_from_majority_to_best_of_n(opened: Page) -> None:
    # Of the first pool's two problems, one has a majority of right candidates, of which the best-scored one is wrong;
    # the other has no right candidate.
    rows = opened.run(
        "const of = [...document.querySelectorAll('#vote figure')].find((f) => f.textContent.includes('sums, fooled'));"
        "return [...of.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    # Columns: eta, n = 1, 2, 4, the difference at 4, its p-value.
    assert [rows[0][0], rows[0][3].split()[0]] == ["0", "50.0"]
    assert rows[-1][3].split()[0] == "0.0"


# The solution browser ---------------------------------------------------------------------------------------------


def test_candidates_are_ranked_and_marked(opened: Page) -> None:
    choose_sums(opened)
    assert shown_problems(opened) == ["sum/0", "sum/1"]
    assert shown_candidates(opened) == ["#1", "5", "#2", "4", "#4", "6"]
    assert opened.texts("#candidates .row .right, #candidates .row .wrong") == ["✗ wrong", "✓ right", "✗ wrong"]
    assert opened.texts(".steps tbody .own")[0].startswith("0.900")
    assert "lowest" in opened.texts(".steps tbody .own")[1]


def test_another_run_ranks_otherwise(opened: Page) -> None:
    choose_sums(opened)
    opened.choose("Ranked by", "seeing")
    assert shown_candidates(opened)[:2] == ["#1", "4"]
    assert opened.texts("#problems .row .right, #problems .row .wrong") == ["✓ right", "✗ wrong"]


def test_filters_leave_what_they_say(opened: Page) -> None:
    choose_sums(opened)
    for option, problems in {
        "selected but wrong": ["sum/0", "sum/1"],
        "selected but wrong, a right one was there": ["sum/0"],
        "selected and right": [],
        "runs disagree": ["sum/0"],
        "all problems": ["sum/0", "sum/1"],
    }.items():
        opened.choose("Show", option)
        assert shown_problems(opened) == problems, option
    opened.choose("Show", "right", "#solutions .pane")
    assert shown_candidates(opened) == ["#2", "4"]


def test_problems_are_sorted(opened: Page) -> None:
    choose_sums(opened)
    opened.choose("Sort", "lowest score selected")
    assert shown_problems(opened) == ["sum/1", "sum/0"]
    opened.choose("Sort", "widest miss")
    assert shown_problems(opened) == ["sum/0", "sum/1"]


def test_search_finds_questions_and_steps(opened: Page) -> None:
    choose_sums(opened)
    search = opened.one("input[type=search]")
    search.send_keys("So it is 6")
    opened.wait("return document.querySelectorAll('#candidates .row').length === 1")
    assert shown_candidates(opened) == ["#4", "6"]
    assert opened.run("return CSS.highlights.get('found').size") == 1
    search.clear()
    search.send_keys("3 AND 4")
    opened.wait_for_status("1 of 2")
    assert shown_problems(opened) == ["sum/1"]
    assert len(shown_candidates(opened)) == 8
    search.clear()
    search.send_keys("nowhere")
    opened.wait_for_status("0 of 2")
    assert opened.texts(".question") == ["No problem is left; change the filter or the search."]


def test_everything_in_the_browser_can_be_reached_with_keys(opened: Page) -> None:
    from selenium.webdriver import Keys

    choose_sums(opened)

    def chosen(which: str) -> str:
        return str(opened.texts(f"#{which} [aria-selected=true] .id")[0])

    opened.one("#problems").click()
    opened.press(Keys.HOME)
    assert chosen("problems") == "sum/0"
    opened.press(Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert (chosen("candidates"), opened.run("return document.activeElement.id")) == ("4", "candidates")
    assert "right" in opened.one(".solution .facts").text
    opened.press("j")
    assert chosen("candidates") == "6"
    opened.press("k", "k", "k")
    assert chosen("candidates") == "5"
    opened.press("n")
    assert chosen("problems") == "sum/1"
    opened.press("p")
    assert chosen("problems") == "sum/0"
    opened.press(Keys.END)
    assert chosen("candidates") == "6"
    opened.press("w")
    assert opened.one("[role=status]").text.startswith("2 of 2")
    opened.press("/")
    opened.press("sum/1")
    opened.wait_for_status("1 of 2")
    opened.press(Keys.ESCAPE)
    assert opened.run("return document.activeElement.id") == "problems"
    assert not opened.run("return document.querySelector('.keys').open")
    opened.press("?")
    assert opened.run("return document.querySelector('.keys').open")


def test_formulas_are_set_and_what_is_none_stays_as_it_was_written(opened: Page) -> None:
    assert opened.run("return document.querySelectorAll('.question math mfrac').length") == 3
    assert opened.run("return document.querySelector('.solution math[display=block] mfrac mn').textContent") == "2"
    assert opened.texts(".solution .boxed mfrac") == ["34"]
    opened.press("j")
    assert opened.run(
        "return ['mroot', 'msubsup', 'mtable'].map((t) => document.querySelectorAll(`.solution ${t}`).length)"
    ) == [1, 1, 1]
    opened.press("j")
    assert opened.texts(".solution .raw") == ["\\unheardof", "$\\frac{1}{$"]
    opened.press("j")
    assert opened.texts(".solution td.text")[0] == "It costs $5 and then $10, which is 100% of it."
    assert opened.texts(".solution td.text math") == ["4"]
    opened.press("m")
    assert opened.texts(".solution td.text")[1] == "So \\boxed{4}."


# Addresses, files, trainings ---------------------------------------------------------------------------------------


def test_an_address_leads_to_a_problem_and_a_candidate(page: Page, example: Path) -> None:
    page.open(example)
    page.run("location.hash = 'pool=sums&problem=sum%2F1'")
    page.wait("return document.querySelector('#problems [aria-selected=true] .id')?.textContent === 'sum/1'")
    link = page.run("return document.querySelector('.solution a.link').getAttribute('href')")
    page.run("location.hash = 'pool=sums&problem=sum%2F0&candidate=1'")
    page.wait("return document.querySelector('#problems [aria-selected=true] .id')?.textContent === 'sum/0'")
    assert "candidate 1" in page.one(".solution .facts .muted").text
    page.run("location.hash = arguments[0]", link)
    page.wait("return document.querySelector('#problems [aria-selected=true] .id')?.textContent === 'sum/1'")
    page.run("location.hash = 'pool=sums&problem=%3Cb%3E'")
    page.wait_for_status("What the address names is not on this page.")
    assert page.complaints() == []


def test_a_file_of_a_table_has_plain_numbers_and_no_formulas(page: Page, tmp_path: Path) -> None:
    for name in ("+one, @two", "three"):
        write_pool_run(tmp_path / name, small_pool(), SEEING)
    page.open(write_page(tmp_path, str(tmp_path / "+one, @two"), str(tmp_path / "three")))
    page.run("URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; }); return '#'; }")
    page.run("document.querySelector('#summary button.csv').click()")
    header, row, *_, end = page.wait("return window.saved").removeprefix("\ufeff").split("\r\n")
    assert header.startswith("run,best-of-n,at n = 4,at n = 4 low,at n = 4 high,minus majority,")
    assert row.startswith('"\'+one, @two",min,50')
    assert end == ""
    assert page.complaints() == []


def test_trainings_are_drawn_and_their_settings_compared(page: Page, tmp_path: Path) -> None:
    one = write_training(tmp_path / "one", 2.0, "prm-one")
    other = write_training(tmp_path / "<b>other", "inf", "prm-other", lr=2e-5)
    page.open(write_page(tmp_path, str(one), str(other)))
    runs = page.run(
        "return [...document.querySelectorAll('#runs .block table, #runs table')].map((t) => "
        "[...t.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent)))"
    )
    assert [row[:5] for row in runs[0]] == [
        ["one", "er", "2", "my-llama", "1e-05"],
        ["<b>other", "er", "inf (hard)", "my-llama", "2e-05"],
    ]
    differing = {row[0]: row[1:] for row in runs[-1]}
    assert differing["fit: data.eta"] == ["2.0", "inf"]
    assert "fit: data.labels" not in differing
    curves = page.run(
        "return [...document.querySelectorAll('#training figure')]"
        ".map((figure) => figure.querySelectorAll('.plot .curve').length)"
    )
    # Loss of training and validation, learning rate, best-of-2, of two runs each; a single point is no curve.
    assert curves[1:] == [2, 2]
    assert page.complaints() == []


# For everyone -----------------------------------------------------------------------------------------------------


def open_everything(page: Page) -> None:
    page.run("for (const each of document.querySelectorAll('details')) each.open = true")


def test_every_control_and_picture_has_a_name(opened: Page) -> None:
    open_everything(opened)
    elements = opened.accessible_elements()
    assert {"combobox", "listbox", "option", "searchbox", "checkbox", "button"} <= {role for role, _ in elements}
    assert [role for role, name in elements if role in ROLES_THAT_NEED_A_NAME and not name.strip()] == []


def test_the_document_is_in_order(opened: Page) -> None:
    assert opened.run("return document.documentElement.lang") == "en"
    assert opened.run("return document.title") == "Process reward models, evaluated"
    levels = [
        int(tag[1])
        for tag in opened.run("return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map((e) => e.tagName)")
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = opened.run("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    assert (
        opened.run(
            "return [...document.querySelectorAll('[aria-labelledby]')].flatMap((e) => "
            "e.getAttribute('aria-labelledby').split(' ')).filter((id) => !document.getElementById(id))"
        )
        == []
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(opened: Page, theme: str) -> None:
    opened.dark(theme == "dark")
    open_everything(opened)
    contrasts = opened.contrasts()
    assert len(contrasts) > 300
    assert [each for each in contrasts if each[0] < 4.5] == []
    opened.screenshot(f"report-{theme}", whole=True)


def test_the_theme_can_be_switched(opened: Page) -> None:
    background = "return getComputedStyle(document.body).backgroundColor"
    light = opened.run(background)
    button = opened.one("header button")
    assert button.text == "Dark"
    button.click()
    assert opened.run(background) != light
    assert button.text == "Light"
    button.click()
    assert opened.run(background) == light


def test_a_narrow_screen_scrolls_downwards_only(opened: Page) -> None:
    opened.size(400, 800)
    opened.wait("return document.documentElement.scrollWidth <= 400")
    opened.screenshot("report-narrow", whole=True)


def test_a_solution_that_was_too_long_to_be_scored_says_so_and_is_not_shaded(page: Page, tmp_path: Path) -> None:
    pool = [problem("p", "What is 1?", "1", ["It is 1.\n#### 1", "No.\nIt is 2.\n#### 2"])]
    write_pool_run(tmp_path / "run", pool, [[0.9, 0.8], []])
    page.open(write_page(tmp_path, str(tmp_path / "run")))
    assert "too long" not in page.texts(".solution")[0]
    page.press("j")
    assert "too long, not scored" in page.texts(".solution")[0]
    assert page.run("return document.querySelectorAll('.solution td.shaded').length") == 0
    assert page.complaints() == []


# Text is data -----------------------------------------------------------------------------------------------------

HOSTILE = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'><svg onload='window.hacked = 1'>",
    "$\\text{<img src=x onerror=window.hacked=1>}$ \\href{javascript:window.hacked=1}{x} $<b>$",
    "<!--<script> {{content}} ]]> \u2028 \u2029 \x00 &lt;script&gt; " + "$" + "{" * 500 + "$",
]


def test_nothing_in_a_solution_can_run(page: Page, tmp_path: Path) -> None:
    answers = [f"{text}\n#### {number}" for number, text in enumerate(HOSTILE)]
    pool = [problem(HOSTILE[0], HOSTILE[1], "7", answers, level=HOSTILE[0]), problem("b", HOSTILE[2], "1", answers)]
    write_pool_run(tmp_path / "run", pool, [[0.9, 0.8], [0.7, 0.7], [0.6, 0.6], [0.5, 0.5]] * 2, name="hostile <b>")
    path = write_page(tmp_path, f"</script><script>window.hacked++={tmp_path / 'run'}", "--title", HOSTILE[0])
    page.open(path)
    for number, text in enumerate(HOSTILE):
        for formulas in (True, False):
            shown = page.texts(".solution")[0]
            assert formulas or text.splitlines()[0].replace("\x00", "") in shown.replace("\x00", ""), number
            page.press("m")
        page.press("j")
    page.press("n", "m")
    assert page.run("return window.hacked") is None
    assert (
        page.run(
            "return document.querySelectorAll('img, iframe, object, [onerror], [onload], a[href^=javascript]').length"
        )
        == 0
    )
    assert page.run("return document.querySelectorAll('script').length") == 2
    assert page.complaints() == []


def test_even_a_script_that_gets_into_the_page_does_not_run_nor_load_anything(page: Page, example: Path) -> None:
    page.open(example)
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}));"
        "document.body.append(Object.assign(document.createElement('img'), {src: 'http://127.0.0.1:9/x.png'}));"
    )
    assert page.run("return fetch('http://127.0.0.1:9/').then(() => 'loaded', () => 'refused')") == "refused"
    assert page.run("return window.hacked") is None
    assert any("Content Security Policy" in complaint for complaint in page.complaints())


# Size -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten thousand distinct solutions of about 500 characters: 200 problems of 50."""
    folder = tmp_path_factory.mktemp("large")
    drawn = random.Random(0)
    pool = [
        problem(f"p/{p}", f"Question {p}: what is left?", "1", [solution(p, c) for c in range(50)]) for p in range(200)
    ]
    write_pool_run(folder / "run", pool, [[drawn.random() for _ in range(6)] for _ in range(10_000)])
    return write_page(folder, str(folder / "run"))


def solution(p: int, c: int) -> str:
    steps = [
        f"Step {s}: from ${p}$ we take $\\frac{{{c}}}{{{s + 1}}}$, since that is what is asked for in it."
        for s in range(5)
    ]
    return "\n".join([*steps, f"So it is {c % 4}.", f"#### {c % 4}"])


def test_ten_thousand_solutions_are_painted_soon_and_stay_smooth(page: Page, large: Path) -> None:
    page.open(large)
    assert "10,000 distinct solutions" in page.one("[role=status]").text
    times = page.wait(
        "const [paint] = performance.getEntriesByName('first-contentful-paint');"
        "return paint && [paint.startTime, performance.getEntriesByName('page-complete')[0].startTime]"
    )
    logging.getLogger(__name__).info("first paint after %.0f ms, complete after %.0f ms", *times)
    # Far below 2 s on a machine that does nothing else; a busy one gets a multiple of that.
    assert times[0] < 10_000
    assert page.run("return document.querySelectorAll('.row').length") < 80
    frames = page.driver.execute_async_script(
        "const [done] = arguments; const list = document.querySelector('#problems'); const times = [];"
        "let last = performance.now();"
        "const step = () => { const now = performance.now(); times.push(now - last); last = now; list.scrollTop += 97;"
        "  if (times.length < 60) requestAnimationFrame(step); else done(times.sort((a, b) => a - b)); };"
        "requestAnimationFrame(step);"
    )
    logging.getLogger(__name__).info("scrolling: median frame %.0f ms, 90%% within %.0f ms", frames[30], frames[54])
    assert frames[30] < 500
    assert page.run("return document.querySelector('#problems .row').dataset.index") != "0"
    page.one("input[type=search]").send_keys("So it is 3")
    page.wait("return document.querySelector('#candidates .row .id').textContent === '3'")
    page.one("#problems").click()
    page.press("n", "j")
    page.screenshot("report-large")
    assert page.complaints() == []


@pytest.mark.parametrize("width", [390, 768, 1280, 1920])
def test_the_page_is_as_wide_as_the_screen(opened: Page, width: int) -> None:
    opened.size(width, 900)
    assert opened.run("return document.documentElement.scrollWidth") == width
