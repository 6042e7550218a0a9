"""TRL's own GRPOTrainer trains a tiny policy with the reward."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from erprm.models import ProcessRewardModel
from erprm.reward_fn import ProcessReward
from erprm.steps import Solution, split_steps
from tests.tiny import make_llama, make_tokenizer, save_tiny_llama

trl = pytest.importorskip("trl", reason="needs TRL: pip install --no-deps trl==1.13.0")

QUESTIONS = ["What is 3 and 4 more?", "What is 5?"]


class Noted(ProcessReward):
    """Notes what the trainer hands over, and gets."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.calls: list[tuple[dict[str, Any], list[float]]] = []

    def __call__(self, prompts: Any, completions: Any, **rest: Any) -> list[float]:
        rewards = super().__call__(prompts, completions, **rest)
        self.calls.append(({"prompts": prompts, "completions": completions, **rest}, rewards))
        return rewards


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prm")
    save_tiny_llama(folder / "lm")
    ProcessRewardModel.from_pretrained(folder / "lm").save_pretrained(folder / "prm")
    return folder / "prm"


def train(folder: Path, reward: ProcessReward, rows: dict[str, Any]) -> tuple[Any, Any]:
    """Three steps; the trainer and the tokenizer."""
    tokenizer = make_tokenizer()
    tokenizer.padding_side = "left"
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}"
    trainer = trl.GRPOTrainer(
        model=make_llama(len(tokenizer)),
        reward_funcs=reward,
        args=trl.GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=8,
            num_generations=4,
            max_completion_length=24,
            max_steps=3,
            learning_rate=1e-3,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    return trainer, tokenizer


def logged(trainer: Any, key: str) -> Iterator[float]:
    return (entry[key] for entry in trainer.state.log_history if key in entry)


def test_the_trainer_learns_from_the_scores_of_the_model(prm: Path, tmp_path: Path) -> None:
    reward = Noted(prm, name="prm", question_column="problem")
    trainer, tokenizer = train(tmp_path, reward, {"prompt": [f"Solve: {q}\n" for q in QUESTIONS], "problem": QUESTIONS})
    assert len(reward.calls) == 3
    model = ProcessRewardModel.from_pretrained(prm)
    for (given, rewards), mean in zip(reward.calls, logged(trainer, "rewards/prm/mean"), strict=True):
        assert len(rewards) == 8
        for question, completion, found in zip(given["problem"], given["completions"], rewards, strict=True):
            steps = split_steps(completion, "lines")
            expected = model.score_steps([Solution(question, steps)])[0].min() if steps else torch.tensor(0.0)
            torch.testing.assert_close(torch.tensor(found), expected)
        assert mean == pytest.approx(sum(rewards) / 8)
        # The tokens that the policy has sampled, which are not those of the text, are found all the same.
        columns = {"tokenizer": tokenizer, "completion_ids": given["completion_ids"], "problem": given["problem"]}
        for ids, found_steps in zip(
            given["completion_ids"], reward.step_rewards(given["prompts"], given["completions"], **columns), strict=True
        ):
            assert found_steps.token_spans is not None
            for (start, stop), (first, last) in zip(found_steps.char_spans, found_steps.token_spans, strict=True):
                assert found_steps.text[start:stop] in tokenizer.decode(ids[first:last], skip_special_tokens=True)
    assert list(logged(trainer, "prm/steps"))
    weights, before = trainer.model.state_dict(), make_llama(len(tokenizer)).state_dict()
    assert any(not torch.equal(weights[name], before[name]) for name in before)


def test_conversations_are_rewarded_too(prm: Path, tmp_path: Path) -> None:
    reward = Noted(prm)
    train(tmp_path, reward, {"prompt": [[{"role": "user", "content": question}] for question in QUESTIONS]})
    given, rewards = reward.calls[0]
    assert given["completions"][0][0]["role"] == "assistant"
    texts = [completion[0]["content"] for completion in given["completions"]]
    questions = [prompt[-1]["content"] for prompt in given["prompts"]]
    assert rewards == ProcessReward(prm)(questions, texts)
