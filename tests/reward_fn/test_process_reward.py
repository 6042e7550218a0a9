import copy
import pickle
import re
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from erprm.models import ProcessRewardModel, ScorerError
from erprm.models.adapters import AdapterError
from erprm.reward_fn import ProcessReward
from erprm.reward_fn.shared_model import _MODELS
from erprm.steps import Solution
from tests.tiny import make_tokenizer, save_tiny_llama

PROMPTS = ["What is 3 and 4 more?", "What is 5?"]


class Rule:
    """Scores a step by the number it is, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[Solution]] = []

    def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
        self.asked.append(list(solutions))
        return [torch.tensor([float(step) for step in solution.steps]) for solution in solutions]


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prm")
    save_tiny_llama(folder / "lm")
    ProcessRewardModel.from_pretrained(folder / "lm").save_pretrained(folder / "prm")
    return folder / "prm"


@pytest.mark.parametrize(
    ("aggregation", "rewards"),
    [("min", [0.25, 0.5]), ("prod", [0.125, 0.5]), ("mean", [0.375, 0.5]), ("last", [0.5, 0.5])],
)
def test_a_completion_has_the_aggregated_score_of_its_steps(aggregation: Any, rewards: list[float]) -> None:
    assert ProcessReward(Rule(), aggregation=aggregation)(PROMPTS, ["0.25\n0.5", "0.5"]) == rewards


def test_all_completions_are_scored_in_one_call() -> None:
    rule = Rule()
    ProcessReward(rule)(PROMPTS, ["0.25\n0.5", "0.5"])
    assert rule.asked == [[Solution(PROMPTS[0], ("0.25", "0.5")), Solution(PROMPTS[1], ("0.5",))]]


def test_the_step_style_splits() -> None:
    assert ProcessReward(Rule(), step_style="regex: => ", aggregation="last")(["q"], ["0.25 => 0.75"]) == [0.75]


def test_a_model_by_name_gives_the_scores_of_the_model(prm: Path) -> None:
    completions = ["3 + 4 = 7.\nSo 7.", "5"]
    solutions = [Solution(PROMPTS[0], ["3 + 4 = 7.", "So 7."]), Solution(PROMPTS[1], ["5"])]
    expected = [scores.min() for scores in ProcessRewardModel.from_pretrained(prm).score_steps(solutions)]
    torch.testing.assert_close(torch.tensor(ProcessReward(prm)(PROMPTS, completions)), torch.stack(expected))


def test_conversations_are_scored_by_what_the_assistant_answers_the_last_user() -> None:
    rule = Rule()
    prompt = [
        {"role": "system", "content": "Think."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "What is 5?"}]},
    ]
    completion = [
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "0.1"},
        {"role": "assistant", "content": "0.5\n0.75"},
    ]
    assert ProcessReward(rule)([prompt], [completion]) == [0.5]
    assert rule.asked == [[Solution("What is 5?", ("0.5", "0.75"))]]


def test_the_question_may_be_a_column_of_its_own() -> None:
    rule = Rule()
    ProcessReward(rule, question_column="problem")(PROMPTS, ["0.5", "0.5"], problem=["a", "b"], trainer_state=None)
    assert [solution.question for solution in rule.asked[0]] == ["a", "b"]


# Completions without a step -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregation", ["min", "prod", "mean", "last"])
@pytest.mark.parametrize("empty", ["", " \n\n ", []])
def test_a_completion_without_a_step_counts_as_a_step_of_score_0(aggregation: Any, empty: Any) -> None:
    rule = Rule()
    assert ProcessReward(rule, aggregation=aggregation)(PROMPTS, [empty, "0.5"]) == [0.0, 0.5]
    assert [len(solutions) for solutions in rule.asked] == [1]


def test_that_score_can_be_set() -> None:
    assert ProcessReward(Rule(), empty_score=-1.0)(PROMPTS, ["", "0.5"]) == [-1.0, 0.5]


def test_logits_of_an_empty_completion_are_those_of_score_0() -> None:
    # ln(2^-24 / (1 - 2^-24)): sum_logits takes 0 for 2^-24.
    assert ProcessReward(Rule(), aggregation="sum_logits")(["q"], [""]) == pytest.approx([-16.6355323])


def test_no_step_at_all_asks_the_model_nothing() -> None:
    rule = Rule()
    assert ProcessReward(rule)(PROMPTS, ["", "\n"]) == [0.0, 0.0]
    assert rule.asked == []


def test_a_completion_that_was_cut_off_is_scored_as_it_stands() -> None:
    assert ProcessReward(Rule())(["q"], ["0.5\n0."]) == [0.0]


def test_no_completions_have_no_rewards() -> None:
    assert ProcessReward(Rule())([], []) == []


def test_the_trainer_logs_steps_and_completions_without_any() -> None:
    logged: dict[str, float] = {}
    ProcessReward(Rule(), name="prm")(PROMPTS, ["0.25\n0.5\n0.5", ""], log_metric=logged.__setitem__)
    assert logged == {"prm/steps": 1.5, "prm/without_steps": 0.5}


# Rewards of steps -----------------------------------------------------------------------------------------------------


def test_steps_have_their_credit_and_their_places_in_text_and_tokens() -> None:
    tokenizer = make_tokenizer()
    text = "0.75\n\n0.25"
    ids = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    first, empty = ProcessReward(Rule()).step_rewards(
        PROMPTS, [text, ""], "difference", tokenizer=tokenizer, completion_ids=[ids, [tokenizer.eos_token_id]]
    )
    assert (first.scores, first.rewards) == ([0.75, 0.25], [0.75, -0.5])
    assert [text[start:stop] for start, stop in first.char_spans] == ["0.75", "0.25"]
    assert first.token_spans is not None
    assert [tokenizer.decode(ids[start:stop]) for start, stop in first.token_spans] == ["0.75", "0.25"]
    (_, end), (_, last) = first.token_spans
    expected = [0.0] * len(ids)
    expected[end - 1], expected[last - 1] = 0.75, -0.5
    assert first.per_token(len(ids)) == expected
    assert (empty.scores, empty.rewards, empty.char_spans, empty.token_spans) == ([], [], [], [])
    assert empty.per_token(1) == [0.0]


def test_tokens_are_those_of_the_text_if_none_are_given() -> None:
    tokenizer = make_tokenizer()
    (steps,) = ProcessReward(Rule()).step_rewards(["q"], ["0.5\n0.7"], tokenizer=tokenizer)
    ids = tokenizer.encode("0.5\n0.7", add_special_tokens=False)
    assert steps.token_spans is not None
    assert [tokenizer.decode(ids[start:stop]) for start, stop in steps.token_spans] == ["0.5", "0.7"]


def test_places_of_tokens_can_be_given() -> None:
    (steps,) = ProcessReward(Rule()).step_rewards(["q"], ["0.5\n0.75"], offsets=[[(0, 4), (4, 8), (0, 0)]])
    assert steps.token_spans == [(0, 1), (1, 2)]
    assert steps.per_token(3) == [0.5, 0.75, 0.0]


def test_a_step_within_a_token_is_rewarded_there() -> None:
    (steps,) = ProcessReward(Rule()).step_rewards(["q"], ["0.5\n0.75"], offsets=[[(0, 8)]])
    assert steps.per_token(1) == [1.25]


def test_without_tokens_there_are_no_token_spans() -> None:
    (steps,) = ProcessReward(Rule()).step_rewards(["q"], ["0.5"], "min")
    assert steps.token_spans is None
    with pytest.raises(ValueError, match="neither a tokenizer nor offsets"):
        steps.per_token(3)


def test_fewer_tokens_than_the_steps_have_are_refused() -> None:
    (steps,) = ProcessReward(Rule()).step_rewards(["q"], ["0.5\n0.7"], offsets=[[(0, 4), (4, 7)]])
    with pytest.raises(ValueError, match="num_tokens is 1; the steps end with token 2"):
        steps.per_token(1)


def test_other_numbers_of_token_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="completion_ids has 1 entries for 2 completions"):
        ProcessReward(Rule()).step_rewards(PROMPTS, ["0.5", "0.5"], completion_ids=[[1]], tokenizer=make_tokenizer())


# verl -----------------------------------------------------------------------------------------------------------------


def test_verl_calls_with_one_solution_and_with_a_batch() -> None:
    rule = Rule()
    reward = ProcessReward(rule)
    info = {"question": "What is 5?", "index": 3}
    arguments = {"data_source": "openai/gsm8k", "solution_str": "0.5\n0.25", "ground_truth": "5", "extra_info": info}
    assert reward.compute_score(**arguments, reward_router_address=None) == 0.25  # type: ignore[arg-type]
    assert rule.asked == [[Solution("What is 5?", ("0.5", "0.25"))]]
    rewards = reward.compute_scores(
        data_sources=["a", "b"], solution_strs=["0.5", ""], ground_truths=["5", "5"], extra_infos=[info, info]
    )
    assert rewards == [0.5, 0.0]
    other = ProcessReward(Rule(), question_column="problem")
    assert other.compute_score("a", "0.5", "5", {"problem": "q"}) == 0.5


def test_verl_data_without_the_question_are_refused() -> None:
    with pytest.raises(ValueError, match="extra_info has no 'question', the question; it has 'split', 'index'"):
        ProcessReward(Rule()).compute_score("a", "0.5", "5", {"split": "train", "index": 0})


# One model ------------------------------------------------------------------------------------------------------------


def test_weights_are_loaded_at_the_first_completion_and_once_for_all(prm: Path) -> None:
    before = set(_MODELS)
    first, second = ProcessReward(prm, score_max_tokens=512), ProcessReward(str(prm), score_max_tokens=512)
    (key,) = set(_MODELS) - before
    assert _MODELS[key].backbone is None
    rewards = first(PROMPTS, ["7", "5"])
    backbone = _MODELS[key].backbone
    assert backbone is not None
    assert not backbone.training
    assert second(PROMPTS, ["7", "5"]) == rewards
    assert _MODELS[key].backbone is backbone


def test_another_setting_is_another_model(prm: Path) -> None:
    ProcessReward(prm, score_max_tokens=256)
    before = len(_MODELS)
    ProcessReward(prm, score_max_tokens=128)
    assert len(_MODELS) == before + 1


def test_a_copy_by_pickle_leaves_the_weights_behind_and_scores_the_same(prm: Path) -> None:
    reward = ProcessReward(prm, aggregation="mean", name="prm")
    rewards = reward(PROMPTS, ["7\n8", "5"])
    pickled = pickle.dumps(reward)
    assert len(pickled) < 2000
    for other in (pickle.loads(pickled), copy.deepcopy(reward)):
        assert other.__name__ == "prm"
        assert other(PROMPTS, ["7\n8", "5"]) == rewards


def test_a_copy_shares_the_scorer_it_was_given() -> None:
    rule = Rule()
    assert copy.deepcopy(ProcessReward(rule)).scorer is rule


def test_a_module_that_is_given_scores_without_dropout() -> None:
    class Module(nn.Module):
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            assert not self.training
            return [torch.ones(len(solution.steps)) for solution in solutions]

    assert ProcessReward(Module())(["q"], ["a"]) == [1.0]


def test_threads_get_the_rewards_of_their_own_completions(prm: Path) -> None:
    reward = ProcessReward(prm)
    texts = [f"{i} + 4 = {i + 4}.\nSo {i}." for i in range(8)]
    expected = [reward(["q"], [text])[0] for text in texts]
    found = [0.0] * len(texts)

    def score(i: int) -> None:
        found[i] = reward.compute_score("", texts[i], "", {"question": "q"})

    threads = [threading.Thread(target=score, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == pytest.approx(expected, abs=1e-6)
    # No two are so close that one could pass for the other.
    assert min(higher - lower for lower, higher in pairwise(sorted(expected))) > 1e-5


# Bad input ------------------------------------------------------------------------------------------------------------


def test_a_model_whose_step_format_cannot_be_told_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path / "lm")
    (tmp_path / "lm/model.safetensors").unlink()
    with pytest.raises(AdapterError, match=r"auto cannot tell which adapter .* needs.*: name one with adapter"):
        ProcessReward(tmp_path / "lm")
    assert ProcessReward(tmp_path / "lm", adapter="er_prm").scorer is not None


def test_a_model_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'.*/nothing' does not exist"):
        ProcessReward(tmp_path / "nothing")


def test_what_is_no_scorer_is_refused() -> None:
    with pytest.raises(TypeError, match=r"model is a int; it must be a folder, a hub id, or have score_steps"):
        ProcessReward(3)  # type: ignore[arg-type]


def test_settings_of_a_model_are_refused_for_a_scorer() -> None:
    with pytest.raises(TypeError, match="dtype, device: only for a model given by its folder or hub id"):
        ProcessReward(Rule(), dtype="bfloat16", device="cpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step_style": "line"}, "step_style is 'line'; it must be one of"),
        ({"aggregation": "max"}, "aggregation is 'max'; it must be one of min"),
    ],
)
def test_a_setting_out_of_range_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProcessReward(Rule(), **settings)


def test_another_number_of_completions_than_prompts_is_refused() -> None:
    with pytest.raises(ValueError, match="completions has 1 entries for 2 prompts"):
        ProcessReward(Rule())(PROMPTS, ["0.5"])


@pytest.mark.parametrize("completion", [7, None, b"0.5", ["0.5"], [{"content": "0.5"}], {"role": "assistant"}])
def test_a_completion_that_is_no_text_is_refused(completion: Any) -> None:
    with pytest.raises(TypeError, match=r"completions\[1\] is .*; expected a text, or a list of messages"):
        ProcessReward(Rule())(PROMPTS, ["0.5", completion])


def test_a_message_that_is_no_text_is_refused() -> None:
    picture = [{"role": "assistant", "content": [{"type": "image"}]}]
    with pytest.raises(TypeError, match=r"completions\[0\] has the content .*; expected a text, or parts with a text"):
        ProcessReward(Rule())(["q"], [picture])


def test_a_prompt_without_a_user_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prompts\[0\] has no message of the user"):
        ProcessReward(Rule())([[{"role": "system", "content": "Think."}]], ["0.5"])


def test_a_missing_column_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="question_column is 'problem'; the data set has 'answer', 'level'"):
        ProcessReward(Rule(), question_column="problem")(["q"], ["0.5"], answer=["5"], level=[1])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "returned scores for 0 of 1 solutions; the first without is of 'What is 5?'"),
        ([torch.ones(1)], "returned 1 scores for the 2 steps of a solution of 'What is 5?'"),
    ],
)
def test_a_scorer_that_returns_too_few_scores_is_refused(scores: list[Tensor], message: str) -> None:
    class Short:
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            return scores

    with pytest.raises(ScorerError, match=re.escape(message)):
        ProcessReward(Short())(["What is 5?"], ["a\nb"])


def test_a_score_that_is_not_a_number_is_refused() -> None:
    class Broken:
        def score_steps(self, solutions: Sequence[Solution]) -> list[Tensor]:
            return [torch.tensor([torch.nan])]

    for rewards in (ProcessReward(Broken()), ProcessReward(Broken()).step_rewards):
        with pytest.raises(ScorerError, match="returned NaN for step 0"):
            rewards(["q"], ["a"])
