import base64
import hashlib
import html
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from erprm.report.page.document import document, embeddable_json, write_document

EMPTY = {
    "title": "t",
    "version": "0",
    "runs": [],
    "trainings": [],
    "pools": [],
    "steps": [],
    "ablations": [],
    "labels": [],
    "costs": [],
}
HOSTILE = "</script><!--<script>&amp;\u2028\u2029 {{script}} \\1"


def embedded(page: str) -> str:
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("text", [HOSTILE, "]]>", "\x00\x1f", "é ки 💡"])
def test_embedded_json_has_no_character_that_ends_an_element_and_reads_as_it_was(text: str) -> None:
    written = embeddable_json({"text": text, text: [text]})
    assert not re.search("[<>&\u2028\u2029]", written)
    assert json.loads(written) == {"text": text, text: [text]}


def test_numbers_that_json_has_no_word_for_are_null_and_others_have_nine_digits() -> None:
    assert embeddable_json({"a": [float("nan"), float("inf"), 0.12345678912]}) == '{"a":[null,null,0.123456789]}'


def test_the_document_holds_hostile_text_as_data() -> None:
    page = document({**EMPTY, "title": HOSTILE})
    assert json.loads(embedded(page))["title"] == HOSTILE
    assert page.count("<script") == 2
    assert f"<title>{html.escape(HOSTILE)}</title>" in page


def test_the_policy_lets_the_own_script_and_style_run_and_nothing_be_loaded() -> None:
    page = document(EMPTY)
    found = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert found is not None
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(found[1]).split(";"))
    for element, rule in (("script", "script-src"), ("style", "style-src")):
        (source,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
    assert rules["default-src"] == "'none'"


def test_the_document_names_no_address_that_a_browser_would_load() -> None:
    page = document(EMPTY)
    assert set(re.findall(r"https?://[^\s'\"]*", page)) == {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1998/Math/MathML",
    }
    assert re.findall(r"<(?:link|img|script|iframe)[^>]*(?:src|href)=\"(?!data:)", page) == []


def test_no_script_of_the_page_makes_markup_of_text() -> None:
    for script in files("erprm.report.page").joinpath("assets").iterdir():
        forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc|javascript:"
        assert re.findall(forbidden, script.read_text(encoding="utf-8")) == [], script.name


def test_half_a_surrogate_pair_is_written_as_a_question_mark(tmp_path: Path) -> None:
    write_document({**EMPTY, "title": "a\ud800b"}, tmp_path / "page.html")
    assert json.loads(embedded((tmp_path / "page.html").read_text(encoding="utf-8")))["title"] == "a?b"
