"""Bodies of requests: what is read, and what is refused with which message."""

from dataclasses import replace
from typing import Any

import pytest

from erprm.engines.prompts import PromptFormat
from erprm.search import BeamSearch, BestOfNSearch
from erprm.serve.refusals import RefusedError
from erprm.serve.requests import Asked, Terms, read_chat, read_completion, read_scoring
from erprm.steps import Solution
from tests.serve.conftest import make_config

PLAIN = make_config(temperature=0.5, stop=["</answer>"]).terms("echo")
CHAT = replace(PLAIN, prompt=PromptFormat(chat=True))
QUESTION = [{"role": "user", "content": "1 2 3 ="}]


def chat(terms: Terms = PLAIN, messages: Any = QUESTION, **fields: Any) -> Asked:
    return read_chat({"model": "echo", "messages": messages, **fields}, terms)


def test_a_request_that_says_nothing_else_is_answered_as_the_server_is_set_up() -> None:
    asked = chat()
    assert (asked.question, asked.before, asked.prompt, asked.n, asked.seed) == ("1 2 3 =", (), None, 1, None)
    assert asked.strategy.search == BestOfNSearch(4)
    assert asked.budget == 4 * 16
    assert asked.decoding == PLAIN.decoding


def test_a_request_says_how_the_policy_is_sampled_from() -> None:
    asked = chat(temperature=1, top_p=0.9, max_tokens=5, stop="END", seed=7, n=3, stream=True)
    assert asked.decoding == replace(
        PLAIN.decoding, temperature=1, top_p=0.9, max_tokens=5, max_step_tokens=5, stop=("</answer>", "END")
    )
    assert (asked.seed, asked.n, asked.stream, asked.include_usage) == (7, 3, True, False)
    assert chat(max_completion_tokens=4).decoding.max_tokens == 4
    assert chat(stream_options={"include_usage": True}).include_usage
    assert chat(stop=["A", "A", "</answer>"]).decoding.stop == ("</answer>", "A")


def test_the_name_of_the_model_says_the_strategy() -> None:
    asked = chat(model="echo@beam:width=2,budget=100")
    assert (asked.strategy.search, asked.budget) == (BeamSearch(2), 100)
    # Sixteen solutions of as many tokens as this request allows.
    assert chat(model="echo@best_of_n:n=16", max_tokens=3).budget == 48


def test_fields_that_change_nothing_are_taken() -> None:
    harmless: dict[str, Any] = {
        "frequency_penalty": 0.0,
        "logprobs": False,
        "tools": [],
        "response_format": {"type": "text"},
    }
    assert chat(**harmless, logit_bias=None, user="me", metadata={"a": "b"}) == chat()


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"tools": [{"type": "function"}]}, "tools", "'tools' is not supported"),
        ({"logprobs": True}, "logprobs", "'logprobs' is not supported"),
        ({"logprobs": 0}, "logprobs", "'logprobs' is not supported"),
        ({"frequency_penalty": 0.1}, "frequency_penalty", "is not supported"),
        ({"temprature": 1}, "temprature", "did you mean 'temperature'"),
        ({"temperature": 0}, "temperature", "temperature is 0; it must be a finite number above 0"),
        ({"temperature": float("nan")}, "temperature", "temperature is nan; it must be a number"),
        ({"temperature": "1"}, "temperature", "temperature is '1'; it must be a number or null"),
        ({"temperature": True}, "temperature", "temperature is True; it must be a number"),
        ({"top_p": 1.5}, "top_p", "top_p is 1.5; it must be above 0 and at most 1"),
        ({"max_tokens": 17}, "max_tokens", "max_tokens is 17; it must be at most 16 on this server"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens is 0; it must be at least 1"),
        ({"max_completion_tokens": 0}, "max_tokens", "max_tokens is 0; it must be at least 1"),
        ({"n": 0}, "n", "n is 0; it must be at least 1"),
        ({"n": 10**30}, "n", "n is 1000000.*; it must be an integer"),
        ({"seed": -1}, "seed", "seed is -1; it must be at least 0"),
        ({"stop": ["a\nb"]}, "stop", "which would never be seen"),
        ({"stop": ""}, "stop", "a stop string must not be empty"),
        ({"stop": [1]}, "stop", r"stop is \[1\]; it must be a text or a list, each a text"),
        ({"stream": "yes"}, "stream", "stream is 'yes'; it must be true or false"),
        ({"stream_options": {"include": 1}}, "stream_options", "only include_usage is supported"),
        ({"model": "echo@beem"}, "model", "did you mean 'beam'"),
        ({"model": "echo@beam:budget=15"}, "model", "may take 15 tokens; it must be at least max_tokens"),
        ({"model": "echo@beam:budget=65537"}, "model", "at most 65536 on this server"),
        ({"model": "echo@best_of_n:n=4097"}, "model", "may take 65552 tokens"),
        ({"model": None}, "model", "model is missing"),
        ({"messages": []}, "messages", "messages is empty"),
        ({"messages": "1 2 3 ="}, "messages", "it must be a list"),
        ({"messages": ["1 2 3 ="]}, "messages", r"messages\[0\] is '1 2 3 ='; it must be an object"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages", "has the role 'tool'; it must be one of"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "messages", "has the role"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "messages", "it must be the user's question"),
        ({"messages": [{**QUESTION[0], "tool_calls": [1]}]}, "messages", "has 'tool_calls', which is not supported"),
        ({"messages": [{"role": "user", "content": " \n"}]}, None, "the question is blank"),
        ({"messages": [{"role": "user", "content": None}]}, None, "the question is blank"),
        ({"messages": [{"role": "user", "content": 3}]}, None, r"messages\[0\] has the content '3'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, None, "parts with a text each"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages", "it must be Unicode text"),
    ],
)
def test_what_a_chat_cannot_have_is_named(fields: dict[str, Any], field: str | None, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as refused:
        chat(**{"messages": QUESTION, **fields})
    assert (refused.value.status, refused.value.field) == (400, field)


def test_a_model_that_is_not_served_is_not_found() -> None:
    with pytest.raises(RefusedError, match=r"model 'ecko@beam' is not served; .* did you mean 'echo'") as refused:
        chat(model="ecko@beam")
    assert (refused.value.status, refused.value.code) == (404, "model_not_found")


TURNS = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "4 5 6"}, {"type": "text", "text": " ="}]},
    {"role": "assistant", "content": "6"},
    *QUESTION,
]


def test_the_last_message_of_a_chat_is_the_question() -> None:
    asked = chat(CHAT, TURNS)
    assert asked.question == "1 2 3 ="
    assert asked.before == (("system", "Be brief."), ("user", "4 5 6 ="), ("assistant", "6"))


def test_the_system_message_of_the_server_is_that_of_chats_without_one() -> None:
    terms = replace(CHAT, prompt=PromptFormat(chat=True, system="Think."))
    assert chat(terms).before == (("system", "Think."),)
    assert chat(terms, TURNS).before[0] == ("system", "Be brief.")


@pytest.mark.parametrize("messages", [TURNS, [TURNS[0], *QUESTION]])
def test_without_a_chat_template_only_a_question_is_taken(messages: Any) -> None:
    with pytest.raises(RefusedError, match="this policy has no chat template in use") as refused:
        chat(PLAIN, messages)
    assert refused.value.status == 400


def test_a_completion_has_one_prompt_which_is_the_question() -> None:
    for prompt in ("1 2 3 =\n", ["1 2 3 =\n"]):
        asked = read_completion({"model": "echo", "prompt": prompt}, PLAIN)
        assert (asked.question, asked.prompt) == ("1 2 3 =", "1 2 3 =\n")


@pytest.mark.parametrize("prompt", ["", [], ["a", "b"], [1, 2], 3, {"a": 1}])
def test_other_prompts_are_refused(prompt: Any) -> None:
    with pytest.raises(RefusedError) as refused:
        read_completion({"model": "echo", "prompt": prompt}, PLAIN)
    assert refused.value.status == 400


@pytest.mark.parametrize("body", [None, 3, "a", [], True])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    with pytest.raises(RefusedError, match=r"the body is .*; it must be an object"):
        read_chat(body, PLAIN)


def test_a_solution_is_split_into_steps_whose_places_are_known() -> None:
    found = read_scoring({"question": "q", "solution": " a b\n\nc \n"}, "lines")
    assert found.solutions == [Solution("q", ("a b", "c"))]
    assert found.spans == [[(1, 4), (6, 7)]]


def test_steps_have_their_places_in_the_lines_that_they_make() -> None:
    found = read_scoring([{"question": "q", "steps": ["ab", "c"]}, {"question": "p", "solution": " "}], "lines")
    assert found.solutions == [Solution("q", ["ab", "c"]), None]
    assert found.spans == [[(0, 2), (3, 4)], []]
    assert "ab\nc"[slice(*found.spans[0][1])] == "c"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"question": "q"}, "give either solution, a text, or steps"),
        ({"question": "q", "solution": "a", "steps": ["a"]}, "give either solution, a text, or steps"),
        ({"solution": "a"}, "question is missing"),
        ({"question": "q", "steps": ["a", " "]}, "steps holds a blank text"),
        ({"question": "q", "steps": "a"}, "steps is 'a'; it must be a list"),
        ({"question": "q", "step": ["a"]}, "did you mean 'steps'"),
        ([{"question": "q", "solution": "a"}, 3], "the body is 3; it must be an object"),
    ],
)
def test_what_cannot_be_scored_is_named(body: Any, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        read_scoring(body, "lines")
