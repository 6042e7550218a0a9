import subprocess
import sys
from typing import Any

import pytest

from erprm.data.sources import Problem
from erprm.raft import RaftConfig
from erprm.raft.config import SELECTORS
from erprm.raft.selectors import OracleSelector, RandomSelector, RewardModelSelector
from erprm.raft.stages import open_selector
from erprm.rollout import ServerOptions

PROBLEMS = [Problem(f"p/{number}", f"{number}?", str(number), "test") for number in range(10)]


def config(**changes: Any) -> RaftConfig:
    return RaftConfig("policy", "run", **{"scorers": {"er": "prm"}, **changes})


def test_the_defaults_are_the_paper_s() -> None:
    defaults = config()
    assert (defaults.rounds, defaults.solutions_per_problem, defaults.temperature, defaults.epochs) == (3, 16, 1.0, 2)
    assert (defaults.learning_rate, defaults.aggregation, defaults.selector) == (5e-7, "min", "er")
    assert (defaults.importance_cap, defaults.patience) == (None, None)


def test_the_learning_rate_falls_by_one_part_of_the_rounds_in_each() -> None:
    assert [config(learning_rate=6e-7).round_learning_rate(i) for i in (1, 2, 3)] == pytest.approx([6e-7, 4e-7, 2e-7])
    assert [config(learning_rate=1.0, rounds=4).round_learning_rate(i) for i in (1, 2, 3, 4)] == [1.0, 0.75, 0.5, 0.25]


def test_rounds_have_slices_of_their_own_that_the_seed_decides() -> None:
    slices = [config().slice_of(PROBLEMS, number) for number in (1, 2, 3)]
    assert [len(part) for part in slices] == [3, 3, 4]
    assert {problem.problem_id for part in slices for problem in part} == {f"p/{i}" for i in range(10)}
    assert slices == [config().slice_of(PROBLEMS, number) for number in (1, 2, 3)]
    assert slices != [config(seed=1).slice_of(PROBLEMS, number) for number in (1, 2, 3)]
    given = [config(prompts_per_round=4).slice_of(PROBLEMS, number) for number in (1, 2, 3)]
    assert [len(part) for part in given] == [4, 4, 2]


def test_a_round_without_a_prompt_is_refused() -> None:
    complaint = r"round 3 of 3 has no prompt: there are 10 problem\(s\), and prompts_per_round is 5. Give more problems"
    with pytest.raises(ValueError, match=complaint):
        config(prompts_per_round=5).slice_of(PROBLEMS, 3)
    complaint = r"round 1 of 3 has no prompt: there are 2 problem\(s\), and prompts_per_round is None"
    with pytest.raises(ValueError, match=complaint):
        config().slice_of(PROBLEMS[:2], 1)


def test_rounds_and_purposes_sample_from_streams_of_their_own() -> None:
    run = config()
    seeds = {how.seed for number in (1, 2, 3) for how in (run.sampling(number), run.evaluation_sampling(number))}
    assert len(seeds) == 6
    assert run.sampling(1) == config().sampling(1)
    # The KL divergence is that of the whole distributions, whatever solutions are sampled from.
    assert (config(top_p=0.9).sampling(1).top_p, config(top_p=0.9).evaluation_sampling(1).top_p) == (0.9, 1.0)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"selector": "soft"}, "selector is 'soft'; it must be one of er, random, oracle"),
        ({"scorers": {}}, "selector is 'er'; it must be one of random, oracle: a name in scorers, such as"),
        (
            {"scorers": {"random": "prm"}},
            "scorers has the name 'random', which is the name of a selector without a model",
        ),
        ({"evaluation_scorer": "x"}, "evaluation_scorer is 'x'; it must be null or a name in scorers, which has er"),
        ({"rounds": 0}, "rounds is 0; it must be at least 1"),
        ({"prompts_per_round": 0}, "prompts_per_round is 0; it must be at least 1"),
        ({"keep_rounds": 0}, "keep_rounds is 0; it must be at least 1"),
        ({"patience": 0}, "patience is 0; it must be at least 1"),
        ({"best_by": "kl"}, "best_by is 'kl'; it must be one of pass_at_1, greedy"),
        ({"importance_cap": 0.5}, "importance_cap is 0.5; it must be null or a finite number of at least 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be a finite number above 0"),
        ({"temperature": 0.0}, "temperature is 0; RAFT chooses among samples that differ"),
        ({"correct_threshold": 2.0}, "correct_threshold is 2.0; it must be above 0 and at most 1"),
        ({"style": "verses"}, "style"),
        ({"grading": "nowhere"}, "grading: got 'nowhere'"),
        ({"engine": "openai"}, "server.base_url must name the server"),
        ({"engine": "vllm", "device": "cpu"}, "with engine=vllm it must stay auto"),
    ],
)
def test_a_setting_that_cannot_be_is_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        config(**changes)


def test_a_scorer_is_looked_at_for_evaluations_only_if_there_is_one() -> None:
    assert config().used_scorer == "er"
    assert config(selector="random").used_scorer is None
    assert config(selector="oracle", evaluation_scorer="er").used_scorer == "er"
    assert config(engine="openai", server=ServerOptions("http://localhost:1/v1")).used_scorer == "er"


def test_the_configuration_loads_no_torch() -> None:
    command = "import sys; from erprm.raft import RaftConfig; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", command], check=True)


def test_a_selector_of_ones_own_stands_in_the_place_of_a_name() -> None:
    setting = {"class_path": "tests.raft.sums.SumScorer"}
    for selector in (setting, "tests.raft.sums.SumScorer"):
        made = config(selector=selector)
        assert made.scorer_settings == {"er": "prm", "selector": setting}
        assert made.selector_name == made.used_scorer == "selector"
        with open_selector(made, made.selector_name) as opened:
            assert isinstance(opened, RewardModelSelector)
    assert config().scorer_settings == {"er": "prm"}
    with pytest.raises(ValueError, match=r"selector is 'orcale'; it must be one of er, random, oracle: .*did you mean"):
        config(selector="orcale")
    with pytest.raises(ValueError, match="scorers has the name 'selector'"):
        config(scorers={"er": "prm", "selector": "prm"})


def test_the_help_of_the_key_names_every_selector_without_a_model() -> None:
    section = (RaftConfig.__doc__ or "").partition("selector: ")[2].partition("scorers: ")[0]
    assert all(f"``{name}``" in section for name in SELECTORS)


@pytest.mark.parametrize(("name", "kind"), [("random", RandomSelector), ("oracle", OracleSelector)])
def test_a_selector_without_a_model_is_opened_from_the_table(name: str, kind: type) -> None:
    with open_selector(config(selector=name), name) as opened:
        assert isinstance(opened, kind)
