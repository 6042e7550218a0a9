"""Chat templates that print today's date."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from erprm.data.batching.tokenized import cache_key
from erprm.engines.prompts import PromptFormat
from erprm.steps import Solution, StepFormat, StepFormatError
from erprm.steps.chat import warn_of_date
from tests.tiny import make_tokenizer

TEMPLATE = (
    "{{ 'Today: ' + strftime_now('%d %b %Y') + '\n' }}"
    "{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + '\n' }}{% endfor %}"
)
NO_DATE = TEMPLATE.partition("}}")[2]
# Twenty-six hours apart, so it is never the same day in both.
TIME_ZONES = ("Etc/GMT+12", "Etc/GMT-14")
SOLUTION = Solution("3 + 4?", ["So 7", "Yes"])
QWEN = StepFormat.preset("qwen_prm", tag="\n", tag_is_token=False)


def with_template(template: str) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture
def on_two_days(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], Any]], tuple[Any, Any]]]:
    """What a function returns on two days, told by the environment's time zone."""

    def call(function: Callable[[], Any]) -> tuple[Any, Any]:
        results = []
        for zone in TIME_ZONES:
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            results.append(function())
        first, second = results
        return first, second

    yield call
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    warn_of_date.cache_clear()


def test_the_template_itself_differs_from_day_to_day(on_two_days: Any) -> None:
    tokenizer = with_template(TEMPLATE)
    first, second = on_two_days(
        lambda: tokenizer.apply_chat_template([{"role": "user", "content": "3"}], tokenize=False)
    )
    assert first != second


@pytest.mark.parametrize("step_format", [QWEN, StepFormat.preset("rlhflow", add_tokens=True)], ids=["reply", "turns"])
def test_a_solution_has_the_same_tokens_on_two_days(on_two_days: Any, step_format: StepFormat) -> None:
    tokenizer = with_template(TEMPLATE)
    first, second = on_two_days(lambda: step_format.bind(tokenizer).encode(SOLUTION))
    assert first == second
    assert step_format.render(SOLUTION, tokenizer).startswith("Today: 26 Jul 2024\n")


def test_a_prompt_has_the_same_tokens_on_two_days(on_two_days: Any) -> None:
    tokenizer = with_template(TEMPLATE)
    first, second = on_two_days(lambda: PromptFormat(chat=True).token_ids("3 + 4?", tokenizer))
    assert first == second
    assert tokenizer.decode(first) == "Today: 26 Jul 2024\n[user]3 + 4?\n"


def test_the_date_is_in_the_format_that_is_saved_and_in_what_is_made_with_it() -> None:
    dated, another = (
        each.bind(with_template(TEMPLATE)) for each in (QWEN, StepFormat(**{**vars(QWEN), "chat_date": "2026-11-28"}))
    )
    assert dated.step_format.to_dict() == {**QWEN.to_dict(), "chat_date": "2024-07-26"}
    assert StepFormat.from_dict(dated.step_format.to_dict()) == dated.step_format
    assert another.layout.before_question.startswith("Today: 28 Nov 2026\n")
    keys = [cache_key("records", encoder, 64) for encoder in (dated, another)]
    assert len(set(keys)) == 2


def test_a_template_without_a_date_leaves_no_trace() -> None:
    tokenizer = with_template(NO_DATE)
    assert QWEN.bind(tokenizer).step_format is QWEN
    assert "chat_date" not in QWEN.to_dict()
    assert PromptFormat(chat=True).identity(tokenizer) == {}


def test_a_template_that_asks_for_the_date_elsewhere_alone_leaves_no_trace() -> None:
    tokenizer = with_template("{% if tools %}{{ strftime_now('%d') }}{% endif %}" + NO_DATE)
    assert QWEN.bind(tokenizer).step_format is QWEN
    assert PromptFormat(chat=True).identity(tokenizer) == {}


def test_the_date_is_part_of_what_determines_prompts() -> None:
    tokenizer = with_template(TEMPLATE)
    assert PromptFormat(chat=True).identity(tokenizer) == {"chat_date": "2024-07-26"}
    assert PromptFormat().identity(tokenizer) == {}


def test_a_date_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = with_template(TEMPLATE)
    with caplog.at_level(logging.WARNING):
        QWEN.bind(tokenizer)
        QWEN.bind(tokenizer)
    (record,) = caplog.records
    assert "prints today's date; it is given 2024-07-26 on any day; step_format.chat_date sets" in record.getMessage()
    caplog.clear()
    StepFormat.from_dict(QWEN.bind(tokenizer).step_format.to_dict()).bind(tokenizer)  # what is saved says its date
    assert not caplog.records


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chat": "reply", "chat_date": "26 Jul 2024"}, "chat_date is '26 Jul 2024'; it must be a date such as"),
        ({"chat_date": "2024-07-26"}, r"without step_format\.chat it must be null"),
    ],
)
def test_a_date_that_is_none_or_has_no_chat_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StepFormatError, match=message):
        StepFormat(**changes)
