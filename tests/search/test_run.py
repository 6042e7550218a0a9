"""Runs of ``erprm search``: files, resuming, refusals."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from erprm.cli import main
from erprm.engines.base import Completion, EngineError, Prompt, Sampling
from erprm.runs.folder import DamagedFileError, OutputFolderError
from erprm.search import DVTS, AdaptiveN, BeamSearch, BestOfNSearch, LookAhead, ParticleSearch, StepRejection
from erprm.search.config import SearchConfig
from erprm.search.methods import DEFAULT_METHODS, SEARCHES
from erprm.search.results import summarize
from erprm.search.run import run_search
from tests.engines.known_policy import KnownPolicy
from tests.rollout.conftest import make_word_tokenizer
from tests.search.conftest import SevenIsRight, two_steps
from tests.working_folder import make_working_folder


class FailingPolicy(KnownPolicy):
    """Fails for good at its call of this number, as an engine does whose process has died."""

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__(two_steps, make_word_tokenizer())
        self.calls, self._fails_at = 0, fails_at

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[Completion]]:
        self.calls += 1
        if self.calls == self._fails_at:
            raise EngineError("the engine has died")
        return super().generate(prompts, sampling)


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., SearchConfig]:
    problems = [{"question": f"{i} + {i} =", "answer": "7"} for i in range(5)]
    write_rows(tmp_path / "problems.jsonl", problems)

    def make(**changes: Any) -> SearchConfig:
        settings: dict[str, Any] = {
            "model": "known",
            "scorer": SevenIsRight(),
            "output_dir": str(tmp_path / "out"),
            "source": "jsonl",
            "path": str(tmp_path / "problems.jsonl"),
            "methods": {"best of N": BestOfNSearch(), "beams": BeamSearch(2, 2), "rejection": StepRejection(0.5, 3)},
            "budgets": [16, 60],
            "seeds": [0, 1],
            "max_tokens": 16,
            "max_step_tokens": 4,
            "grading": "gsm8k",
            "problems_per_part": 2,
        }
        return SearchConfig(**{**settings, **changes})

    return make


def rows_of(folder: Path) -> list[dict[str, Any]]:
    parts = sorted((folder / "candidates").iterdir())
    return [json.loads(line) for part in parts for line in part.read_text(encoding="utf-8").splitlines()]


def test_a_run_writes_every_candidate_and_the_accuracy_of_every_method_under_every_budget(
    make_config: Callable[..., SearchConfig], tmp_path: Path
) -> None:
    results = run_search(make_config(), FailingPolicy())
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 5 * 3 * 2 * 2
    for row in rows:
        assert row["correct"] == row["candidates"][row["chosen"]]["correct"] == (
            row["candidates"][row["chosen"]]["text"].split()[-1] == "7"
        )  # fmt: skip
        assert row["tokens"] <= row["budget_tokens"]
    written = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))
    assert [point["method"] for point in written["points"]] == [
        n for n in ("best of N", "beams", "rejection") for _ in "12"
    ]
    assert (results.problems, results.graded, results.seeds) == (5, 5, [0, 1])
    for point in results.points:
        of_point = [r for r in rows if (r["method"], r["budget_tokens"]) == (point.method, point.budget_tokens)]
        assert point.accuracy is not None
        assert point.accuracy.mean == pytest.approx(sum(row["correct"] for row in of_point) / 10)
        assert point.tokens == pytest.approx(sum(row["tokens"] for row in of_point) / 10)
        assert point.most_tokens == max(row["tokens"] for row in of_point)


def test_the_answer_of_a_vote_is_the_one_that_most_candidates_give(
    make_config: Callable[..., SearchConfig], tmp_path: Path
) -> None:
    run_search(make_config(select="majority", methods={"n": BestOfNSearch()}, budgets=[90]), FailingPolicy())
    rows = rows_of(tmp_path / "out")
    outvoted = 0
    for row in rows:
        ended = [candidate for candidate in row["candidates"] if candidate["end"] == "stop"]
        votes = Counter(candidate["text"].split()[-1] for candidate in ended)
        chosen = row["candidates"][row["chosen"]]
        assert votes[chosen["text"].split()[-1]] == max(votes.values())
        assert chosen["score"] == max(c["score"] for c in ended if c["text"].split()[-1] == chosen["text"].split()[-1])
        outvoted += chosen["score"] < max(candidate["score"] for candidate in ended)
    assert outvoted  # Somewhere the best-scored candidate has another answer.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"select": "entropic"}, "select is 'entropic'; .* did you mean 'entropic_vote'"),
        ({"select": "entropic_vote", "vote_eta": -1.0}, "vote_eta is -1.0; it must be at least 0"),
        ({"vote_eta": 2.0}, "vote_eta is 2.0, which select='best' does not read"),
    ],
)
def test_a_vote_that_cannot_be_is_refused(
    changes: dict[str, Any], message: str, make_config: Callable[..., SearchConfig]
) -> None:
    with pytest.raises(ValueError, match=message):
        make_config(**changes)


@pytest.mark.parametrize("changes", [{}, {"methods": {"particles": ParticleSearch(4, 5.0)}}])
def test_a_run_that_failed_goes_on_where_it_was_and_comes_to_the_same_files(
    changes: dict[str, Any], make_config: Callable[..., SearchConfig], tmp_path: Path
) -> None:
    whole = FailingPolicy()
    run_search(make_config(output_dir=str(tmp_path / "whole"), **changes), whole)
    with pytest.raises(EngineError):
        run_search(make_config(**changes), FailingPolicy(fails_at=whole.calls - 1))
    parts = {path.name for path in (tmp_path / "out/candidates").iterdir()}
    assert parts == {"part-00000.jsonl", "part-00001.jsonl"}
    again = FailingPolicy()
    run_search(make_config(**changes), again)
    assert 0 < again.calls < whole.calls / 2
    for name in ("candidates/part-00000.jsonl", "candidates/part-00001.jsonl", "candidates/part-00002.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (tmp_path / "out/results.json").read_bytes() == (tmp_path / "whole/results.json").read_bytes()
    # All is there: nothing is sampled.
    done = FailingPolicy(fails_at=1)
    there = make_config(output_dir=str(tmp_path / "whole"), **changes)
    assert run_search(make_config(**changes), done) == run_search(there, done)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"budgets": [16, 61]}, "budgets: [16, 60] there, [16, 61] now"),
        ({"seeds": [0]}, "seeds: [0, 1] there, [0] now"),
        ({"temperature": 0.7}, "decoding.temperature: 1.0 there, 0.7 now"),
        ({"aggregation": "prod"}, "aggregation: 'min' there, 'prod' now"),
        ({"methods": {"beams": BeamSearch(2, 3)}}, "methods.beams.expansions: 2 there, 3 now"),
        ({"limit": 2}, "problems: "),
    ],
)
def test_another_configuration_into_the_same_folder_is_refused(
    make_config: Callable[..., SearchConfig], tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(EngineError):
        run_search(make_config(), FailingPolicy(fails_at=1))
    with pytest.raises(OutputFolderError, match="holds a search with other settings") as refusal:
        run_search(make_config(**changes), FailingPolicy())
    assert named in str(refusal.value)
    assert not list((tmp_path / "out").glob("candidates/*"))


def test_a_folder_with_something_else_in_it_is_refused(
    make_config: Callable[..., SearchConfig], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").touch()
    with pytest.raises(OutputFolderError, match=r"is not empty .* and has no manifest\.json of a search"):
        run_search(make_config(), FailingPolicy())


def test_a_damaged_part_is_named(make_config: Callable[..., SearchConfig], tmp_path: Path) -> None:
    run_search(make_config(), FailingPolicy())
    part = tmp_path / "out/candidates/part-00001.jsonl"
    whole = part.read_bytes()
    part.write_bytes(whole[:-40])
    with pytest.raises(DamagedFileError, match=r"part-00001\.jsonl, line 24: is damaged; delete the file"):
        run_search(make_config(), FailingPolicy())
    part.unlink()
    run_search(make_config(), FailingPolicy())
    assert part.read_bytes() == whole


def test_problems_without_gold_are_searched_for_but_not_graded(
    make_config: Callable[..., SearchConfig], tmp_path: Path
) -> None:
    write_rows(tmp_path / "problems.jsonl", [{"question": "1 + 1 ="}, {"question": "2 + 2 =", "answer": "7"}])
    results = run_search(make_config(), FailingPolicy())
    assert (results.problems, results.graded) == (2, 1)
    assert {row["correct"] for row in rows_of(tmp_path / "out") if row["question"] == "1 + 1 ="} == {None}
    write_rows(tmp_path / "problems.jsonl", [{"question": "1 + 1 ="}])
    results = run_search(make_config(output_dir=str(tmp_path / "ungraded")), FailingPolicy())
    assert {(point.accuracy, point.any_correct, point.gain) for point in results.points} == {(None, None, None)}
    assert results.points[0].tokens > 0


def test_gain_is_the_difference_to_the_first_method_on_the_same_problems_and_seeds_are_averaged_first() -> None:
    def row(method: str, problem: str, seed: int, correct: bool) -> dict[str, Any]:
        numbers = {"method": method, "problem_id": problem, "seed": seed, "correct": correct, "budget_tokens": 64}
        return {**numbers, "tokens": 10 + seed, "scored": 2, "candidates": [{"correct": correct}, {"correct": True}]}

    rows = [
        *(row("one", "a", seed, correct=seed == 0) for seed in (0, 1)),
        *(row("one", "b", seed, correct=False) for seed in (0, 1)),
        *(row("other", "a", seed, correct=True) for seed in (0, 1)),
        *(row("other", "b", seed, correct=seed == 1) for seed in (0, 1)),
    ]
    one, other = summarize(rows).points
    assert one.accuracy is not None
    assert other.accuracy is not None
    assert other.gain is not None
    # Problem by problem: 1/2 and 0 against 1 and 1/2.
    assert (one.accuracy.mean, other.accuracy.mean) == (0.25, 0.75)
    assert (other.gain.mean, other.gain.low, other.gain.high) == (0.5, 0.5, 0.5)
    assert one.gain is None
    assert (one.tokens, one.most_tokens, one.candidates, one.any_correct) == (10.5, 11, 2.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"budgets": [3]},
            r"budgets holds 3; a budget must be at least max_tokens \(16\), which one solution may",
        ),
        ({"budgets": []}, "budgets is empty"),
        ({"seeds": []}, "seeds is empty"),
        ({"methods": {"mine": object()}}, r"methods.mine needs search\(budget\); object has none"),
        ({"scorer": object()}, r"scorer needs score_steps\(solutions\); object has none"),
        (
            {"scorer": {"class_path": "erprm.models.HTTPStepScorer", "init_args": {"ur": "x"}}},
            r"scorer\.init_args: missing a required argument: 'url'; HTTPStepScorer takes \(url",
        ),
        ({"scorer": {"class_path": "erprm.models.Nothing"}}, "scorer: 'erprm.models.Nothing' cannot be imported"),
        ({"scorer": {"class_pat": "x"}}, r"scorer is \{'class_pat': 'x'\}; it must be a folder, a hub id, a URL, or"),
        ({"max_step_tokens": 17}, r"max_step_tokens is 17; it must be at most max_tokens \(16\)"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be a finite number above 0"),
        ({"style": "numbered"}, "step_ends is needed with style 'numbered'"),
        ({"step_ends": []}, "step_ends is .*; it must hold strings that are not empty"),
        ({"stop": ["\n\n"]}, "stop holds .*, which would never be seen: the policy pauses at step_ends="),
        ({"problems_per_part": 0}, "problems_per_part is 0; it must be at least 1"),
        ({"correct_threshold": 0.0}, "correct_threshold is 0.0"),
        ({"grading": "gsm9k"}, "grading: got 'gsm9k'"),
    ],
)
def test_bad_settings_are_refused(
    make_config: Callable[..., SearchConfig], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_config(**changes)


def test_an_empty_problem_file_is_refused(make_config: Callable[..., SearchConfig], tmp_path: Path) -> None:
    (tmp_path / "problems.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"problems\.jsonl: holds no problem"):
        run_search(make_config(), FailingPolicy())


# With models, by the command ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_working_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture
def command(models: Path, tmp_path: Path) -> list[str]:
    config = tmp_path / "search.yaml"
    config.write_text(
        f"model: {models / 'my-llama'}\nscorer: {models / 'prm'}\noutput_dir: {tmp_path / 'out'}\n"
        f"source: jsonl\npath: {models / 'problems.jsonl'}\ndevice: cpu\nstep_ends: [e, t, a, '1', '3', ' ']\n"
        "budgets: [24]\nmax_tokens: 24\nmax_step_tokens: 24\nmethods:\n"
        "  beams:\n    class_path: erprm.search.BeamSearch\n    init_args: {width: 1, expansions: 2}\n",
        encoding="utf-8",
    )
    return ["search", "--config", str(config)]


def test_the_command_prints_a_table_and_draws_a_figure(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert main(command) == 0
    assert "Searches on 4 problems" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "accuracy.png", "candidates", "manifest.json", "results.json", "results.md"
    }  # fmt: skip
    assert (tmp_path / "out/accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert "| beams | 24 |" in (tmp_path / "out/results.md").read_text(encoding="utf-8")


def test_a_cascade_is_named_on_the_command_line_and_counts_what_both_models_read(
    command: list[str], models: Path, tmp_path: Path
) -> None:
    ahead = "--methods={a: {class_path: erprm.search.LookAhead, init_args: {width: 1, expansions: 2, depth: 1}}}"
    assert main([*command, ahead, "--cascade.scorer", str(models / "prm"), "--cascade.keep=0.01"]) == 0
    (point,) = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))["points"]
    # The least share is one candidate of each problem; the same model reads more of them as the first scorer.
    assert point["cascade_scored"] == 1.0
    assert 0 < point["cascade_tokens"] <= point["scorer_tokens"]
    assert 0 < point["cascade_flops"] <= point["scorer_flops"]
    assert "| cascade FLOPs |" in (tmp_path / "out/results.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("key", ["scorer", "cascade.scorer"])
def test_a_scorer_of_any_class_with_score_steps_is_given_in_the_file(
    key: str, command: list[str], models: Path, tmp_path: Path
) -> None:
    """Its method is annotated otherwise than the protocol's, as those of all models of the package are."""
    own = f"{{class_path: erprm.models.AdaptedRewardModel, init_args: {{backbone: {models / 'prm'}}}}}"
    config = Path(command[-1])
    text = config.read_text(encoding="utf-8")
    if key == "scorer":
        text = text.replace(f"scorer: {models / 'prm'}\n", f"scorer: {own}\n")
    else:
        text += f"cascade: {{scorer: {own}}}\n"
    config.write_text(text, encoding="utf-8")
    assert main(command) == 0
    (point,) = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))["points"]
    assert point["scorer_flops"] > 0


def test_a_policy_saved_with_another_step_format_than_the_scorer_s_is_refused(
    command: list[str], models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = json.loads((models / "prm/step_format.json").read_text(encoding="utf-8"))
    other = models / "my-llama/step_format.json"
    other.write_text(json.dumps({**saved, "separator": "\n"}), encoding="utf-8")
    try:
        assert main(command) == 1
    finally:
        other.unlink()
    message = capsys.readouterr().err
    assert f"the step format of model {str(models / 'my-llama')!r}" in message
    assert "and that of scorer differ: separator: '\\n' and ''" in message


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--methods={beams: {class_path: erprm.search.BeamSearch, init_args: {width: 0}}}", "width is 0; it must be"),
        ("--methods={r: {class_path: erprm.search.StepRejection, init_args: {threshold: 2}}}", "threshold is 2"),
        ("--methods={p: {class_path: erprm.search.ParticleSearch, init_args: {eta: .inf}}}", "eta is inf; it must be"),
        ("--methods={d: {class_path: erprm.search.DVTS, init_args: {expansions: 0}}}", "expansions is 0; it must be"),
        ("--methods={a: {class_path: erprm.search.AdaptiveN, init_args: {confidence: 0.2}}}", "confidence is 0.2; it"),
        ("--methods={a: {class_path: erprm.search.AdaptiveN, init_args: {vote: best}}}", "majority"),
        ("--methods={beams: {class_path: erprm.search.BeamSearch, init_args: {widht: 2}}}", "widht"),
        ("--methods={l: {class_path: erprm.search.LookAhead, init_args: {depth: 0}}}", "depth is 0; it must be"),
        ("--cascade={scorer: prm, keep: 2}", "cascade.keep is 2.0; it must be above 0 and at most 1"),
        ("--cascade={scorer: prm, kep: 0.5}", "kep"),
        ("--cascade={keep: 0.5}", "scorer"),
        ("--budgets=[7]", "budgets holds 7; a budget must be at least max_tokens (24)"),
    ],
)
def test_the_command_names_what_is_wrong_with_a_setting(
    command: list[str], argument: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_status:
        main([*command, argument])
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err


def test_a_search_is_named_in_the_table_or_by_its_import_path(make_config: Callable[..., SearchConfig]) -> None:
    named = {"a": "beam", "b": "erprm.search.StepRejection", "c": BestOfNSearch(3)}
    assert make_config(methods=named).searches == {"a": BeamSearch(), "b": StepRejection(), "c": BestOfNSearch(3)}
    short = {"p": "particles", "d": "dvts", "n": "adaptive_n", "l": "look_ahead"}
    made = {"p": ParticleSearch(), "d": DVTS(), "n": AdaptiveN(), "l": LookAhead()}
    assert make_config(methods=short).searches == made
    with pytest.raises(ValueError, match=r"methods\.a is 'beem'; it must be one of best_of_n, .*did you mean 'beam'\?"):
        make_config(methods={"a": "beem"})
    with pytest.raises(ValueError, match=r"methods\.a needs search\(budget\); PromptFormat has none"):
        make_config(methods={"a": "erprm.rollout.PromptFormat"})
    with pytest.raises(ValueError, match=r"methods\.a: 'erprm\.search\.Budget' cannot be made without arguments"):
        make_config(methods={"a": "erprm.search.Budget"})


def test_every_default_method_and_the_help_name_searches_of_the_table() -> None:
    assert set(DEFAULT_METHODS.values()) <= set(SEARCHES)
    section = (SearchConfig.__doc__ or "").partition("methods: ")[2].partition("budgets: ")[0]
    assert all(f"``{name}``" in section for name in SEARCHES)
