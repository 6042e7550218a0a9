import os
from pathlib import Path

import pytest
import yaml

from erprm.report.page.content import page_content
from erprm.report.page.trainings import flat_settings, read_trainings
from tests.report.page.example_runs import FOOLED, SEEING, small_pool, write_ablation, write_pool_run, write_training


def test_the_training_of_a_run_is_the_one_that_exported_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's model is models/NAME; the folders of the trainings are beside those of the runs."""
    monkeypatch.chdir(tmp_path)
    etas: dict[str, float | str] = {"one": 2.0, "two": "inf"}
    for name, eta in etas.items():
        write_pool_run(tmp_path / name, small_pool(), FOOLED)
        write_training(tmp_path / f"fit-{name}", eta, str(tmp_path / "models" / name))
    runs = page_content(["one", "two", "fit-one", "fit-two"])["runs"]
    assert [(run["name"], run["labels"], run["eta"], run["backbone"]) for run in runs] == [
        ("one", "er", "2", "my-llama"),
        ("two", "er", "inf (hard)", "my-llama"),
        ("fit-one", "er", "2", "my-llama"),
        ("fit-two", "er", "inf (hard)", "my-llama"),
    ]
    assert runs[0]["learning_rate"] == "1e-05"
    assert runs[0]["seed"] == "3"
    assert runs[0]["settings"]["fit: data.eta"] == "2.0"
    assert runs[2]["tested"] is None


def test_without_its_training_a_run_has_its_model_and_its_date_alone(tmp_path: Path) -> None:
    file = write_pool_run(tmp_path / "run", small_pool(), FOOLED) / "results.json"
    os.utime(file, (86_400, 86_400))
    (run,) = page_content([str(tmp_path / "run")])["runs"]
    assert (run["eta"], run["labels"], run["backbone"]) == (None, None, "models/run")
    assert (run["began"], run["tested"]) == (None, "1970-01-02 00:00")


def test_the_eta_among_the_settings_of_a_test_is_not_that_of_the_model(tmp_path: Path) -> None:
    write_pool_run(tmp_path / "run", small_pool(), FOOLED)
    config = {"data": {"class_path": "D", "init_args": {"rollouts": None, "labels": "er", "eta": 1.0}}}
    (tmp_path / "run" / "resolved_config.yaml").write_text(yaml.safe_dump(config))
    content = page_content([str(tmp_path / "run")])
    assert content["trainings"] == []
    assert content["runs"][0]["eta"] is None
    assert content["runs"][0]["settings"]["test: data.eta"] == "1.0"


def test_an_ablation_says_what_its_models_were_trained_on(tmp_path: Path) -> None:
    folders = {
        name: write_pool_run(tmp_path / name, small_pool(), scores)
        for name, scores in {"eta 2": FOOLED, "eta inf": SEEING, "outcome": FOOLED}.items()
    }
    write_ablation(tmp_path, folders)
    write_training(tmp_path / "eta 2" / "fit", 2.0, "elsewhere")
    content = page_content([str(tmp_path)])
    assert [run["eta"] for run in content["runs"]] == ["2", "inf (hard)", None]
    assert [run["backbone"] for run in content["runs"]] == ["my-llama", "models/eta inf", "models/outcome"]
    assert [training["name"] for training in content["trainings"]] == ["eta 2"]


def test_a_folder_with_a_training_alone_is_a_run(tmp_path: Path) -> None:
    write_training(tmp_path / "fit", 2.0, "model")
    (training,) = page_content([str(tmp_path / "fit")])["trainings"]
    assert training["logged"]["train/loss"] == [[0, 1.0], [1, 0.5], [2, 0.25], [3, 0.125]]
    assert training["logged"]["val/loss"] == [[3, 0.75]]
    assert [rate for _, rate in training["logged"]["lr-AdamW"]] == pytest.approx([1e-5, 0.75e-5, 0.5e-5, 0.25e-5])
    assert set(training["logged"]) == {"train/loss", "val/loss", "lr-AdamW"}
    assert [(point["epoch"], point["mean"]) for point in training["validations"]["val"]] == [
        (0, [0.5, 0.5]),
        (1, [0.5, 1.0]),
    ]


def test_of_many_steps_neighbours_are_one_point(tmp_path: Path) -> None:
    rows = [f"0,{step},{step}" for step in range(800)]
    (tmp_path / "metrics.csv").write_text("\n".join(["epoch,step,train/loss", *rows]))
    (training,) = read_trainings("run", tmp_path)
    assert len(training.logged["train/loss"]) == 400
    assert training.logged["train/loss"][:2] == [(1, 0.5), (3, 2.5)]


def test_settings_are_named_by_class_and_secrets_are_left_out() -> None:
    callbacks = [{"class_path": "a.B", "init_args": {"x": 1}}, {"class_path": "a.B"}]
    assert flat_settings({"callbacks": callbacks, "engine": {"api_key": "k", "url": "u"}, "none": None}) == {
        "callbacks[B 1]": "a.B",
        "callbacks[B 1].x": "1",
        "callbacks[B 2]": "a.B",
        "engine.url": "u",
        "none": "null",
    }


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("resolved_config.yaml", "a: [", "is not readable YAML"),
        ("resolved_config.yaml", "- a", "holds a list"),
        ("metrics.csv", "epoch,step,train/loss\n0,0,much", "is not what Lightning's CSVLogger writes"),
        ("best_of_n/val-step=9.json", '{"step": 9}', "is not what BestOfN writes"),
    ],
)
def test_a_file_of_a_training_that_cannot_be_read_is_named(
    tmp_path: Path, file: str, text: str, complaint: str
) -> None:
    path = write_training(tmp_path / "fit", 2.0, "model") / file
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint) as caught:
        page_content([str(tmp_path / "fit")])
    assert str(path) in str(caught.value)
