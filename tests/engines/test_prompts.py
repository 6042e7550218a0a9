from pathlib import Path
from typing import Any

import pytest

from erprm.engines.prompts import PromptFormat
from erprm.models import ProcessRewardModel
from erprm.rollout import RolloutConfig, run_rollouts
from erprm.rollout.pools import PoolSampling, cached_pool
from erprm.search.config import SearchConfig
from erprm.search.run import run_search
from erprm.steps import StepFormat
from tests.rollout.conftest import PreTrainedTokenizerFast
from tests.tiny import make_tokenizer

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }} = {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}so{% endif %}"
)


@pytest.fixture
def chat_tokenizer(word_tokenizer: Any) -> Any:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_tokenizer.backend_tokenizer, unk_token="<unk>")
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def test_question_takes_its_place_in_the_template(word_tokenizer: Any) -> None:
    ids = PromptFormat("so {question} =").token_ids("3 + 4", word_tokenizer)
    assert word_tokenizer.convert_ids_to_tokens(ids) == ["<s>", "so", "3", "+", "4", "="]


def test_braces_in_question_and_template_stay_as_they_are() -> None:
    prompt = PromptFormat(r"Put the answer in \boxed{}. {question}")
    assert prompt.text(r"\frac{1}{2} {question}") == r"Put the answer in \boxed{}. \frac{1}{2} {question}"


def test_chat_puts_the_template_into_the_users_message(chat_tokenizer: Any) -> None:
    ids = PromptFormat("so {question}", chat=True, system="then").token_ids("3", chat_tokenizer)
    roles = "<unk>"
    expected = [roles, "=", "then", "\n", roles, "=", "so", "3", "\n", "so"]
    assert chat_tokenizer.convert_ids_to_tokens(ids) == expected


def test_template_without_a_place_for_the_question_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prompt\.template is 'Solve:'; it must contain \{question\}"):
        PromptFormat("Solve:")


def test_system_message_without_chat_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prompt\.system is 'Be brief', but prompt\.chat is false"):
        PromptFormat(system="Be brief")


def test_chat_with_a_tokenizer_without_template_is_refused(word_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match=r"prompt\.chat is true, but tokenizer .* has no chat template"):
        PromptFormat(chat=True).token_ids("3", word_tokenizer)


def test_a_chat_without_template_or_a_tag_of_two_tokens_is_refused_before_weights_are_loaded(tmp_path: Path) -> None:
    """The folder holds no weights, which would be the next complaint."""
    make_tokenizer().save_pretrained(tmp_path / "lm")
    (tmp_path / "lm/config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (tmp_path / "problems.jsonl").write_text('{"question": "3 + 4?", "answer": "7"}\n', encoding="utf-8")
    problems: dict[str, Any] = {"source": "jsonl", "path": str(tmp_path / "problems.jsonl"), "engine": "transformers"}
    chat: dict[str, Any] = {"model": str(tmp_path / "lm"), "prompt": PromptFormat(chat=True), **problems}
    with pytest.raises(ValueError, match=r"prompt\.chat is true, but tokenizer '.*lm' has no chat template"):
        run_rollouts(RolloutConfig(output_dir=str(tmp_path / "rollouts"), **chat))
    with pytest.raises(ValueError, match=r"prompt\.chat is true, but tokenizer '.*lm' has no chat template"):
        cached_pool(PoolSampling(candidates=2, **chat), tmp_path)
    search = SearchConfig(output_dir=str(tmp_path / "search"), scorer=str(tmp_path / "no-scorer"), **chat)
    with pytest.raises(ValueError, match=r"prompt\.chat is true, but tokenizer '.*lm' has no chat template"):
        run_search(search)
    model = ProcessRewardModel(str(tmp_path / "lm"), step_format="rlhflow")
    with pytest.raises(ValueError, match="no chat template"):
        model.configure_model()
    model = ProcessRewardModel(str(tmp_path / "lm"), step_format=StepFormat(tag="two tokens"))
    with pytest.raises(ValueError, match=r"step_format\.tag 'two tokens' is \d+ tokens"):
        model.configure_model()
