import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from erprm.data.records import read_records
from erprm.data.sources import Problem
from erprm.engines.base import decode_after, encode_prompt, request_seed
from erprm.engines.prompts import PromptFormat
from erprm.engines.transformers import TransformersEngine
from erprm.grading import Grader, extract_answer, grade
from erprm.rollout import RolloutConfig, run_rollouts
from erprm.rollout.labelling.label_problems import roll_out
from erprm.runs.folder import OutputFolderError
from erprm.runs.identity import content_hash
from tests.rollout.conftest import WORDS, make_policy, make_taught_policy, make_word_tokenizer

REPOSITORY = Path(__file__).resolve().parents[3]
PROBLEMS = [Problem(f"p/{number}", f"{number} + 1 =", str(number + 2), "test") for number in range(5)]


def make_config(folder: Path, **changes: Any) -> RolloutConfig:
    settings = {"solutions_per_problem": 6, "completions_per_step": 4, "max_tokens": 24, "problems_per_shard": 2}
    return RolloutConfig("tiny", str(folder), **{**settings, "reuse_solutions": False, **changes})


def quiet() -> Console:
    return Console(file=io.StringIO(), width=100)


@pytest.fixture(scope="module")
def taught_policy() -> Any:
    return make_taught_policy()


@pytest.fixture
def engine(taught_policy: Any) -> TransformersEngine:
    return TransformersEngine.from_model(taught_policy, make_word_tokenizer(), "tiny")


@pytest.fixture(scope="module")
def finished(taught_policy: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A finished run: its configuration, summary and records."""
    config = make_config(tmp_path_factory.mktemp("run"))
    engine = TransformersEngine.from_model(taught_policy, make_word_tokenizer(), "tiny")
    summary = run_rollouts(config, engine, PROBLEMS, quiet())
    return config, summary, list(read_records(config.output_dir))


def starts_of_steps(token_ids: tuple[int, ...]) -> list[int]:
    """Places of the tokens that begin a line with text, found on the tokens; a line of "####" goes on with its step."""
    silent = {WORDS.index(word) for word in ("<pad>", "<s>", "</s>", "<unk>")}
    newline, hashes = WORDS.index("\n"), WORDS.index("####")
    starts: list[int] = []
    at_line_start = True
    for place, token in enumerate(token_ids):
        if token == newline:
            at_line_start = True
        elif token not in silent:
            if at_line_start and not (starts and token == hashes):
                starts.append(place)
            at_line_start = False
    return starts


def verdict(text: str, gold: str, finish_reason: str) -> bool:
    """A text that was cut off counts only if it states its answer in a closed form."""
    return extract_answer(text, "gsm8k", finish_reason == "length") is not None and grade(text, gold, "gsm8k")


def test_rewards_of_a_step_are_the_outcomes_of_the_completions_of_its_prefix(
    finished: Any, engine: TransformersEngine
) -> None:
    config, _, records = finished
    questions = {problem.problem_id: problem.question for problem in PROBLEMS}
    checked: Counter[float] = Counter()
    for record in records:
        prompt = encode_prompt(engine.tokenizer, questions[record.problem_id])
        [samples] = engine.generate([prompt], config.solution_sampling)
        [sample] = [s for k, s in enumerate(samples) if request_seed(config.seed, prompt, k) == record.seed]
        assert record.correct == verdict(sample.text, record.answer, sample.finish_reason)
        assert record.rewards[-1] == [float(record.correct)]

        starts = starts_of_steps(sample.token_ids)
        assert len(record.steps) == len(record.rewards) == len(starts)
        for next_start, rewards in zip(starts[1:], record.rewards[:-1], strict=True):
            prefix = sample.token_ids[:next_start]
            text = decode_after(engine.tokenizer, prompt, prefix)
            [completions] = engine.generate([[*prompt, *prefix]], config.completion_sampling)
            assert rewards == [float(verdict(text + c.text, record.answer, c.finish_reason)) for c in completions]
            checked.update(rewards)
    assert checked[0.0] > 10
    assert checked[1.0] > 10


def test_blank_solutions_give_no_record_and_count_as_wrong(policy: Any, tmp_path: Path) -> None:
    # This policy knows nothing, and often ends a text at once.
    engine = TransformersEngine.from_model(policy, make_word_tokenizer(), "tiny")
    config = make_config(tmp_path)
    samples_of = engine.generate([problem.question for problem in PROBLEMS], config.solution_sampling)
    with_text = [sum(bool(sample.text.strip()) for sample in samples) for samples in samples_of]
    summary = run_rollouts(config, engine, PROBLEMS, quiet())
    records = list(read_records(tmp_path))
    assert Counter(record.problem_id for record in records) == {
        problem.problem_id: count for problem, count in zip(PROBLEMS, with_text, strict=True) if count
    }
    assert summary.solutions == 30
    assert summary.blank_solutions == 30 - sum(with_text) > 0
    assert summary.pass_at_1 == sum(record.correct for record in records) / 30


def test_a_prefix_shared_within_a_problem_is_completed_once(finished: Any, engine: TransformersEngine) -> None:
    config, summary, _ = finished
    prefixes: set[tuple[str, tuple[int, ...]]] = set()
    shared = 0
    for problem in PROBLEMS:
        [samples] = engine.generate([problem.question], config.solution_sampling)
        for sample in samples:
            for start in starts_of_steps(sample.token_ids)[1:]:
                prefix = (problem.problem_id, sample.token_ids[:start])
                shared += prefix in prefixes
                prefixes.add(prefix)
    assert shared > 0
    assert summary.prefixes == len(prefixes)
    assert summary.completions == 4 * len(prefixes)
    assert sum(summary.steps_by_successes) == len(prefixes) + shared


def test_summary_agrees_with_the_records(finished: Any) -> None:
    config, summary, records = finished
    assert summary.problems == 5
    assert summary.records == len(records)
    assert summary.correct_solutions == sum(record.correct for record in records) > 0
    assert summary.steps_per_solution == sum(len(record.steps) for record in records) / len(records)
    successes = Counter(sum(rewards) for record in records for rewards in record.rewards[:-1])
    assert summary.steps_by_successes == [successes[count] for count in range(5)]
    assert json.loads((Path(config.output_dir) / "summary.json").read_text("utf-8")) == summary.to_dict()


def test_summary_counts_the_tokens_of_the_engine(engine: TransformersEngine, tmp_path: Path) -> None:
    engine.generate(["so"], make_config(tmp_path).solution_sampling)
    before = engine.usage.prompt, engine.usage.completion
    with Grader() as grader:
        _, summary = roll_out(PROBLEMS, engine, grader, make_config(tmp_path))
    assert (summary.prompt_tokens, summary.completion_tokens) == (
        engine.usage.prompt - before[0],
        engine.usage.completion - before[1],
    )
    assert summary.completion_tokens > 0


def test_records_carry_policy_sampling_and_problem(finished: Any) -> None:
    _, _, records = finished
    assert {record.policy for record in records} == {"tiny"}
    assert {record.source for record in records} == {"test"}
    sampling = json.loads(records[0].sampling)
    assert sampling["solutions"]["n"] == 6
    assert sampling["completions"] == {
        "n": 4, "temperature": 1.0, "top_p": 1.0, "max_tokens": 24, "stop": [], "seed": 0
    }  # fmt: skip
    assert len({record.seed for record in records}) == len(records)


def test_rows_do_not_depend_on_shard_size_or_batch_size(finished: Any, taught_policy: Any, tmp_path: Path) -> None:
    _, _, records = finished
    engine = TransformersEngine.from_model(taught_policy, make_word_tokenizer(), "tiny", batch_size=5)
    config = make_config(tmp_path, problems_per_shard=3)
    run_rollouts(config, engine, PROBLEMS, quiet())
    assert list(read_records(tmp_path)) == records


def test_a_finished_run_is_summed_up_again_without_a_model(finished: Any) -> None:
    config, summary, records = finished
    # No engine is given, and there is no model "tiny" to load.
    assert run_rollouts(config, None, PROBLEMS, quiet()) == summary
    assert list(read_records(config.output_dir)) == records


def test_a_damaged_shard_alone_is_made_again(finished: Any, engine: TransformersEngine, tmp_path: Path) -> None:
    _, summary, records = finished
    config = make_config(tmp_path)
    run_rollouts(config, engine, PROBLEMS, quiet())
    first, second, third = sorted((tmp_path / "data").iterdir())
    second.write_bytes(second.read_bytes()[:-10])
    untouched = first.stat().st_mtime_ns, third.stat().st_mtime_ns
    repaired = run_rollouts(config, engine, PROBLEMS, quiet())
    assert list(read_records(tmp_path)) == records
    assert (first.stat().st_mtime_ns, third.stat().st_mtime_ns) == untouched
    assert repaired.completion_tokens == summary.completion_tokens


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.7}, "temperature: 1.0 there, 0.7 now"),
        ({"completions_per_step": 8}, "completions_per_step: 4 there, 8 now"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
    ],
)
def test_another_configuration_into_the_same_folder_is_refused_before_a_model_is_loaded(
    finished: Any, change: dict[str, Any], message: str
) -> None:
    config, _, _ = finished
    with pytest.raises(OutputFolderError, match=message):
        run_rollouts(make_config(Path(config.output_dir), **change), None, PROBLEMS, quiet())


def test_other_problems_into_the_same_folder_are_refused(finished: Any) -> None:
    config, _, _ = finished
    others = [*PROBLEMS[:-1], Problem("p/other", "so", "3", "test")]
    with pytest.raises(OutputFolderError, match="problems_sha256: "):
        run_rollouts(config, None, others, quiet())


def test_another_policy_into_an_unfinished_folder_is_refused(engine: TransformersEngine, tmp_path: Path) -> None:
    run_rollouts(make_config(tmp_path), engine, PROBLEMS, quiet())
    (tmp_path / ".shards" / "00002.json").unlink()
    other = TransformersEngine.from_model(make_policy(len(WORDS), seed=1), make_word_tokenizer(), "tiny")
    with pytest.raises(OutputFolderError, match="model_sha256: "):
        run_rollouts(make_config(tmp_path), other, PROBLEMS, quiet())


def chat_engine(policy: Any, template: str) -> TransformersEngine:
    tokenizer = make_word_tokenizer()
    tokenizer.chat_template = template
    return TransformersEngine.from_model(policy, tokenizer, "tiny")


def test_a_run_whose_prompts_had_the_date_of_another_day_is_not_gone_on_with(
    taught_policy: Any, tmp_path: Path
) -> None:
    config = make_config(tmp_path, prompt=PromptFormat(chat=True))
    engine = chat_engine(taught_policy, "{{ strftime_now('%d') }} so {{ messages[0]['content'] }}")
    run_rollouts(config, engine, PROBLEMS, quiet())
    manifest = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    assert manifest["settings"]["chat_date"] == "2024-07-26"
    # As the code of commit b8531c3 wrote it, which gave the template the day's own date.
    del manifest["settings"]["chat_date"]
    manifest["hash"] = content_hash(manifest["settings"])
    for path in (tmp_path / "manifest.json", tmp_path / ".shards/manifest.json"):
        path.write_text(json.dumps(manifest), "utf-8")
    (tmp_path / ".shards" / "00002.json").unlink()
    with pytest.raises(OutputFolderError, match="chat_date: None there, '2024-07-26' now"):
        run_rollouts(config, engine, PROBLEMS, quiet())


def test_a_chat_without_a_date_leaves_the_manifest_as_it_was(taught_policy: Any, tmp_path: Path) -> None:
    engine = chat_engine(taught_policy, "so {{ messages[0]['content'] }}")
    run_rollouts(make_config(tmp_path, prompt=PromptFormat(chat=True)), engine, PROBLEMS, quiet())
    assert "chat_date" not in json.loads((tmp_path / "manifest.json").read_text("utf-8"))["settings"]


def test_no_problems_are_refused(engine: TransformersEngine, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no problem"):
        run_rollouts(make_config(tmp_path), engine, [], quiet())


def test_problems_and_policy_are_loaded_from_where_the_configuration_says(tmp_path: Path) -> None:
    make_policy(len(WORDS)).save_pretrained(tmp_path / "policy")
    make_word_tokenizer().save_pretrained(tmp_path / "policy")
    rows = [{"question": "3 + 4 =", "answer": "7"}, {"question": "1 + 1 =", "answer": "2"}]
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    config = RolloutConfig(
        str(tmp_path / "policy"),
        str(tmp_path / "run"),
        source="jsonl",
        path=str(tmp_path / "problems.jsonl"),
        max_tokens=8,
        device="cpu",
    )
    summary = run_rollouts(config, console=quiet())
    records = list(read_records(tmp_path / "run"))
    assert summary.problems == 2
    assert {record.question for record in records} == {"3 + 4 =", "1 + 1 ="}
    assert {record.policy for record in records} == {str(tmp_path / "policy")}


def test_progress_and_summary_are_shown(engine: TransformersEngine, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    run_rollouts(make_config(tmp_path), engine, PROBLEMS, console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("5/5", "tokens/s", "pass@1", "steps per solution", "4/4", "tokens generated"):
        assert text in shown
