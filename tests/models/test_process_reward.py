import json
import math
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from erprm.data import ProcessRewardDataModule
from erprm.data.packing import pack_solutions
from erprm.data.records import write_records
from erprm.losses import step_losses, vocabulary_losses
from erprm.models import ProcessRewardModel
from erprm.steps import Solution, StepFormat
from tests.tiny import assert_same_model, make_record, save_tiny_llama

SOLUTIONS = [
    Solution("What is 3 and 4 more?", ["Step 1: 3 + 4 = 7.", "Step 2: The answer is: 7"]),
    Solution("What is 1?", ["Step 1: 1", "Step 2: 1", "Step 3: 15"]),
    Solution("What is 5 and 5 more?", ["ten"]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("lm"))


@pytest.fixture
def model(folder: Path) -> ProcessRewardModel:
    return ProcessRewardModel.from_pretrained(folder)


def plain_scores(folder: Path, solution: Solution, tag: str = " ки") -> list[float]:
    """The official way: the whole text through a plain causal LM, softmax of the two labels at each tag."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lm = AutoModelForCausalLM.from_pretrained(folder).eval()
    text = solution.question + " " + "".join(step + tag for step in solution.steps)
    input_ids = torch.tensor([tokenizer.encode(text)])
    labels = [tokenizer.encode(label)[-1] for label in (" +", " -")]
    with torch.no_grad():
        scores = lm(input_ids).logits[0][:, labels].softmax(-1)[:, 0]
    return [float(score) for score in scores[input_ids[0] == tokenizer.encode(tag)[-1]]]


def fit(model: L.LightningModule, data: L.LightningDataModule, folder: Path, **settings: object) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,  # type: ignore[arg-type]
    )
    trainer.fit(model, datamodule=data)
    return trainer


def test_loss_is_the_cross_entropy_of_the_two_way_softmax() -> None:
    # softmax of (ln 3, 0) is (3/4, 1/4)
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    expected = [-(0.9 * math.log(0.75) + 0.1 * math.log(0.25)), math.log(2.0)]
    assert step_losses(logits, torch.tensor([0.9, 0.3])).tolist() == pytest.approx(expected, abs=1e-6)


def test_mse_is_the_squared_error_of_the_score() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    assert step_losses(logits, torch.tensor([1.0, 0.3]), "mse").tolist() == pytest.approx([1 / 16, 0.04], abs=1e-6)


def test_the_loss_of_the_vocabulary_is_cross_entropy_against_both_labels() -> None:
    # Probabilities 4/8, 2/8, 1/8, 1/8; the labels are the tokens 1 and 2.
    logits = torch.tensor([[4.0, 2.0, 1.0, 1.0]]).log() + 5.0
    expected = -(0.9 * math.log(2 / 8) + 0.1 * math.log(1 / 8))
    assert vocabulary_losses(logits, torch.tensor([0.9]), (1, 2)).tolist() == pytest.approx([expected], abs=1e-6)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.loss is 'l1'; it must be one of two_way, vocabulary, mse"):
        ProcessRewardModel("somewhere", loss="l1")  # type: ignore[arg-type]


def test_step_scores_equal_a_plain_causal_lm_on_the_whole_text(model: ProcessRewardModel, folder: Path) -> None:
    for solution, scores in zip(SOLUTIONS, model.score_steps(SOLUTIONS), strict=True):
        assert scores.tolist() == pytest.approx(plain_scores(folder, solution), abs=1e-6)


def test_scores_do_not_depend_on_the_row_a_solution_is_packed_into(folder: Path) -> None:
    alone = [score for s in SOLUTIONS for score in ProcessRewardModel.from_pretrained(folder).score_steps([s])]
    for settings in ({"score_max_tokens": 4096}, {"score_max_tokens": 60}, {"score_row_tokens": 60}):
        model = ProcessRewardModel.from_pretrained(folder, **settings)
        for a, b in zip(alone, model.score_steps(SOLUTIONS), strict=True):
            assert a.tolist() == pytest.approx(b.tolist(), abs=1e-6)


def test_only_the_tags_hidden_states_reach_the_output_layer(model: ProcessRewardModel) -> None:
    assert model.backbone is not None
    model.score_steps(SOLUTIONS)  # before its first use a layout is tried out
    seen: list[torch.Size] = []
    model.backbone.get_output_embeddings().register_forward_hook(lambda _m, _i, output: seen.append(output.shape))
    model.score_steps(SOLUTIONS)
    assert [shape[0] for shape in seen] == [6]


def test_the_output_layer_makes_the_logits_of_the_labels_alone(model: ProcessRewardModel) -> None:
    assert model.backbone is not None
    model.score_steps(SOLUTIONS)  # before its first use a layout is tried out
    seen: list[torch.Size] = []
    model.backbone.get_output_embeddings().register_forward_hook(lambda _m, _i, output: seen.append(output.shape))
    model.score_steps(SOLUTIONS)
    assert seen == [(6, 2)]


def test_an_output_layer_with_a_forward_of_its_own_makes_all_logits(model: ProcessRewardModel) -> None:
    assert model.backbone is not None
    expected = model.score_steps(SOLUTIONS)

    class Shifted(torch.nn.Linear):
        def forward(self, hidden: Tensor) -> Tensor:
            return super().forward(hidden) + torch.arange(self.out_features) / 100

    head = model.backbone.get_output_embeddings()
    shifted = Shifted(head.in_features, head.out_features, bias=False)
    shifted.weight = head.weight
    model.backbone.set_output_embeddings(shifted)
    gap = (model.step_encoder.positive_id - model.step_encoder.negative_id) / 100
    for before, after in zip(expected, model.score_steps(SOLUTIONS), strict=True):
        torch.testing.assert_close(after.logit(), before.logit() + gap, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("has_bias", [False, True])
def test_a_tied_or_biased_output_layer_scores_as_a_plain_causal_lm(folder: Path, has_bias: bool) -> None:
    model = ProcessRewardModel.from_pretrained(folder)
    assert model.backbone is not None
    head = model.backbone.get_output_embeddings()
    if has_bias:
        head.bias = torch.nn.Parameter(torch.linspace(-1, 1, head.out_features))
    else:
        head.weight = model.backbone.get_input_embeddings().weight
    (encoded,) = model.step_encoder.encode_batch(SOLUTIONS[:1])
    with torch.no_grad():
        logits = model.backbone(input_ids=torch.tensor([encoded.input_ids])).logits[0, encoded.tag_positions]
    labels = [model.step_encoder.positive_id, model.step_encoder.negative_id]
    torch.testing.assert_close(
        model.score_steps(SOLUTIONS[:1])[0], logits[:, labels].softmax(-1)[:, 0], atol=1e-6, rtol=0.0
    )
    assert "forward" not in vars(head)


def test_packed_gradients_equal_the_sum_of_single_solution_gradients(model: ProcessRewardModel) -> None:
    assert model.backbone is not None
    model.double()
    encoded = [model.step_encoder.encode(solution) for solution in SOLUTIONS]
    labels = [torch.linspace(0.1, 0.9, len(e.tag_positions)).numpy() for e in encoded]

    def gradients(chosen: list[int], row_tokens: int | None = None) -> list[Tensor]:
        batch = pack_solutions(
            [encoded[i].input_ids for i in chosen],
            [encoded[i].tag_positions for i in chosen],
            [labels[i] for i in chosen],
            row_tokens=row_tokens,
        )
        model.zero_grad()
        logits_S2 = model.step_logits(batch)
        difference_S = logits_S2[:, 0] - logits_S2[:, 1]
        torch.nn.functional.binary_cross_entropy_with_logits(
            difference_S, batch.labels.double(), reduction="sum"
        ).backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    singles = [gradients([i]) for i in range(3)]
    for packed in (gradients([0, 1, 2]), gradients([0, 1, 2], row_tokens=60)):
        for whole, *parts in zip(packed, *singles, strict=True):
            torch.testing.assert_close(whole, sum(parts), atol=1e-12, rtol=1e-9)


def test_saved_folder_loads_with_equal_scores_here_and_as_a_plain_causal_lm(
    model: ProcessRewardModel, tmp_path: Path
) -> None:
    before = model.score_steps(SOLUTIONS)
    model.save_pretrained(tmp_path)
    assert {file.suffix for file in tmp_path.iterdir()} <= {".json", ".safetensors", ".jinja"}
    assert_same_model(ProcessRewardModel.from_pretrained(tmp_path), model, SOLUTIONS)
    for solution, scores in zip(SOLUTIONS, before, strict=True):
        assert plain_scores(tmp_path, solution) == pytest.approx(scores.tolist(), abs=1e-6)


def test_added_tokens_grow_the_embedding_and_travel_with_the_folder(tmp_path: Path) -> None:
    folder = save_tiny_llama(tmp_path / "without", with_tags=False)
    model = ProcessRewardModel.from_pretrained(folder, step_format=StepFormat(add_tokens=True))
    assert model.backbone is not None
    (embedding,) = model.backbone.get_input_embeddings().parameters()
    assert len(embedding) == len(model.step_encoder.tokenizer)
    model.save_pretrained(tmp_path / "with")
    again = ProcessRewardModel.from_pretrained(tmp_path / "with")
    assert again.step_format == StepFormat(add_tokens=True)
    assert_same_model(again, model, SOLUTIONS)
    for solution, scores in zip(SOLUTIONS, model.score_steps(SOLUTIONS), strict=True):
        assert plain_scores(tmp_path / "with", solution) == pytest.approx(scores.tolist(), abs=1e-6)


def test_training_on_constant_labels_brings_every_score_to_the_label(folder: Path, tmp_path: Path) -> None:
    records = [make_record(i, [[1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1.0]]) for i in range(40)]
    file = str(tmp_path / "r.parquet")
    write_records(records, file)
    # Validated on what is learned: what a model makes of questions that it has not seen is chance.
    data = ProcessRewardDataModule(file, validation_rollouts=file, eta=0.0, max_tokens=600, cache_dir=str(tmp_path))
    model = ProcessRewardModel(str(folder), optimizer=lambda p: torch.optim.AdamW(p, lr=0.01), scheduler=None)
    # Enough for scores within 0.03 and a loss within 0.003 whatever the seed.
    trainer = fit(model, data, tmp_path, max_epochs=30)
    scores = model.score_steps([Solution("What is 3 and 4 more?", [f"Step {i}: 3 = {i}." for i in (1, 2, 3)])])[0]
    assert scores.tolist() == pytest.approx([0.25, 0.25, 1.0], abs=0.1)
    # The loss of soft labels is bounded below by their entropy: (2 * H(1/4) + H(1)) / 3.
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert trainer.callback_metrics["val/loss"].item() == pytest.approx(2 * entropy / 3, abs=0.03)
    assert trainer.callback_metrics["val/correlation"].item() > 0.95


def test_weights_of_another_step_format_than_the_one_given_are_refused(folder: Path) -> None:
    model = ProcessRewardModel(str(folder), step_format="er_prm")
    saved = StepFormat(separator=" ").to_dict()
    with pytest.raises(ValueError, match=r"separator: ' ' -> ''"):
        model.on_load_checkpoint({"step_format": saved})


def test_weights_saved_before_a_field_was_added_are_taken(folder: Path) -> None:
    saved = StepFormat().to_dict()
    for newer in ("tag_is_token", "chat", "system", "standalone_pieces", "force_bos"):
        del saved[newer]
    ProcessRewardModel(str(folder)).on_load_checkpoint({"step_format": saved})
    # What it did not write was its default.
    with pytest.raises(ValueError, match=r"step_format\.standalone_pieces: False -> True"):
        ProcessRewardModel(str(folder), step_format=StepFormat(standalone_pieces=True)).on_load_checkpoint(
            {"step_format": saved}
        )


def test_a_saved_step_format_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "step_format.json").write_text('{"tags": " T"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"step_format\.json: step_format has no field 'tags'; it has tag, positive"):
        ProcessRewardModel(str(tmp_path))


def test_a_format_without_label_tokens_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ValueError, match=r"model\.step_format has no label tokens: .* two classes of a head"):
        ProcessRewardModel("nowhere", step_format="qwen_prm")


def test_training_on_a_solution_longer_than_the_context_is_refused_before_it_starts(
    folder: Path, tmp_path: Path
) -> None:
    write_records([make_record(1), make_record(2, question="q" * 600), make_record(3)], tmp_path / "r.parquet")
    data = ProcessRewardDataModule(
        str(tmp_path / "r.parquet"), max_length=700, max_tokens=700, validation_fraction=0.3, cache_dir=str(tmp_path)
    )
    message = r"sum/2 \(row 1\) has 6\d\d tokens, but the backbone reads 512: set data\.max_length to at most that"
    with pytest.raises(ValueError, match=message):
        fit(ProcessRewardModel(str(folder)), data, tmp_path, max_epochs=1)


def test_a_solution_longer_than_the_context_is_refused(model: ProcessRewardModel) -> None:
    with pytest.raises(ValueError, match=r"has \d+ tokens; the backbone reads 512"):
        model.score_steps([Solution("q" * 600, ["a"])])


def test_a_backbone_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"backbone: '.*nowhere' does not exist"):
        ProcessRewardModel.from_pretrained(tmp_path / "nowhere")


def test_the_step_format_is_written_beside_the_weights(model: ProcessRewardModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "step_format.json").read_text(encoding="utf-8"))["tag"] == " ки"


class GradientNorm(L.Callback):
    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        self.norm = torch.cat([p.grad.flatten() for p in pl_module.parameters() if p.grad is not None]).norm().item()


def test_a_callback_sees_the_gradient_that_the_optimizer_steps_by(folder: Path, tmp_path: Path) -> None:
    """A step of SGD at a learning rate of 1 moves the weights by the gradient; the batches differ in their steps."""
    records = [make_record(i, [[float(i % 2)]] * (1 + 3 * (i // 3)) + [[1.0]]) for i in range(6)]
    write_records(records, tmp_path / "r.parquet")
    data = ProcessRewardDataModule(
        str(tmp_path / "r.parquet"), eta=0.0, max_tokens=150, max_length=150, cache_dir=str(tmp_path)
    )
    model = ProcessRewardModel(str(folder), optimizer=lambda p: torch.optim.SGD(p, lr=1.0), scheduler=None)
    model.configure_model()
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    callback = GradientNorm()
    fit(model, data, tmp_path, max_steps=1, accumulate_grad_batches=2, callbacks=[callback])
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert callback.norm == pytest.approx((after - before).norm().item(), rel=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", r"step_format\.json: it holds '\[1\]'; it must be a JSON object"),
        ("null", r"step_format\.json: it holds 'None'"),
        ('{"tag": 5}', r"step_format\.json: step_format\.tag is 5"),
        ('{"tag": ', r"step_format\.json: "),
    ],
)
def test_a_damaged_step_format_is_named(text: str, message: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "lm")
    (tmp_path / "lm/step_format.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        ProcessRewardModel(str(tmp_path / "lm"))
