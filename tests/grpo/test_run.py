"""Runs of a tiny policy on a CPU: evaluations, resumption, adapters, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from erprm.data.sources import Problem
from erprm.engines.model_files import load_tokenizer
from erprm.engines.prompts import PromptFormat
from erprm.errors import InputError, UsageError
from erprm.grpo.run import newest_checkpoint, prompt_text, run_grpo, training_data
from erprm.models import LoRA, ProcessRewardModel
from erprm.raft import ProblemSet
from erprm.runs.folder import OutputFolderError
from erprm.runs.lock import InUseError, sole_use
from tests.grpo.sums import make_config, make_folder
from tests.tiny import make_tokenizer

trl = pytest.importorskip("trl", reason="needs TRL: pip install 'erprm[grpo]'")
step_grpo = pytest.importorskip("erprm.reward_fn.trl")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("grpo"))


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    run_grpo(make_config(world))
    return world / "run"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "policy/model.safetensors")


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_run_evaluates_the_initial_policy_those_on_the_way_and_the_last(run: Path, world: Path) -> None:
    evaluations = rows(run)
    assert [row["step"] for row in evaluations] == [0, 2, 4]
    for row in evaluations:
        assert (row["problems"], row["samples"]) == (2, 4)
        for name in ("best_of_n", "score", "gap", "majority"):
            assert row[name]["n"] == [1, 2, 4]
        assert row["gap"]["mean"][0] == pytest.approx(row["score"]["mean"][0] - row["best_of_n"]["mean"][0])
        assert row["kl"] is None
    # What is written is what was trained, and a model that loads.
    assert any(not torch.equal(weight, load_file(world / "policy/model.safetensors")[name])
               for name, weight in weights(run).items())  # fmt: skip
    checkpoint = load_file(run / "training/checkpoint-4/model.safetensors")
    assert all(torch.equal(weight, checkpoint[name]) for name, weight in weights(run).items())
    AutoModelForCausalLM.from_pretrained(run / "policy")
    assert load_tokenizer(str(run / "policy")).padding_side == load_tokenizer(str(world / "policy")).padding_side


def test_a_finished_run_is_not_done_again(run: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_grpo, "StepGRPOTrainer", None)
    assert [each.as_json() for each in run_grpo(make_config(world))] == rows(run)


def test_evaluations_that_are_lost_are_told(run: Path, world: Path, tmp_path: Path) -> None:
    lost = Path(shutil.copytree(run, tmp_path / "lost"))
    (lost / "evaluations.jsonl").unlink()
    with pytest.raises(InputError, match=r"evaluations\.jsonl: the evaluations of this finished run are lost"):
        run_grpo(make_config(world, output_dir=str(lost)))


def test_other_settings_are_refused_by_name(run: Path, world: Path) -> None:
    with pytest.raises(OutputFolderError, match=r"a GRPO run with other settings:\n  form: 'min' there, 'sum' now"):
        run_grpo(make_config(world, form="sum"))
    with sole_use(run), pytest.raises(InUseError, match="in use by process"):
        run_grpo(make_config(world))


@pytest.mark.parametrize("lora", [None, LoRA(r=2, alpha=8.0)], ids=["weights", "adapters"])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    lora: LoRA | None, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("policy", "train.jsonl", "test.jsonl"):
        (tmp_path / name).symlink_to(world / name)
    # Five steps of two problems each, of three problems: an epoch ends within a step.
    run_grpo(make_config(tmp_path, "whole", steps=5, lora=lora))
    calls = []
    advantages = step_grpo.StepGRPOTrainer._step_advantages

    def interrupted(self: Any, *arguments: Any) -> Any:
        calls.append(0)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return advantages(self, *arguments)

    monkeypatch.setattr(step_grpo.StepGRPOTrainer, "_step_advantages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_grpo(make_config(tmp_path, "parts", steps=5, lora=lora))
    assert [path.name for path in (tmp_path / "parts/training").glob("checkpoint-*")] == ["checkpoint-2"]
    assert not (tmp_path / "parts/policy").exists()
    run_grpo(make_config(tmp_path, "parts", steps=5, lora=lora))
    assert len(calls) == 4 + 3  # steps 3 to 5; those before the checkpoint are not done again
    for name, weight in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(tmp_path / "parts")[name], weight, rtol=0.0, atol=1e-6)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_adapters_are_merged_and_measured_against_the_initial_policy(world: Path) -> None:
    from peft import PeftModel

    # With TRL's default, activations that are recomputed in the backward pass.
    adapters = {"lora": LoRA(r=2, alpha=8.0), "trainer": {"per_device_train_batch_size": 8}}
    evaluations = run_grpo(make_config(world, "adapters", learning_rate=1e-2, **adapters))
    assert evaluations[0].kl == pytest.approx(0.0, abs=1e-5)
    assert evaluations[-1].kl is not None
    assert evaluations[-1].kl != pytest.approx(0.0, abs=1e-3)
    base = AutoModelForCausalLM.from_pretrained(world / "policy")
    adapted: Any = PeftModel.from_pretrained(base, str(world / "adapters/training/checkpoint-4"))
    plain = AutoModelForCausalLM.from_pretrained(world / "adapters/policy")
    ids = torch.tensor([[0, 40, 41, 42]])
    torch.testing.assert_close(plain(ids).logits, adapted.eval()(ids).logits, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(plain(ids).logits, AutoModelForCausalLM.from_pretrained(world / "policy")(ids).logits)


def test_a_penalty_for_the_distance_brings_its_measure(world: Path) -> None:
    evaluations = run_grpo(make_config(world, "penalty", beta=0.1, steps=1, evaluate_every=9))
    assert [each.step for each in evaluations] == [0, 1]
    assert evaluations[0].kl == pytest.approx(0.0, abs=1e-5)


def test_a_checkpoint_that_was_cut_short_is_removed(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "none") is None
    for step, state in ((9, '{"global_step": 9}'), (10, '{"global_step": 10}'), (11, '{"global_st'), (12, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text(state, encoding="utf-8")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-9", "checkpoint-10"}


def test_every_epoch_has_all_problems_in_an_order_of_its_own(world: Path) -> None:
    problems = [Problem(f"p/{n}", f"{n}?", str(n), "test") for n in range(20)]
    config = make_config(world, prompt=PromptFormat("Q: {question}"))
    data = training_data(config, problems, 50, make_tokenizer())
    assert len(data) == 50
    assert (
        sorted(data["question"][:20]) == sorted(data["question"][20:40]) == sorted(each.question for each in problems)
    )
    assert data["question"][:20] != data["question"][20:40]
    assert data[0] == {"prompt": f"Q: {data[0]['question']}", "question": data[0]["question"],
                       "gold": data[0]["question"][:-1]}  # fmt: skip


def test_a_chat_is_a_text_of_the_same_tokens() -> None:
    from tokenizers import processors

    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}"
    prompt = PromptFormat(chat=True)
    assert tokenizer(prompt_text(prompt, "3 = 7", tokenizer))["input_ids"] == prompt.token_ids("3 = 7", tokenizer)
    # This one begins every text by itself, as Llama's does.
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
    )
    text = prompt_text(prompt, "3 = 7", tokenizer)
    assert text == "3 = 7\n"
    assert tokenizer(text)["input_ids"] == prompt.token_ids("3 = 7", tokenizer)


# Refused before any weights are loaded -------------------------------------------------------------------------------


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("erprm.grpo.run.load_causal_lm", None)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generations": 3}, "must be a multiple of generations, 3"),
        ({"trainer": {"lr_schedular_type": "constant"}}, r"trainer.lr_schedular_type .* mean 'lr_scheduler_type'\?"),
        ({"scorer": "no/such/folder/"}, "no/such/folder"),
        ({"scorer": {"class_path": "no.such"}}, "scorer: 'no.such' cannot be imported"),
        (
            {"steps": None, "epochs": 0.4},
            r"0.4 epoch\(s\) of 3 problem\(s\) are no optimizer step, which takes 2 prompts",
        ),
        ({"prompt": PromptFormat(chat=True)}, "has no chat template"),
        ({"generation": "vllm"}, "generation is 'vllm', which here needs a GPU"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(changes: dict[str, Any], message: str, world: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run_grpo(make_config(world, "refused", **changes))
    assert not (world / "refused").exists()


def test_a_scorer_of_whole_solutions_is_refused(world: Path) -> None:
    with pytest.raises(ValueError, match=r"this trainer needs one with score_steps\(solutions\)"):
        run_grpo(make_config(world, "whole_scores", scorer={"class_path": "tests.grpo.sums.OfWhole"}))


@pytest.mark.usefixtures("no_weights")
def test_problems_must_have_answers_and_differ_from_the_held_out_ones(
    world: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="problems and held_out must not share a question"):
        run_grpo(make_config(world, "leak", problems=ProblemSet("jsonl", str(world / "test.jsonl"))))
    file = tmp_path / "problems.jsonl"
    file.write_text('{"question": "What is 9?"}\n', encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"problems.jsonl, line 1: no answer in the fields question; expected 'answer'"
    ):
        run_grpo(make_config(world, "unanswered", problems=ProblemSet("jsonl", str(file))))
    # As everywhere, a blank answer leaves the problem out, and a warning says which.
    file.write_text('{"question": "What is 9?", "answer": " "}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="holds no problem with a final answer"):
        run_grpo(make_config(world, "blank", problems=ProblemSet("jsonl", str(file))))
    assert "1 problem(s) without a final answer left out, the first at" in caplog.text


@pytest.mark.usefixtures("no_weights")
def test_a_policy_of_another_step_format_than_the_reward_model_s_is_refused(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "policy", tmp_path / "policy")
    for name in ("train.jsonl", "test.jsonl"):
        shutil.copy(world / name, tmp_path)
    model = ProcessRewardModel.from_pretrained(world / "policy")
    model.save_pretrained(tmp_path / "prm")
    other = {**json.loads((tmp_path / "prm/step_format.json").read_text(encoding="utf-8")), "separator": "\n\n"}
    (tmp_path / "policy/step_format.json").write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(ValueError, match=r"(?s)the step format of model .* and that of scorer differ: separator"):
        run_grpo(make_config(tmp_path, scorer=str(tmp_path / "prm")))


@pytest.mark.usefixtures("no_weights")
def test_what_is_not_installed_is_named(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = "erprm.engines.registry.importlib.util.find_spec"
    for missing, changes in (("trl", {}), ("peft", {"lora": LoRA()}), ("vllm", {"generation": "vllm"})):
        monkeypatch.setattr(found, lambda name, gone=missing: None if name == gone else "there")
        with pytest.raises(ImportError, match=f"needs the package {missing}, which is not installed: pip install"):
            run_grpo(make_config(world, "lacking", **{"device": "auto", **changes}))


@pytest.mark.usefixtures("no_weights")
def test_another_trl_several_processes_and_several_gpus_are_refused(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="this command trains in one process"):
        run_grpo(make_config(world, "processes"))
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="there are 2 GPUs, and this command trains on one"):
        run_grpo(make_config(world, "gpus", device="auto"))
    monkeypatch.setattr(trl, "__version__", "2.0.0")
    with pytest.raises(UsageError, match=r"tested with TRL 1.13.\*, found 2.0.0"):
        run_grpo(make_config(world, "version"))
