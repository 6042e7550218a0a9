"""A run of ``erprm grpo``.

    output_dir/
      manifest.json                what the run is determined by, and a hash of it
      training/checkpoint-100/     TRL's checkpoints
      evaluations.jsonl            a line for each evaluation
      policy/                      the last policy as a Hugging Face folder, adapters merged

Running again with the same settings goes on from the last checkpoint. When the policy is there, all is done.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import Progress
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from erprm.data.files.json_rows import read_json_rows
from erprm.data.pools import PoolProblem, grade_pool
from erprm.data.sources import Problem
from erprm.engines.model_files import load_tokenizer
from erprm.engines.prompts import PromptFormat
from erprm.engines.transformers import TransformersEngine
from erprm.errors import InputError
from erprm.grading import KINDS, BatchGrader, OutcomeGrader, open_grader, outcome_rewards
from erprm.grpo.config import GrpoConfig
from erprm.grpo.evaluation import PolicyEvaluation, evaluation_of
from erprm.grpo.trainer_settings import check_machine, plan, trainer_arguments
from erprm.models.backbone.loading import load_causal_lm
from erprm.models.backbone.lora import peft_config
from erprm.models.scorers.opening import check_step_formats, device_named
from erprm.raft.config import check_held_out
from erprm.raft.log_probs import solution_log_probs
from erprm.raft.selectors import check_scorer, check_steps, open_scorer, scorer_key
from erprm.raft.solutions import sample
from erprm.raft.stages import log_ratios
from erprm.reward_fn import ProcessReward
from erprm.runs.atomic import remove, write_json_lines
from erprm.runs.folder import RunFolder, StageFolders
from erprm.runs.identity import content_hash, model_key, setting_content
from erprm.runs.lock import sole_use
from erprm.runs.progress import progress_bar
from erprm.scoring import StepScorer

if TYPE_CHECKING:
    from datasets import Dataset

    from erprm.reward_fn.trl import StepGRPOTrainer

EVALUATIONS_FILE, POLICY_FOLDER, TRAINING_FOLDER = "evaluations.jsonl", "policy", "training"
_TRAINER_STATE = "trainer_state.json"  # what transformers writes last into a checkpoint


def run_grpo(config: GrpoConfig) -> list[PolicyEvaluation]:
    """Trains, or goes on from the last checkpoint in the folder, and writes the policy.

    Returns:
        The evaluations: of the initial policy, of those on the way and of the last; also in ``evaluations.jsonl``.

    Raises:
        OutputFolderError: if ``config.output_dir`` holds a run with other settings.
        InUseError: if another command is writing into it.
        UsageError: if TRL is of a release that the trainer is not made for.
        ImportError: if a package is needed and not installed.
        SelectionError: if the style is not the one in which the policy writes its steps.
        InputError: if the run is finished and its evaluations are gone.
        ValueError: if the settings, the problems or the scorer cannot be used.
        FileNotFoundError: if a model or a file does not exist.
    """
    check_machine(config)
    check_scorer(config.scorer, "scorer", config.model)
    problems, held_out = config.problems.load(), config.held_out.load()
    check_held_out(problems, held_out)
    folder = RunFolder(Path(config.output_dir), "a GRPO run")
    stages = StageFolders(folder.path)
    arguments = trainer_arguments(config, folder.path / TRAINING_FOLDER)
    arguments.max_steps, prompts = plan(config, arguments, len(problems))
    tokenizer = load_tokenizer(config.model)
    tokenizer.padding_side = "left"
    data = training_data(config, problems, prompts, tokenizer)
    with sole_use(folder.path):
        folder.begin(_settings(config, problems, held_out, tokenizer))
        evaluations = _Evaluations(folder.path / EVALUATIONS_FILE)
        if not stages.is_done(POLICY_FOLDER):
            checkpoint = newest_checkpoint(folder.path / TRAINING_FOLDER)
            with _trainer(config, arguments, data, held_out, tokenizer, evaluations) as trainer:
                evaluations.keep_until(0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2]))
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
                stages.make(POLICY_FOLDER, lambda to: _save(config, trainer, to))
    if not evaluations.made:
        raise InputError(f"{folder.path / EVALUATIONS_FILE}: the evaluations of this finished run are lost")
    return evaluations.made


def _settings(
    config: GrpoConfig, problems: Sequence[Problem], held_out: Sequence[Problem], tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    """What determines a run, for its manifest."""
    elsewhere = ("output_dir", "device", "batch_size", "problems", "held_out")
    own = {name: value for name, value in asdict(config).items() if name not in elsewhere}
    return {
        **setting_content(own, ""),
        **config.prompt.identity(tokenizer),
        "model": model_key(config.model),
        "scorer": scorer_key(config.scorer),
        **{
            name: content_hash([asdict(problem) for problem in each])
            for name, each in (("problems", problems), ("held_out", held_out))
        },
    }


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of TRL's trainer; those that a kill has cut short are removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        try:
            step = json.loads((path / _TRAINER_STATE).read_text(encoding="utf-8"))["global_step"]
        except (OSError, ValueError, LookupError, TypeError):
            remove(path)
        else:
            whole.append((step, path))
    return max(whole)[1] if whole else None


def training_data(
    config: GrpoConfig, problems: Sequence[Problem], prompts: int, tokenizer: PreTrainedTokenizerBase
) -> Dataset:
    """The prompts in the order in which they are learned from, with their questions and gold answers.

    The trainer does not shuffle: resumed in a later epoch, its sampler would begin with the order of the first.
    """
    from datasets import Dataset

    shuffle = random.Random(f"problems {config.seed}")
    order: list[Problem] = []
    while len(order) < prompts:
        order += shuffle.sample(list(problems), len(problems))
    text = {each.question: prompt_text(config.prompt, each.question, tokenizer) for each in problems}
    return Dataset.from_list(
        [{"prompt": text[each.question], "question": each.question, "gold": each.answer} for each in order[:prompts]]
    )


def prompt_text(prompt: PromptFormat, question: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """A prompt as a text that TRL tokenises as the engines do, so that training and evaluation read the same.

    Raises:
        ValueError: if there is no such text.
    """
    if not prompt.chat:
        return prompt.text(question)
    ids = prompt.token_ids(question, tokenizer)
    text = str(tokenizer.decode(ids))
    # TRL lets the tokenizer begin the text, as the template has done already.
    for each in (text, text.removeprefix(tokenizer.bos_token or "")):
        if tokenizer(each)["input_ids"] == ids:
            return each
    raise InputError(
        f"prompt.chat: the chat of question {question[:60]!r} is no text that tokenizer {tokenizer.name_or_path!r} "
        "reads as the tokens of its own chat template"
    )


class _Evaluations:
    """The evaluations in a file of JSON lines."""

    def __init__(self, file: Path) -> None:
        self._file = file
        rows = read_json_rows(file, "evaluations") if file.exists() else ()
        self.made = [PolicyEvaluation.from_json(row) for _, row in rows]

    def keep_until(self, step: int) -> None:
        """Leaves out those of later steps than the checkpoint that the training goes on from."""
        self.made = [each for each in self.made if each.step <= step]

    def add(self, step: int, evaluate: Callable[[], PolicyEvaluation]) -> None:
        """Adds that of a step, unless it is there."""
        if all(each.step != step for each in self.made):
            self.made.append(evaluate())
            write_json_lines([each.as_json() for each in self.made], self._file)


class _EvaluationCallback(TrainerCallback):
    """Evaluates the policy before the first step, every few steps, and after the last one; shows the steps.

    A checkpoint is saved after the evaluation of its step, so a run that is resumed lacks none.
    """

    def __init__(self, evaluate: Callable[[int], None], every: int, progress: Progress) -> None:
        self._evaluate, self._every, self._progress = evaluate, every, progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._task = self._progress.add_task("steps", total=state.max_steps, completed=state.global_step)
        if state.global_step == 0:
            self._evaluate(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._progress.advance(self._task)
        if state.global_step % self._every == 0 or state.global_step == state.max_steps:
            self._evaluate(state.global_step)


@contextmanager
def _trainer(
    config: GrpoConfig,
    arguments: Any,
    data: Dataset,
    held_out: list[Problem],
    tokenizer: PreTrainedTokenizerBase,
    evaluations: _Evaluations,
) -> Iterator[StepGRPOTrainer]:
    """The trainer, with the scorer and the grader that it needs."""
    from erprm.reward_fn.trl import StepGRPOTrainer

    with ExitStack() as stack:
        scorer = stack.enter_context(open_scorer(config.scorer, "scorer", device_named(config.device)))
        if not isinstance(scorer, StepScorer):
            raise InputError("scorer scores whole solutions; this trainer needs one with score_steps(solutions)")
        check_step_formats(config.model, getattr(scorer, "step_format", None), "scorer")
        grader = stack.enter_context(open_grader(config.grading, "grading"))
        trainer = StepGRPOTrainer(
            load_causal_lm(config.model, dtype=config.dtype),
            ProcessReward(scorer, step_style=config.style, question_column="question"),
            form=config.form,
            process_weight=config.process_weight,
            outcome_weight=config.outcome_weight,
            reward_funcs=_outcome(config, grader, tokenizer),
            args=arguments,
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=None if config.lora is None else peft_config(config.lora, "CAUSAL_LM"),
        )

        def evaluate(step: int) -> None:
            evaluations.add(step, lambda: _evaluated(config, step, trainer, held_out, scorer, grader))

        progress = stack.enter_context(progress_bar(Console(stderr=True)))
        trainer.add_callback(_EvaluationCallback(evaluate, config.evaluate_every, progress))
        yield trainer


def _outcome(
    config: GrpoConfig, grader: OutcomeGrader | BatchGrader, tokenizer: PreTrainedTokenizerBase
) -> Callable[..., list[float]]:
    kind = config.problems.kind(config.grading)

    def outcome(completions: Sequence[str], gold: Sequence[str], completion_ids: Any, **_: Any) -> list[float]:
        cut_off = [ids[-1] != tokenizer.eos_token_id for ids in completion_ids]
        return outcome_rewards(grader, list(zip(completions, gold, strict=True)), kind, "grading", cut_off)

    return outcome


def _evaluated(
    config: GrpoConfig,
    step: int,
    trainer: StepGRPOTrainer,
    held_out: list[Problem],
    scorer: StepScorer,
    grader: OutcomeGrader | BatchGrader,
) -> PolicyEvaluation:
    """The evaluation of the policy as it is; it draws nothing from the random numbers of the training."""
    policy, without_adapters = _policy(trainer)
    was_training = policy.training
    try:
        engine = TransformersEngine.from_model(policy, trainer.processing_class, batch_size=config.batch_size)
        sampled = sample(engine, held_out, config.prompt, config.evaluation_sampling)
        ratios = None
        initial = policy if config.lora is not None else trainer.ref_model

        def log_probs(model: PreTrainedModel) -> Callable[..., list[float]]:
            return lambda samples: solution_log_probs(model, samples, config.temperature)

        def initial_log_probs(samples: Any) -> list[float]:
            with without_adapters():
                return log_probs(initial)(samples)

        if initial is not None:
            ratios = log_ratios(sampled, log_probs(policy), initial_log_probs)
    finally:
        policy.train(was_training)
    texts = [text for each in sampled for text in each.candidates]
    questions = [each.problem.question for each in sampled for _ in each.candidates]
    pool = [
        PoolProblem(
            each.problem, tuple(each.candidates), tuple("stop" if ended else "length" for ended in each.finished)
        )
        for each in sampled
    ]
    grading = config.held_out.kind(config.grading) if config.grading in KINDS else config.grading
    graded = grade_pool(pool, grading, config.style, grader, config.correct_threshold)
    if not step:  # later, short solutions are what it has learned
        check_steps(texts, graded.solutions, config.style)
    different = list(dict.fromkeys(zip(questions, texts, strict=True)))
    reward = ProcessReward(scorer, step_style=config.style, aggregation=config.aggregation)
    score_of = dict(zip(different, reward(*zip(*different, strict=True)), strict=True))
    scores = torch.tensor([score_of[each] for each in zip(questions, texts, strict=True)])
    return evaluation_of(step, graded, scores.view(graded.correct_PN.shape), ratios)


def _policy(trainer: StepGRPOTrainer) -> tuple[PreTrainedModel, Callable[[], Any]]:
    """The policy that learns, and what takes its adapters out for a while."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    if hasattr(model, "disable_adapter"):
        return model.get_base_model(), model.disable_adapter
    return model, nullcontext


def _save(config: GrpoConfig, trainer: StepGRPOTrainer, folder: Path) -> None:
    model = trainer.accelerator.unwrap_model(trainer.model)
    if config.lora is not None:
        model = model.merge_and_unload()
    model.save_pretrained(folder)
    load_tokenizer(config.model).save_pretrained(folder)  # as it was before the trainer took it
