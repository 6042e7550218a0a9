"""Every adapter gives the scores of its project's own code, from one forward over solutions that share a question."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from erprm.models import AdaptedRewardModel
from erprm.steps import Solution
from tests.models.adapters.checkpoints import MAKE, causal_lm, change_config, tiny_tokenizer, token_classifier
from tests.models.adapters.one_step_at_a_time import REFERENCES
from tests.steps.real_tokenizers import mistral_tokenizer, smollm2_tokenizer

QUESTION = "What is 3 and 4 more?"
SOLUTIONS = [
    Solution(QUESTION, ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"]),
    Solution(QUESTION, ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 8"]),
    Solution(QUESTION, ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7", "Step 3: So\nit is 15 - 8."]),
    Solution("What is 15?\n", ["15", "The answer is: 15"]),
    Solution("q", ["  → é  x", "a"]),
]


def check(folder: Path, name: str, solutions: Sequence[Solution], **settings: Any) -> None:
    model = AdaptedRewardModel.from_pretrained(folder, adapter=name, **settings)
    reference = REFERENCES[name](folder)
    expected = [torch.tensor(reference(s.question, s.steps)) for s in solutions]
    found = model.score_steps(solutions)
    for scores, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(scores, wanted, atol=1e-5, rtol=0.0)
    # What differs in text differs in score, or nothing would be shown.
    assert len({round(float(score), 6) for scores in found for score in scores}) > 6


@pytest.mark.parametrize("packing", ["trees", "rows"])
@pytest.mark.parametrize("name", sorted(MAKE))
def test_scores_are_those_of_one_step_at_a_time(tmp_path: Path, name: str, packing: str) -> None:
    MAKE[name](tmp_path, tiny_tokenizer())
    check(tmp_path, name, SOLUTIONS, score_packing=packing)


@pytest.mark.parametrize("name", sorted(MAKE))
def test_so_they_are_with_one_solution_a_row(tmp_path: Path, name: str) -> None:
    MAKE[name](tmp_path, tiny_tokenizer())
    check(tmp_path, name, SOLUTIONS, score_packing="rows", score_row_tokens=1)


@pytest.mark.parametrize("name", sorted(MAKE))
def test_one_forward_gives_every_step_of_every_solution(tmp_path: Path, name: str) -> None:
    MAKE[name](tmp_path, tiny_tokenizer())
    model = AdaptedRewardModel.from_pretrained(tmp_path, adapter=name)
    model.score_steps(SOLUTIONS)  # Before the first time, it is made sure that solutions do not see each other.
    forwards = []
    assert model.backbone is not None
    model.backbone.register_forward_hook(lambda *_: forwards.append(1))
    assert [len(scores) for scores in model.score_steps(SOLUTIONS)] == [2, 2, 3, 2, 2]
    assert len(forwards) == 1


# Where a text as a whole has other tokens than its pieces: a question with white space at its end, a step with white
# space at its beginning. Mistral's vocabulary has tokens of several spaces.
AWKWARD = [
    Solution("Add:  ", ["  3 + 4", "   so 7"]),
    Solution("Add:\n\n", ["\n 3 + 4 = 7.", "7"]),
    Solution("Add: ", ["3", "4", "  \n5"]),
]


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("name", ["er_prm", "math_shepherd", "trl"])
def test_so_they_are_with_a_sentencepiece_tokenizer(tmp_path: Path, name: str, legacy: bool) -> None:
    make = causal_lm if name != "trl" else token_classifier
    make(tmp_path, mistral_tokenizer(legacy=legacy), "Mistral")
    check(tmp_path, name, [*SOLUTIONS, *AWKWARD])


@pytest.mark.parametrize("name", ["rlhflow", "qwen_prm"])
def test_so_they_are_with_the_tokenizer_of_a_chat_model(tmp_path: Path, name: str) -> None:
    tokenizer = smollm2_tokenizer()
    tokenizer.add_tokens(["<extra_0>"], special_tokens=True)
    # As Llama 3's and RLHFlow's: nothing between the end of a turn and the next.
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n\\n' + m['content'] + '<|im_end|>' }}{% endfor %}"
    )
    MAKE[name](tmp_path, tokenizer)
    check(tmp_path, name, [*SOLUTIONS, *AWKWARD] if name == "qwen_prm" else SOLUTIONS)


def test_whole_texts_have_other_tokens_than_pieces(tmp_path: Path) -> None:
    MAKE["math_shepherd"](tmp_path, mistral_tokenizer())
    whole = AdaptedRewardModel(str(tmp_path), adapter="math_shepherd").step_encoder
    pieces = AdaptedRewardModel(str(tmp_path), adapter="math_shepherd", step_format={"whole_text": False}).step_encoder
    assert [whole.encode(s) == pieces.encode(s) for s in (SOLUTIONS[0], AWKWARD[0])] == [True, False]


@pytest.mark.parametrize("architecture", ["Llama", "Mistral", "Qwen2", "Gemma2", "GPT2"])
def test_token_classifiers_of_other_architectures(tmp_path: Path, architecture: str) -> None:
    changes: dict[str, Any] = {"head_dim": 8} if architecture == "Gemma2" else {}
    if architecture == "GPT2":
        changes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
    token_classifier(tmp_path, tiny_tokenizer(), architecture, **changes)
    check(tmp_path, "trl", SOLUTIONS)


def test_a_trl_model_of_another_separator(tmp_path: Path) -> None:
    token_classifier(tmp_path, tiny_tokenizer())
    twice = AdaptedRewardModel.from_pretrained(tmp_path, step_format={"tag": "\n\n"})
    once = AdaptedRewardModel.from_pretrained(tmp_path)
    # Two line breaks are the tag, or the end of a step and the tag.
    (scores,), (same,) = (
        model.score_steps([Solution("q", [f"a{rest}", f"b{rest}"])]) for model, rest in ((twice, ""), (once, "\n"))
    )
    torch.testing.assert_close(scores, same)


def test_a_tag_within_a_text_adds_no_score(tmp_path: Path) -> None:
    MAKE["math_shepherd"](tmp_path, mistral_tokenizer())
    model = AdaptedRewardModel.from_pretrained(tmp_path, adapter="math_shepherd")
    (scores,) = model.score_steps([Solution("What? ки\nStep 1: 7 ки", ["a ки b ки ", "ки"])])
    assert len(scores) == 2


def test_the_code_of_a_checkpoint_is_not_run_even_where_its_configuration_is_not_known(tmp_path: Path) -> None:
    MAKE["qwen_prm"](tmp_path, tiny_tokenizer())
    change_config(tmp_path, model_type="qwen2_rm")
    check(tmp_path, "qwen_prm", SOLUTIONS)
