from pathlib import Path

import pytest
import torch

from erprm.models import ProcessRewardModel
from erprm.models.backbone.loading import BackboneError, load_causal_lm
from erprm.steps import Solution, StepFormat

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.slow
def test_a_gguf_checkpoint_scores_and_is_saved_as_a_plain_folder_with_equal_scores(
    smollm2_dir: Path, tmp_path: Path
) -> None:
    solution = Solution("Tom has 3 apples and buys 4. How many?", ["3 + 4 = 7", "#### 7"])
    model = ProcessRewardModel.from_pretrained(
        smollm2_dir, gguf_file=GGUF, step_format=StepFormat(first_separator="\n", add_tokens=True)
    )
    (scores,) = model.score_steps([solution])
    model.save_pretrained(tmp_path)
    (again,) = ProcessRewardModel.from_pretrained(tmp_path).score_steps([solution])
    torch.testing.assert_close(again, scores, atol=1e-5, rtol=0.0)


def test_a_missing_gguf_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"backbone: '.*nothing\.gguf' does not exist"):
        load_causal_lm(str(tmp_path), "nothing.gguf")
