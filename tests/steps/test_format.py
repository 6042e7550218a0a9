import json
from typing import Any

import pytest

from erprm.steps import STEP_FORMAT_PRESETS, Layout, Solution, StepFormat, StepFormatError
from tests.steps.real_tokenizers import CHATML, MISTRAL_CHAT
from tests.tiny import make_tokenizer

SOLUTION = Solution("3 + 4?", ["Step 1: 7.", "So 7"])


def with_chat(template: str | None) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tag": ""}, r"step_format\.tag is empty"),
        ({"positive": " -"}, r"must be three different tokens"),
        ({"positive": None}, r"step_format\.positive is None; it must be a text of one token, or both null"),
        ({"negative": ""}, r"step_format\.negative is ''; it must be a text of one token"),
        ({"question_template": "Q:"}, r"must contain \{question\} once"),
        ({"question_template": "{question} {question}"}, r"must contain \{question\} once"),
        ({"chat": "turn"}, r"step_format\.chat is 'turn'; it must be reply, turns or null"),
        ({"system": "Be good."}, r"step_format\.system is 'Be good\.'; without step_format\.chat it must be null"),
        ({"chat": "turns"}, r"step_format\.tag is ' ки'; with chat: turns the chat template gives it"),
        ({"chat": "turns", "tag": "", "separator": "\n"}, r"step_format\.separator is '\\n'; with chat: turns"),
        ({"chat": "turns", "tag": ""}, r"it needs tag_is_token: false, and label tokens"),
        (
            {"chat": "turns", "tag": "", "tag_is_token": False, "positive": None, "negative": None},
            r"it needs tag_is_token: false, and label tokens",
        ),
    ],
)
def test_an_impossible_format_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(StepFormatError, match=message):
        StepFormat(**fields)


def test_a_preset_can_be_varied_and_an_unknown_one_is_refused() -> None:
    assert StepFormat.preset("er_prm", tag=" T") == StepFormat(tag=" T", positive=" +", negative=" -")
    with pytest.raises(ValueError, match=r"step format is 'erprm'; it must be one of er_prm, math_shepherd, qwen_prm"):
        StepFormat.preset("erprm")


@pytest.mark.parametrize(
    ("preset", "chat_template", "text"),
    [
        ("er_prm", None, "3 + 4? Step 1: 7. киSo 7 ки"),
        ("math_shepherd", None, "3 + 4? Step 1: 7. ки\nSo 7 ки"),
        ("trl", None, "3 + 4?Step 1: 7.\nSo 7\n"),
        (
            "rlhflow",
            CHATML,
            "<|im_start|>user\n3 + 4? Step 1: 7.<|im_end|>\n<|im_start|>assistant\n"
            "+<|im_end|>\n<|im_start|>user\nSo 7<|im_end|>\n<|im_start|>assistant\n",
        ),
        ("rlhflow", MISTRAL_CHAT, "<|begin|>[INST] 3 + 4? Step 1: 7. [/INST]+<|end|> [INST] So 7 [/INST]"),
        (
            "qwen_prm",
            CHATML,
            "<|im_start|>system\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
            "<|im_start|>user\n3 + 4?<|im_end|>\n<|im_start|>assistant\nStep 1: 7.<extra_0>So 7<extra_0>",
        ),
    ],
)
def test_the_presets_lay_a_solution_out_as_the_published_code_does(
    preset: str, chat_template: str | None, text: str
) -> None:
    assert StepFormat.preset(preset).render(SOLUTION, with_chat(chat_template)) == text


def test_only_the_formats_with_a_chat_need_a_tokenizer_to_render() -> None:
    assert StepFormat.preset("er_prm").render(SOLUTION) == "3 + 4? Step 1: 7. киSo 7 ки"
    with pytest.raises(StepFormatError, match=r"step_format\.chat is 'turns'; the layout needs a tokenizer's chat"):
        StepFormat.preset("rlhflow").render(SOLUTION)


def test_the_question_template_goes_around_the_question_within_its_turn() -> None:
    step_format = StepFormat.preset("rlhflow", question_template="Q: {question}!")
    assert step_format.layout(with_chat(CHATML)) == Layout(
        before_question="<|im_start|>user\nQ: ",
        after_question="!",
        first_separator=" ",
        separator="+<|im_end|>\n<|im_start|>user\n",
        tag="<|im_end|>\n<|im_start|>assistant\n",
        strip_steps=True,
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "has no chat template"),
        ("{{ messages[0]['content'] }}", "does not render the turns of user and assistant one after the other"),
        (
            "{% for m in messages %}{{ loop.index if m['role'] == 'assistant' }}: {{ m['content'] }}{% endfor %}",
            "puts '2: ' before the assistant's first answer and '4: ' before the second",
        ),
    ],
)
def test_a_chat_template_that_steps_do_not_fit_into_is_refused(template: str | None, message: str) -> None:
    with pytest.raises(StepFormatError, match=message):
        StepFormat.preset("rlhflow").bind(with_chat(template))


@pytest.mark.parametrize("preset", sorted(STEP_FORMAT_PRESETS))
def test_every_preset_survives_a_json_file(preset: str) -> None:
    step_format = StepFormat.preset(preset)
    assert StepFormat.from_dict(json.loads(json.dumps(step_format.to_dict()))) == step_format


def test_a_file_of_an_earlier_release_without_the_newer_fields_loads() -> None:
    saved = {
        "tag": " ки",
        "positive": " +",
        "negative": " -",
        "question_template": "{question}",
        "first_separator": " ",
        "separator": "\n",
        "add_tokens": False,
    }
    assert StepFormat.from_dict(saved) == StepFormat.preset("math_shepherd")


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"tags": " ки"}, r"step_format has no field 'tags'; it has tag, positive, negative, question_template"),
        ({"tag": 7}, r"step_format\.tag is 7; it must be of type str"),
        ({"separator": None}, r"step_format\.separator is None; it must be of type str"),
        ({"add_tokens": "yes"}, r"step_format\.add_tokens is 'yes'; it must be of type bool"),
    ],
)
def test_a_saved_format_that_cannot_be_read_is_named(saved: dict[str, Any], message: str) -> None:
    with pytest.raises(StepFormatError, match=message):
        StepFormat.from_dict(saved)
