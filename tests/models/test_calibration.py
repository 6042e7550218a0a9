"""A calibration beside a model: fitted by the command, applied by every scorer that is asked to, refused elsewhere."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from erprm.cli import main
from erprm.errors import InputError
from erprm.models import AdaptedRewardModel, HTTPStepScorer, ProcessRewardModel, ScorerModule
from erprm.models.checkpoint_weights import load_weights
from erprm.models.identity import model_identity, scorer_identity
from erprm.models.scorers.opening import named_scorer, opened_scorer
from erprm.models.two_class import save_token_classifier
from erprm.raft.selectors import scorer_key
from erprm.reward_fn import ProcessReward
from erprm.runs.identity import model_key
from erprm.scoring import ScorerError
from erprm.search.config import SearchConfig
from erprm.steps import Solution
from tests.failing_server import failing_servers
from tests.models.scorers.test_http import position_over_1000
from tests.tiny import save_tiny_llama

QUESTION, STEPS = "What is 3 and 4 more?", ["3 + 4 = 7.", "The answer is: 7"]
SOLUTION = Solution(QUESTION, STEPS)
# Of 0.5 it makes 1/4, and it rises: the scores of a random model are all near 0.5.
PLATT = {"method": "platt", "parameters": {"slope": 1.0, "intercept": -1.0986122886681098}}


def by_hand(scores: Tensor) -> Tensor:
    """The odds divided by 3."""
    return scores / (3 - 2 * scores)


@pytest.fixture(scope="module")
def prm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated") / "prm"
    save_tiny_llama(folder.parent / "lm")
    ProcessRewardModel.from_pretrained(folder.parent / "lm").save_pretrained(folder)
    data = labelled(folder.parent / "labelled.jsonl")
    assert main(["calibrate", "--model", str(folder), "--data", str(data), "--method", "isotonic"]) == 0
    return folder


@pytest.fixture(scope="module")
def plain(prm: Path) -> Tensor:
    (scores,) = AdaptedRewardModel.from_pretrained(prm).score_steps([SOLUTION])
    return scores


@pytest.fixture(scope="module")
def platt(prm: Path) -> Path:
    """The calibration of the odds divided by 3, for the model."""
    return write_calibration(prm, prm.parent / "platt.json")


def labelled(file: Path, problems: int = 12) -> Path:
    """Labels by chance, as ProcessBench writes them."""
    draw = random.Random(0)
    rows = [
        {"id": str(i), "problem": f"What is {i}?", "steps": STEPS, "label": draw.choice([-1, 0, 1])}
        for i in range(problems)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def write_calibration(prm: Path, file: Path) -> Path:
    content = json.loads((prm / "calibration.json").read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **PLATT}), encoding="utf-8")
    return file


def test_the_file_says_what_was_fitted_to_what(prm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads((prm / "calibration.json").read_text(encoding="utf-8"))
    assert content["method"] == "isotonic"
    assert content["parameters"]["scores"] == sorted(content["parameters"]["scores"])
    assert content["model"]["name"] == str(prm)
    assert (content["problems"], content["solutions"], content["too_long"]) == (12, 12, 0)
    assert content["cross_fitted"]["folds"] == 5
    for when in ("before", "after", "change"):
        losses = content["cross_fitted"][when]
        assert losses.keys() == {"log_loss", "brier", "calibration_error"}
        assert all(loss.keys() == {"mean", "low", "high"} for loss in losses.values())


def labelled_by_score(prm: Path, file: Path, *, rising: bool) -> Path:
    """Steps that are right where the model scores them high, or low."""
    solutions = [Solution(f"What is {i}?", [f"It is {i}."]) for i in range(40)]
    scores = torch.cat(AdaptedRewardModel.from_pretrained(prm).score_steps(solutions))
    rows = [
        {"id": str(i), "problem": each.question, "steps": each.steps, "label": -1 if is_right else 0}
        for i, (each, is_right) in enumerate(
            zip(solutions, (scores > scores.median()).eq(rising).tolist(), strict=True)
        )
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_the_best_method_is_written_if_it_makes_scores_better(
    prm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["calibrate", "--model", str(prm), "--output", str(tmp_path / "own.json"), "--data"]
    assert main([*command, str(labelled_by_score(prm, tmp_path / "rising.jsonl", rising=True))]) == 0
    content = json.loads((tmp_path / "own.json").read_text(encoding="utf-8"))
    assert content["cross_fitted"]["change"]["log_loss"]["mean"] < -0.1
    capsys.readouterr()
    main([*command, str(labelled_by_score(prm, tmp_path / "falling.jsonl", rising=False))])
    output = capsys.readouterr().out
    for method in ("temperature", "platt", "beta"):
        assert f"{method} is left out: the labels of 32 steps do not rise with their scores" in output
    assert "isotonic is left out" not in output


def test_only_a_calibration_is_written_over_and_problems_are_counted_before_they_are_scored(
    prm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = labelled(tmp_path / "labelled.jsonl", problems=3)
    weights = (prm / "model.safetensors").read_bytes()
    for output, message in (
        (prm / "model.safetensors", "is there, and no calibration; give another file"),
        (prm, "is a folder; it must be a file"),
        (tmp_path / "own.json", "has labelled steps of 3 problem(s), fewer than folds=5"),
    ):
        assert main(["calibrate", "--model", str(prm), "--data", str(data), "--output", str(output)]) == 1
        assert message in capsys.readouterr().err
    assert (prm / "model.safetensors").read_bytes() == weights


def test_scores_are_calibrated_on_request_only(prm: Path, platt: Path, plain: Tensor) -> None:
    (scores,) = AdaptedRewardModel.from_pretrained(prm, calibration=str(platt)).score_steps([SOLUTION])
    torch.testing.assert_close(scores, by_hand(plain))
    (beside,) = ProcessRewardModel.from_pretrained(prm, calibration="auto").score_steps([SOLUTION])
    corners = json.loads((prm / "calibration.json").read_text(encoding="utf-8"))["parameters"]["values"]
    assert all(corners[0] <= float(score) <= corners[-1] for score in beside)
    assert not torch.equal(beside, plain)


def test_a_calibration_of_probabilities_is_not_applied_to_beliefs(prm: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.score_eta is -2, and model\.calibration is that of P\(good\)"):
        AdaptedRewardModel.from_pretrained(prm, calibration="auto", score_eta=-2.0)


def test_commands_and_rewards_take_a_calibration(
    prm: Path, platt: Path, plain: Tensor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"question": QUESTION, "steps": STEPS}) + "\n", encoding="utf-8")
    command = ["score", "--model", str(prm), "--calibration", str(platt), "--aggregation", "prod"]
    assert main([*command, "--jsonl", str(source), str(output)]) == 0
    row = json.loads(output.read_text(encoding="utf-8"))
    expected = by_hand(plain)
    assert row["step_scores"] == pytest.approx(expected.tolist())
    assert row["score"] == pytest.approx(float(expected.prod()))

    reward = ProcessReward(str(prm), device="cpu", aggregation="mean", calibration=str(platt))
    assert reward([QUESTION], ["\n".join(STEPS)]) == pytest.approx([float(expected.mean())])
    with opened_scorer(named_scorer(str(prm), str(platt)), torch.device("cpu")) as scorer:
        torch.testing.assert_close(scorer.score_steps([SOLUTION])[0], expected)


@pytest.fixture
def served(prm: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """URL and folder of a token classifier."""
    pytest.importorskip("openai", reason="needs the extra openai")
    folder = tmp_path / "served"
    save_token_classifier(ProcessRewardModel.from_pretrained(prm), folder)
    with failing_servers() as start:
        yield start(position_over_1000, root=str(folder), max_model_len=512).url, folder


def test_a_served_model_is_calibrated_with_what_lies_in_its_folder(
    served: tuple[str, Path], platt: Path, tmp_path: Path
) -> None:
    url, folder = served
    data = labelled(tmp_path / "labelled.jsonl")
    with pytest.raises(InputError, match=r"has no calibration.json; make it with erprm calibrate"):
        HTTPStepScorer(url, calibration="auto")
    assert main(["calibrate", "--model", url, "--data", str(data), "--method", "isotonic"]) == 1
    own = ["--output", str(folder / "calibration.json")]
    assert main(["calibrate", "--model", url, "--data", str(data), "--method", "isotonic", *own]) == 0
    write_calibration(folder, folder / "calibration.json")
    (plain,) = HTTPStepScorer(url).score_steps([SOLUTION])
    (scores,) = HTTPStepScorer(url, calibration="auto").score_steps([SOLUTION])
    torch.testing.assert_close(scores, by_hand(plain))
    # The exported model has other weight files than the one that it was made of.
    with pytest.raises(ScorerError, match="is not the calibration of"):
        HTTPStepScorer(url, calibration=str(platt)).score_steps([SOLUTION])


def test_searches_take_a_calibration_for_a_scorer_by_its_name(prm: Path) -> None:
    config = SearchConfig(model="my-llama", output_dir="out", scorer=str(prm), calibration="auto")
    assert config.calibration == "auto"
    with pytest.raises(ValueError, match=r"calibration is for a scorer by its name; give it in scorer.init_args"):
        SearchConfig(model="my-llama", output_dir="out", scorer=AdaptedRewardModel(str(prm)), calibration="auto")


def test_the_calibration_of_another_model_is_refused(
    prm: Path, platt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(prm, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ScorerError, match=r"calibration.json: is not the calibration of .*: the weights are others"):
        ProcessRewardModel.from_pretrained(other, calibration="auto").score_steps([SOLUTION])
    scorer = named_scorer(str(other), str(platt))
    with pytest.raises(ScorerError, match="weights"), opened_scorer(scorer, torch.device("cpu")):
        pass
    with pytest.raises(ScorerError, match="the step format is another"):
        AdaptedRewardModel.from_pretrained(prm, step_format={"separator": " "}, calibration=str(platt)).score_steps(
            [SOLUTION]
        )
    # A copy is the same model, under whatever name.
    copy = shutil.copytree(prm, tmp_path / "copy")
    ProcessRewardModel.from_pretrained(copy, calibration="auto").score_steps([SOLUTION])


def test_weights_that_change_have_no_calibration(prm: Path, platt: Path, tmp_path: Path) -> None:
    model = ProcessRewardModel(str(prm), calibration=str(platt))
    model.configure_model()
    checkpoint = tmp_path / "last.ckpt"
    torch.save({"state_dict": model.state_dict()}, checkpoint)
    with pytest.raises(InputError, match="a checkpoint brings other weights"):
        load_weights(model, checkpoint)
    with pytest.raises(InputError, match="training changes the weights"):
        model.on_fit_start()


def test_a_calibration_is_part_of_what_scores_are_determined_by_where_it_is_used(
    prm: Path, platt: Path, tmp_path: Path
) -> None:
    plain, calibrated = (
        scorer_identity(ProcessRewardModel.from_pretrained(prm, calibration=setting), "scorer")
        for setting in (None, str(platt))
    )
    assert calibrated == {**plain, "calibration": PLATT}
    assert "calibration" not in plain
    # One that lies beside a model and is not used changes nothing.
    bare = shutil.copytree(prm, tmp_path / "bare")
    key = model_key(str(bare))
    (bare / "calibration.json").unlink()
    assert model_key(str(bare)) == key


def test_a_raft_run_knows_its_scorers_by_their_calibration(prm: Path, platt: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(platt, tmp_path / "own.json"))

    def key(**arguments: Any) -> str:
        return scorer_key({"class_path": "erprm.models.AdaptedRewardModel", "init_args": arguments})

    first = key(backbone=str(prm), calibration=str(file))
    assert first != key(backbone=str(prm))
    file.write_text(file.read_text(encoding="utf-8").replace("1.0986", "1.0987"), encoding="utf-8")
    assert key(backbone=str(prm), calibration=str(file)) != first


def test_a_scorer_module_says_what_its_scorer_is_calibrated_by(prm: Path, platt: Path) -> None:
    scorer = AdaptedRewardModel.from_pretrained(prm, calibration=str(platt))
    assert model_identity(ScorerModule(scorer))["calibration"] == PLATT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "holds no calibration, as erprm calibrate writes it"),
        ("[]", "holds no calibration, as erprm calibrate writes it"),
        ('{"method": "platt"}', "lacks 'parameters'"),
        (
            '{"method": "platt", "parameters": {}, "model": "prm"}',
            "it must be an object of JSON, and so must its model",
        ),
        ('{"method": "platt", "parameters": {"slope": 1}}', "has the parameters slope, intercept; found slope"),
    ],
)
def test_a_file_that_is_no_calibration_is_told_before_weights_are_loaded(
    prm: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "own.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=f"own.json: .*{message}"):
        AdaptedRewardModel(str(prm), calibration=str(tmp_path / "own.json"))
    with pytest.raises(InputError, match=r"calibration: 'no.json' is not a file; it must be one, or auto"):
        AdaptedRewardModel(str(prm), calibration="no.json")
