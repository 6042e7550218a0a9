"""Tests of the choice of an adapter for a checkpoint, and of the message when none fits."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from erprm.cli.score import ScoreConfig
from erprm.data.packing import StepBatch
from erprm.models import AdaptedRewardModel, ProcessRewardModel
from erprm.models.adapters import ADAPTERS, AdapterError, LabelTokenAdapter, choose_adapter
from erprm.models.backbone.loading import BackboneError
from erprm.models.two_class import save_token_classifier
from erprm.steps import Solution, StepFormatError
from tests.models.adapters.checkpoints import MAKE, causal_lm, change_config, qwen_prm, tiny_tokenizer, token_classifier
from tests.steps.real_tokenizers import CHATML
from tests.tiny import assert_same_model, make_tokenizer

SOLUTION = Solution("What is 3 and 4 more?", ["3 + 4 = 7.", "The answer is: 7"])


def config_only(folder: Path, architecture: str, **fields: Any) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture], **fields}))
    return str(folder)


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("Qwen2ForProcessRewardModel", "qwen_prm"),
        ("Qwen2ForTokenClassification", "trl"),
        ("LlamaForTokenClassification", "trl"),
    ],
)
def test_an_architecture_of_one_adapter_is_told_by_the_configuration_alone(
    tmp_path: Path, architecture: str, name: str
) -> None:
    choice = choose_adapter(config_only(tmp_path, architecture))
    assert (choice.name, choice.reason) == (name, f"config.json names {architecture}")
    assert choice.step_format == ADAPTERS[name].step_format


@pytest.mark.parametrize(
    ("published", "name"),
    [
        ("HanningZhang/Llama3.1-Math-PRM", "er_prm"),
        ("peiyi9979/math-shepherd-mistral-7b-prm", "math_shepherd"),
        ("RLHFlow/Llama3.1-8B-PRM-Mistral-Data", "rlhflow"),
        ("RLHFlow/Llama3.1-8B-PRM-Deepseek-Data", "rlhflow"),
    ],
)
def test_published_language_models_are_told_by_their_name(tmp_path: Path, published: str, name: str) -> None:
    choice = choose_adapter(config_only(tmp_path / published, "LlamaForCausalLM"))
    assert (choice.name, choice.reason) == (name, f"it is named {published.partition('/')[2].lower()}")


def test_what_this_package_saved_is_read_with_its_own_step_format(tmp_path: Path) -> None:
    causal_lm(tmp_path / "base", tiny_tokenizer())
    model = ProcessRewardModel.from_pretrained(tmp_path / "base", step_format="math_shepherd")
    model.save_pretrained(tmp_path / "math-shepherd-mistral-7b-prm")
    adapted = AdaptedRewardModel.from_pretrained(tmp_path / "math-shepherd-mistral-7b-prm")
    assert (adapted.choice.name, adapted.choice.reason) == ("erprm", "there is a step format in step_format.json")
    assert_same_model(adapted, model, [SOLUTION])


def test_what_this_package_exported_as_a_token_classifier_scores_the_same(tmp_path: Path) -> None:
    causal_lm(tmp_path / "base", tiny_tokenizer())
    model = ProcessRewardModel.from_pretrained(tmp_path / "base")
    save_token_classifier(model, tmp_path / "classifier")
    adapted = AdaptedRewardModel.from_pretrained(tmp_path / "classifier")
    assert (adapted.choice.name, adapted.choice.head) == ("erprm", "two_classes")
    torch.testing.assert_close(adapted.score_steps([SOLUTION]), model.score_steps([SOLUTION]))


@pytest.mark.parametrize("name", ["qwen_prm", "trl"])
def test_an_adapted_model_is_saved_and_found_again(tmp_path: Path, name: str) -> None:
    MAKE[name](tmp_path / "theirs", tiny_tokenizer())
    model = AdaptedRewardModel.from_pretrained(tmp_path / "theirs", step_format={"first_separator": " "})
    model.save_pretrained(tmp_path / "saved")
    again = AdaptedRewardModel.from_pretrained(tmp_path / "saved")
    assert again.choice.name == "erprm"
    assert_same_model(again, model, [SOLUTION])


# Errors ---------------------------------------------------------------------------------------------------------------


def test_an_unknown_adapter_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(
        AdapterError, match=r"adapter is 'qwen'; it must be one of auto, er_prm, .*, qwen_prm, trl, erprm"
    ):
        choose_adapter(config_only(tmp_path, "LlamaForCausalLM"), "qwen")


def test_a_language_model_of_another_name_is_not_guessed_at(tmp_path: Path) -> None:
    causal_lm(tmp_path, tiny_tokenizer())
    with pytest.raises(
        AdapterError, match=r"auto cannot tell .* LlamaForCausalLM.* fits er_prm, math_shepherd, rlhflow"
    ):
        choose_adapter(str(tmp_path))
    tokenizer = make_tokenizer(with_tags=False)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=r"its tokenizer fits rlhflow$"):
        choose_adapter(str(tmp_path))


def test_a_language_model_without_any_of_the_tokens_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    causal_lm(tmp_path, make_tokenizer(with_tags=False))
    with pytest.raises(
        AdapterError, match=r"no adapter fits .* er_prm: step_format\.tag ' ки' is \d tokens .* no chat template"
    ):
        choose_adapter(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("math_shepherd", r"step_format\.tag ' ки' is \d tokens .* of tokenizer '.*'"),
        ("rlhflow", r"has no chat template"),
    ],
)
def test_a_named_adapter_whose_tokens_are_missing_is_refused(tmp_path: Path, name: str, message: str) -> None:
    causal_lm(tmp_path, make_tokenizer(with_tags=False))
    with pytest.raises(StepFormatError, match=message):
        AdaptedRewardModel.from_pretrained(tmp_path, adapter=name)


def test_missing_label_tokens_are_named(tmp_path: Path) -> None:
    causal_lm(tmp_path, tiny_tokenizer())
    with pytest.raises(StepFormatError, match=r"step_format\.positive ' good' is \d tokens"):
        AdaptedRewardModel.from_pretrained(tmp_path, adapter="er_prm", step_format={"positive": " good"})


def test_a_missing_tag_of_a_head_is_named(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = CHATML
    qwen_prm(tmp_path, tokenizer)
    with pytest.raises(StepFormatError, match=r"step_format\.tag '<extra_0>' is \d+ tokens"):
        AdaptedRewardModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("architecture", ["LlamaForSequenceClassification", "Qwen2ForRewardModel", "BertModel"])
def test_an_unknown_architecture_is_refused_with_those_that_are_read(tmp_path: Path, architecture: str) -> None:
    with pytest.raises(AdapterError, match=rf"architecture {architecture}, which no adapter reads; they read causal"):
        choose_adapter(config_only(tmp_path, architecture))


def test_an_adapter_of_another_architecture_is_refused(tmp_path: Path) -> None:
    path = config_only(tmp_path, "LlamaForTokenClassification")
    with pytest.raises(
        AdapterError, match=r"'qwen_prm' does not read LlamaForTokenClassification, which .* is; trl would"
    ):
        choose_adapter(path, "qwen_prm")


@pytest.mark.parametrize("config", ["{}", '{"architectures": null}', '{"architectures": []}'])
def test_a_configuration_without_an_architecture_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(AdapterError, match=r"config\.json: names no architecture"):
        choose_adapter(str(tmp_path))


@pytest.mark.parametrize("config", ["[]", "[1]", "null", "no JSON"])
def test_a_configuration_that_is_no_object_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(BackboneError, match=r"config\.json is damaged: it (is not JSON|holds)"):
        choose_adapter(str(tmp_path))


def test_a_step_format_in_the_configuration_alone_is_read(tmp_path: Path) -> None:
    path = config_only(tmp_path, "LlamaForTokenClassification")
    file = tmp_path / "config.json"
    saved = {"step_format": {"tag": " x", "positive": None, "negative": None}}
    file.write_text(json.dumps({**json.loads(file.read_text()), **saved}))
    choice = choose_adapter(path)
    assert (choice.name, choice.step_format.tag) == ("erprm", " x")
    assert choice.reason == "there is a step format in config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "step_format": {"tags": " x"}}))
    with pytest.raises(AdapterError, match=r"config\.json: step_format has no field 'tags'"):
        choose_adapter(path)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"has no config\.json$"):
        choose_adapter(str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterError, match=r"has no config\.json: LoRA adapters have to be merged"):
        choose_adapter(str(tmp_path))
    with pytest.raises(BackboneError, match=r"nowhere' does not exist"):
        choose_adapter(str(tmp_path / "nowhere"))


def test_a_saved_format_of_another_kind_of_labels_is_refused(tmp_path: Path) -> None:
    path = config_only(tmp_path, "LlamaForTokenClassification")
    with pytest.raises(AdapterError, match=r"adapter 'erprm' needs a step_format\.json, which .* does not have"):
        choose_adapter(path, "erprm")
    (tmp_path / "step_format.json").write_text("{}")
    with pytest.raises(AdapterError, match=r"step_format\.json: its labels are tokens, but the architecture is Llama"):
        choose_adapter(path)


def test_an_unknown_field_of_the_step_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepFormatError, match=r"step_format has no field 'tags'"):
        choose_adapter(config_only(tmp_path, "LlamaForTokenClassification"), "auto", {"tags": "x"})


@pytest.mark.parametrize("weight", ["score.2.bias", "model.layers.1.mlp.up_proj.weight"])
def test_missing_weights_are_named_and_not_made_up(tmp_path: Path, weight: str) -> None:
    qwen_prm(tmp_path, tiny_tokenizer(), without=weight)
    with pytest.raises(BackboneError, match=rf"lack 1 weights of a Qwen2ForProcessRewardModel, such as {weight}"):
        AdaptedRewardModel.from_pretrained(tmp_path)


def test_a_language_model_without_its_output_layer_is_refused(tmp_path: Path) -> None:
    token_classifier(tmp_path, tiny_tokenizer(), "Llama")
    change_config(tmp_path, architectures=["LlamaForCausalLM"])
    with pytest.raises(BackboneError, match=r"lack 1 weights of a LlamaForCausalLM, such as lm_head\.weight"):
        AdaptedRewardModel.from_pretrained(tmp_path, adapter="er_prm")


def test_a_checkpoint_without_safetensors_is_refused(tmp_path: Path) -> None:
    token_classifier(tmp_path, tiny_tokenizer())
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"cannot load .*model\.safetensors"):
        AdaptedRewardModel.from_pretrained(tmp_path)


def test_a_model_that_reads_what_follows_is_refused(tmp_path: Path) -> None:
    token_classifier(tmp_path, tiny_tokenizer(), "Bert")
    with pytest.raises(BackboneError, match=r"a BertForTokenClassification, judges a token by what follows it, too"):
        AdaptedRewardModel.from_pretrained(tmp_path)


def test_a_head_of_three_classes_is_refused(tmp_path: Path) -> None:
    token_classifier(tmp_path, tiny_tokenizer(), num_labels=3)
    with pytest.raises(BackboneError, match=r"has 3 classes; a step is judged by two, bad and good"):
        AdaptedRewardModel.from_pretrained(tmp_path)


# Adapters of one's own ------------------------------------------------------------------------------------------------


class SwappedLabels(LabelTokenAdapter):
    """A language model that writes its judgement the other way round."""

    def step_logits(self, model: ProcessRewardModel, batch: StepBatch) -> Tensor:
        return super().step_logits(model, batch).flip(-1)


SWAPPED = SwappedLabels(ADAPTERS["math_shepherd"].step_format)


def test_an_adapter_of_ones_own_reads_the_checkpoint_its_own_way(tmp_path: Path) -> None:
    causal_lm(tmp_path, tiny_tokenizer())
    theirs = AdaptedRewardModel.from_pretrained(tmp_path, adapter="math_shepherd")
    own = AdaptedRewardModel.from_pretrained(tmp_path, adapter=f"{__name__}.SWAPPED")
    torch.testing.assert_close(own.score_steps([SOLUTION])[0], 1 - theirs.score_steps([SOLUTION])[0])
    assert (own.choice.name, own.choice.head) == (f"{__name__}.SWAPPED", "label_tokens")


def test_an_adapter_of_ones_own_is_made_with_its_arguments(tmp_path: Path) -> None:
    path = config_only(tmp_path, "LlamaForCausalLM")
    setting = {"class_path": f"{__name__}.SwappedLabels", "init_args": {"step_format": SWAPPED.step_format.to_dict()}}
    assert choose_adapter(path, setting, {"tag": " x"}).step_format == replace(SWAPPED.step_format, tag=" x")
    with pytest.raises(AdapterError, match=r"adapter\.init_args: missing a required argument: 'step_format'"):
        choose_adapter(path, f"{__name__}.SwappedLabels")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("math_sheperd", r"did you mean 'math_shepherd'\?"),
        (f"{__name__}.SOLUTION", r"is not an erprm\.models\.adapters\.Adapter"),
        ({"class_path": "trl", "init_args": {"head": 1}}, r"adapter\.init_args: .* does not name a class"),
    ],
)
def test_what_names_no_adapter_is_refused(tmp_path: Path, setting: Any, message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        choose_adapter(config_only(tmp_path, "LlamaForCausalLM"), setting)


def test_help_and_the_table_of_the_documentation_name_every_adapter() -> None:
    for documented in (AdaptedRewardModel.__init__.__doc__, ScoreConfig.__doc__):
        section = (documented or "").partition("adapter: ")[2].partition("step_format: ")[0]
        assert all(f"``{name}``" in section for name in (*ADAPTERS, "erprm", "auto"))
    page = (Path(__file__).parents[3] / "docs/other-prms.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*)$", page, flags=re.MULTILINE))
    assert list(rows) == [*ADAPTERS, "erprm"]
    for name, adapter in ADAPTERS.items():
        # The table gives the second checkpoint of RLHFlow by the end of its name.
        assert all(each.removeprefix("llama3.1-8b-prm") in rows[name].lower() for each in adapter.published)
