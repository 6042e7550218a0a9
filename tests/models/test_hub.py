"""Models are pushed to, and read from, a stand-in for the hub on loopback."""

import hashlib
from pathlib import Path
from typing import Any

import huggingface_hub.constants as hub
import pytest
import torch

from erprm.cli import main
from erprm.errors import InputError
from erprm.models import AdaptedRewardModel, ProcessRewardModel
from erprm.models.hub import HubError, open_repository, upload
from erprm.models.model_card import Publication, model_card, read_curves
from erprm.runs.atomic import write_json
from erprm.steps import Solution, StepFormat
from tests.hub_server import OTHERS, TOKEN, HubServer, hub_server
from tests.tiny import save_tiny_llama

SOLUTION = Solution("What is 3 and 4 more?", ["3 + 4 = 7.", "The answer is: 7"])
# Not the preset that a model without a saved format gets.
STEP_FORMAT = StepFormat(separator="\n\n")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> HubServer:
    return hub_server(monkeypatch, tmp_path / "cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ProcessRewardModel:
    folder = tmp_path_factory.mktemp("model") / "llama"
    save_tiny_llama(folder)
    return ProcessRewardModel.from_pretrained(folder, step_format=STEP_FORMAT)


@pytest.fixture
def saved(model: ProcessRewardModel, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "prm")
    return tmp_path / "prm"


def test_a_pushed_model_is_read_by_its_name_with_its_step_format(
    server: HubServer, saved: Path, model: ProcessRewardModel
) -> None:
    open_repository("team/prm")
    assert upload(saved, "team/prm") == f"{server.url}/team/prm"
    assert set(server.files["team/prm"]) == {".gitattributes", *(file.name for file in saved.iterdir())}
    again = ProcessRewardModel.from_pretrained("team/prm")
    assert again.step_format == STEP_FORMAT
    assert torch.equal(again.score_steps([SOLUTION])[0], model.score_steps([SOLUTION])[0])


def test_an_upload_that_failed_goes_on_without_the_weights_that_arrived(server: HubServer, saved: Path) -> None:
    open_repository("team/prm")
    server.failing_commits = 1
    with pytest.raises(HubError, match=r"prm is whole, but its upload to team/prm failed; the same again .* 400"):
        upload(saved, "team/prm")
    assert list(server.files["team/prm"]) == [".gitattributes"]
    upload(saved, "team/prm")
    weights = (saved / "model.safetensors").read_bytes()
    assert server.sent == [hashlib.sha256(weights).hexdigest()]
    assert server.files["team/prm"]["model.safetensors"] == weights


def test_weights_of_an_earlier_upload_are_replaced(server: HubServer, saved: Path) -> None:
    server.files["team/prm"] = {"step_format.json": b"{}", "model-00001-of-00002.safetensors": b"", "notes.md": b""}
    open_repository("team/prm")
    upload(saved, "team/prm")
    assert "model-00001-of-00002.safetensors" not in server.files["team/prm"]
    assert {"notes.md", "model.safetensors"} < set(server.files["team/prm"])


@pytest.mark.parametrize("name", ["prm", "team/prm/one", "team/", "../prm", "team/my prm"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"is no name of a repository; it must be ORG/NAME"):
        open_repository(name)


def test_a_missing_token_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(hub, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(InputError, match="no token of the hub is set"):
        open_repository("team/prm")


@pytest.mark.parametrize(
    ("token", "owner", "message"),
    [("hf_wrong", "team", r"401 \(the token is refused\)"), (TOKEN, OTHERS, r"403 \(the token may not write there\)")],
)
def test_what_the_hub_refuses_is_told(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, token: str, owner: str, message: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(HubError, match=f"push: {owner}/prm: status {message}"):
        open_repository(f"{owner}/prm")


def test_a_hub_that_cannot_be_reached_is_told(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubError, match="the hub cannot be reached"):
        open_repository("team/prm")


def test_a_repository_with_other_content_is_refused(server: HubServer) -> None:
    server.files["team/data"] = {".gitattributes": b"", "weights.bin": b"1"}
    with pytest.raises(InputError, match=r"team/data holds other content \(weights.bin\)"):
        open_repository("team/data")


# The card. ------------------------------------------------------------------------------------------------------------

TRAINED_ON = {"data.labels": "er", "data.eta": 2.0, "hash of data.rollouts": "0123456789abcdef"}


def results(folder: Path) -> Path:
    curve = {"n": [1, 2], "mean": [0.5, 0.899], "low": [0.4, 0.862], "high": [0.6, 0.931]}
    (folder / "gsm8k").mkdir(parents=True)
    write_json({"methods": {"bon": curve}}, folder / "gsm8k/results.json")
    return folder / "gsm8k/results.json"


def test_the_card_says_what_the_model_was_made_from_and_how_good_it_is(
    model: ProcessRewardModel, tmp_path: Path
) -> None:
    curves = read_curves([results(tmp_path)])
    card = model_card(model, Publication("team/prm", TRAINED_ON, curves, "apache-2.0"))
    assert card.startswith('---\nlibrary_name: "transformers"\ntags: ["process-reward-model", ')
    assert 'license: "apache-2.0"\n---\n\n# prm\n' in card
    for cell in ("0123456789abcdef", "| eta", "2.0", "| base model | llama |", "89.9 [86.2, 93.1]", "gsm8k"):
        assert cell in card


def test_a_file_that_holds_no_results_is_named(tmp_path: Path) -> None:
    write_json({"other": 1}, tmp_path / "results.json")
    with pytest.raises(InputError, match=r"results.json is no results.json of best-of-n"):
        read_curves([tmp_path / "results.json"])
    with pytest.raises(InputError, match=r"none.json cannot be read: No such file or directory"):
        read_curves([tmp_path / "none.json"])


def test_what_is_for_the_card_alone_is_refused_without_one(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [f"--model.backbone={saved}", "--ckpt_path=any.ckpt", f"--output={tmp_path}/out"]
    for more in ("--licence=mit", "--results=results.json"):
        with pytest.raises(SystemExit) as ended:
            main(["export", *keys, more])
        assert ended.value.code == 2
        assert "licence and results are for the card of a model that is uploaded" in capsys.readouterr().err


@pytest.mark.parametrize("to", ["hf", "token-classification"])
def test_the_export_command_pushes_a_model_whose_snippets_give_its_scores(
    to: str,
    server: HubServer,
    model: ProcessRewardModel,
    saved: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = {"state_dict": model.state_dict(), "step_format": STEP_FORMAT.to_dict()}
    torch.save({**checkpoint, "Data": {"identity": TRAINED_ON}}, tmp_path / "trained.ckpt")
    keys = [f"--model.backbone={saved}", f"--ckpt_path={tmp_path}/trained.ckpt", f"--output={tmp_path}/out"]
    more = [f"--to={to}", "--push=team/prm", "--licence=mit", f"--results={results(tmp_path)}"]
    assert main(["export", *keys, *more]) == 0
    assert f"uploaded to {server.url}/team/prm" in capsys.readouterr().out
    card = server.files["team/prm"]["README.md"].decode()
    assert "0123456789abcdef" in card
    assert "89.9 [86.2, 93.1]" in card
    plain, _, ours = [block.partition("\n```")[0] for block in card.split("```python\n")[1:]]
    names: dict[str, Any] = {}
    exec(compile(plain, "card", "exec"), names)
    (scores,) = model.score_steps([SOLUTION])
    logits = names["logits"]
    if to == "hf":
        encoder = model.step_encoder
        logits = logits[:, [encoder.negative_id, encoder.positive_id]]
    torch.testing.assert_close(logits.softmax(-1)[:, 1], scores)
    exec(compile(ours, "card", "exec"), names)
    assert isinstance(names["model"], ProcessRewardModel if to == "hf" else AdaptedRewardModel)
    torch.testing.assert_close(names["scores"], scores)
