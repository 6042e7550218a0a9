r"""The presets on two real tokenizers, against token ids written down piece by piece.

Each table lists the ids of a piece of text in the place where it stands. They were read off the vocabularies: SmolLM2
writes a leading space as part of a word (``Ġ``) and each digit by itself, Mistral the same with ``▁``, but it puts one
more ``▁`` before a text, and in the tokenizer.json of its checkpoints also after every special token.
"""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from erprm.steps import STEP_FORMAT_PRESETS, Solution, StepFormat, StepFormatError, split_steps
from tests.steps.real_tokenizers import CHATML, MISTRAL_CHAT, mistral_tokenizer, smollm2_tokenizer

QUESTION = "3 + 4?"

# Please|Ġreason|Ġstep|Ġby|Ġstep|,|Ġand|Ġput|Ġyour|Ġfinal|Ġanswer|Ġwithin|Ġ\|box|ed|{}|.
SMOLLM2_PROMPT = [10180, 2166, 1833, 411, 1833, 28, 284, 1830, 469, 3403, 2988, 1127, 3814, 4810, 277, 6150, 30]
# ▁Please|▁reason|▁step|▁by|▁step|,|▁and|▁put|▁your|▁final|▁answer|▁within|▁\|box|ed|{|}.
MISTRAL_PROMPT = [5919, 2611, 3707, 486, 3707, 28725, 304, 1658, 574, 1480, 4372, 2373, 414, 2858, 286, 28751, 2051]

SMOLLM2 = {
    "<|im_start|>": [1],
    "<|im_end|>": [2],
    "3 + 4?": [35, 1232, 216, 36, 47],  # 3 |Ġ+|Ġ|4|?
    "Step 1: 7.": [3512, 216, 33, 42, 216, 39, 30],  # Step|Ġ|1|:|Ġ|7|.
    " Step 1: 7.": [5970, 216, 33, 42, 216, 39, 30],  # ĠStep|Ġ|1|:|Ġ|7|.
    "So 7": [2931, 216, 39],  # So|Ġ|7
    "So": [2931],
    " 7": [216, 39],  # Ġ|7
    "7": [39],
    " ": [216],
    "\n": [198],
    "+": [27],
    "user": [4093],
    "assistant": [520, 9531],  # ass|istant
    "system": [9690],
    "Please ... \\boxed{}.": SMOLLM2_PROMPT,
    "new token": [49152],  # the first id after the vocabulary
}
MISTRAL = {
    "<s>": [1],
    "</s>": [2],
    "▁3 + 4?": [28705, 28770, 648, 28705, 28781, 28804],  # ▁|3|▁+|▁|4|?
    "Step 1: 7.": [9977, 28705, 28740, 28747, 28705, 28787, 28723],  # Step|▁|1|:|▁|7|.
    " Step 1: 7.": [7268, 28705, 28740, 28747, 28705, 28787, 28723],  # ▁Step|▁|1|:|▁|7|.
    "So 7": [5142, 28705, 28787],  # So|▁|7
    "▁So 7": [1537, 28705, 28787],  # ▁So|▁|7
    "So": [5142],
    "▁So": [1537],
    " 7": [28705, 28787],  # ▁|7
    "7": [28787],
    " ": [28705],
    "\n": [13],  # <0x0A>
    "+": [28806],
    "▁[INST]": [733, 16289, 28793],  # ▁[|INST|]
    "▁[/INST]": [733, 28748, 16289, 28793],  # ▁[|/|INST|]
    # ▁[|/|INST|][|INST|], where the turns of system and user meet
    "▁[/INST][INST]": [733, 28748, 16289, 3328, 16289, 28793],
    "▁Please ... \\boxed{}.": MISTRAL_PROMPT,
    " ки": [12902],  # ▁ки
    "new token": [32000],
}


@dataclass(frozen=True)
class Expected:
    """The pieces of text of one layout, in order; the tags are tuples of pieces."""

    table: dict[str, list[int]]
    pieces: tuple[str | tuple[str, ...], ...]

    @property
    def ids(self) -> list[int]:
        texts = [text for piece in self.pieces for text in ([piece] if isinstance(piece, str) else piece)]
        return [token for text in texts for token in self.table[text]]

    @property
    def tag_positions(self) -> list[int]:
        ends = []
        for count, piece in enumerate(self.pieces, 1):
            if isinstance(piece, tuple):
                ends.append(len(Expected(self.table, self.pieces[:count]).ids) - 1)
        return ends


# What stands around the steps: the question with what is before it, the first step's beginning, what goes between a
# tag and the next step, and the tag.
NEW = ("new token",)
SMOLLM2_TURN = ("<|im_end|>", "\n", "<|im_start|>", "assistant", "\n")
SMOLLM2_SYSTEM = ("<|im_start|>", "system", "\n", "Please ... \\boxed{}.", "<|im_end|>", "\n")
SMOLLM2_LAYOUTS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...], tuple[str, ...]]] = {
    "er_prm": (("3 + 4?",), " Step 1: 7.", (), NEW),
    "math_shepherd": (("3 + 4?",), " Step 1: 7.", ("\n",), NEW),
    "rlhflow": (
        ("<|im_start|>", "user", "\n", "3 + 4?"),
        " Step 1: 7.",
        ("+", "<|im_end|>", "\n", "<|im_start|>", "user", "\n"),
        SMOLLM2_TURN,
    ),
    "qwen_prm": (
        (*SMOLLM2_SYSTEM, "<|im_start|>", "user", "\n", "3 + 4?", *SMOLLM2_TURN),
        "Step 1: 7.",
        (),
        NEW,
    ),
    # TRL puts the tokenizer's begin-of-sequence token first; SmolLM2's is <|im_start|>.
    "trl": (("<|im_start|>", "3 + 4?"), "Step 1: 7.", (), ("\n",)),
}
MISTRAL_LAYOUTS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...], tuple[str, ...]]] = {
    "er_prm": (("<s>", "▁3 + 4?"), " Step 1: 7.", (), (" ки",)),
    "math_shepherd": (("<s>", "▁3 + 4?"), " Step 1: 7.", ("\n",), (" ки",)),
    "rlhflow": (
        ("<s>", "▁[INST]", "▁3 + 4?"),
        " Step 1: 7.",
        # Behind the special token one more space than the template writes.
        ("+", "</s>", " ", "▁[INST]"),
        ("▁[/INST]",),
    ),
    "qwen_prm": (
        ("<s>", "▁[INST]", "▁Please ... \\boxed{}.", "▁[/INST][INST]", "▁3 + 4?", "▁[/INST]"),
        "Step 1: 7.",
        (),
        NEW,
    ),
    # TRL tokenises prompt, steps and separator each as a whole text, with a space before each.
    "trl": (("<s>", "▁3 + 4?"), " Step 1: 7.", (), (" ", "\n")),
}
# Where Mistral's second step has a space before it.
MISTRAL_SPACED = {"rlhflow", "qwen_prm", "trl"}


def expected(
    name: str, preset: str, after_first: tuple[str, ...] = (), last: tuple[str, ...] | None = None
) -> Expected:
    """The layout of [Step 1: 7., So 7], with ``after_first`` at the end of the first step, or another last step."""
    mistral = name.startswith("mistral")
    before, first, between, tag = (MISTRAL_LAYOUTS if mistral else SMOLLM2_LAYOUTS)[preset]
    if last is None:
        last = ("▁So 7" if mistral and preset in MISTRAL_SPACED else "So 7",)
    return Expected(MISTRAL if mistral else SMOLLM2, (*before, first, *after_first, tag, *between, *last, tag))


@pytest.fixture(scope="module")
def fresh() -> Callable[[str], Any]:
    """A new copy of a tokenizer, since formats add tokens to theirs."""
    made: dict[str, Any] = {}
    make = {"smollm2": smollm2_tokenizer, "mistral": mistral_tokenizer}

    def copy_of(name: str) -> Any:
        if name not in made:
            made[name] = make[name]()
        return copy.deepcopy(made[name])

    return copy_of


def bind(preset: str, tokenizer: Any, **changes: Any) -> Any:
    if tokenizer.bos_token == "<|im_start|>":
        # Without the system message that SmolLM2's own template adds.
        tokenizer.chat_template = CHATML
    return StepFormat.preset(preset, add_tokens=True, **changes).bind(tokenizer)


every_case = pytest.mark.parametrize(
    ("name", "preset"), [(name, preset) for name in ("smollm2", "mistral") for preset in sorted(STEP_FORMAT_PRESETS)]
)


@every_case
def test_the_ids_are_those_of_the_pieces(fresh: Callable[[str], Any], name: str, preset: str) -> None:
    encoded = bind(preset, fresh(name)).encode(Solution(QUESTION, ["Step 1: 7.", "So 7"]))
    assert encoded.input_ids == expected(name, preset).ids
    assert encoded.tag_positions == expected(name, preset).tag_positions
    assert (encoded.dropped_steps, encoded.removed_tags) == (0, 0)


@every_case
@pytest.mark.parametrize("left_over", [" ", "\n"])
def test_white_space_left_before_the_tag_stands_there_and_the_tag_is_the_same(
    fresh: Callable[[str], Any], name: str, preset: str, left_over: str
) -> None:
    encoded = bind(preset, fresh(name)).encode(Solution(QUESTION, ["Step 1: 7." + left_over, "So 7"]))
    # RLHFlow's script strips the steps, as chat templates strip turns.
    want = expected(name, preset, () if preset == "rlhflow" else (left_over,))
    assert encoded.input_ids == want.ids
    assert encoded.tag_positions == want.tag_positions


@every_case
def test_a_step_that_contains_the_tag_is_still_one_step(fresh: Callable[[str], Any], name: str, preset: str) -> None:
    in_step = {
        "qwen_prm": "<extra_0>",
        "rlhflow": "<|im_end|>" if name == "smollm2" else "</s>",
        "trl": "\n",
    }.get(preset, " ки")
    encoded = bind(preset, fresh(name)).encode(Solution(QUESTION, ["Step 1: 7.", f"So{in_step}7"]))
    so = "▁So" if name == "mistral" and preset in MISTRAL_SPACED else "So"
    if preset == "trl":
        # TRL's tag is a line break like any other.
        want, removed = expected(name, preset, last=(so, "\n", "7")), 0
    else:
        # Behind a special token Mistral's tokenizer puts a space, whether or not the token is then left out.
        seven = " 7" if name == "mistral" and preset in {"rlhflow", "qwen_prm"} else "7"
        want, removed = expected(name, preset, last=(so, seven)), 1
    assert encoded.input_ids == want.ids
    assert encoded.tag_positions == want.tag_positions
    assert encoded.removed_tags == removed


@every_case
def test_truncation_at_every_length_keeps_whole_steps(fresh: Callable[[str], Any], name: str, preset: str) -> None:
    encoder = bind(preset, fresh(name))
    want = expected(name, preset)
    solution = Solution(QUESTION, ["Step 1: 7.", "So 7"])
    for limit in range(len(want.ids) + 2):
        kept = [position for position in want.tag_positions if position < limit]
        encoded = encoder.encode(solution, max_length=limit)
        assert encoded.input_ids == (want.ids[: kept[-1] + 1] if kept else [])
        assert encoded.tag_positions == kept
        assert encoded.dropped_steps == 2 - len(kept)


@every_case
def test_a_batch_gives_what_single_solutions_give(fresh: Callable[[str], Any], name: str, preset: str) -> None:
    encoder = bind(preset, fresh(name))
    solutions = [Solution("a?", ["b"]), Solution("c d?", ["e\n\n f", "g", "→ é"])]
    assert encoder.encode_batch(solutions) == [encoder.encode(solution) for solution in solutions]


@pytest.mark.parametrize(
    ("name", "preset", "tag", "labels"),
    [
        # The ids in the comments of Math-Shepherd's model card; +, - and <extra_0> as in the published code.
        ("mistral", "math_shepherd", 12902, (648, 387)),
        ("mistral", "er_prm", 12902, (648, 387)),
        ("smollm2", "er_prm", 49152, (1232, 731)),
        ("smollm2", "rlhflow", 198, (27, 29)),
    ],
)
def test_tag_and_labels_are_the_tokens_of_the_published_code(
    fresh: Callable[[str], Any], name: str, preset: str, tag: int, labels: tuple[int, int]
) -> None:
    encoder = bind(preset, fresh(name))
    assert (encoder.tag_id, (encoder.positive_id, encoder.negative_id)) == (tag, labels)


@pytest.mark.parametrize("preset", ["qwen_prm", "trl"])
def test_a_format_for_a_head_has_no_label_tokens(fresh: Callable[[str], Any], preset: str) -> None:
    encoder = bind(preset, fresh("mistral"))
    for name in ("positive_id", "negative_id"):
        with pytest.raises(StepFormatError, match=r"the step format has no label tokens .* two classes of a head"):
            getattr(encoder, name)


@pytest.mark.parametrize("name", ["smollm2", "mistral"])
def test_a_preset_whose_tag_the_tokenizer_splits_is_refused(fresh: Callable[[str], Any], name: str) -> None:
    tokenizer = fresh(name)
    tokenizer.chat_template = CHATML
    with pytest.raises(StepFormatError, match=r"step_format\.tag '<extra_0>' is \d tokens"):
        StepFormat.preset("qwen_prm").bind(tokenizer)


# Against the published code itself ------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(
    ("preset", "whole_text"),
    [
        # tokenizer.encode of the model card's f"{question} {output}"
        ("math_shepherd", lambda text: text),
        # tokenizer(raw_text.replace(" ки\n", " ки")), prm/kl_math_reward_ce.py of hanningzhang/ER-PRM at 5a996d4
        ("er_prm", lambda text: text.replace(" ки\n", " ки")),
    ],
)
def test_published_samples_get_the_ids_of_the_whole_text(
    shared_data: Path, preset: str, whole_text: Callable[[str], str], legacy: bool
) -> None:
    tokenizer = mistral_tokenizer(legacy=legacy)
    encoder = StepFormat.preset(preset).bind(tokenizer)
    path = shared_data / "step_samples" / "samples_math-shepherd.jsonl"
    texts = [json.loads(line)["input"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert texts
    for text in texts:
        question, _, solution = text.partition(" Step 1:")
        encoded = encoder.encode(Solution(question, split_steps("Step 1:" + solution, "math_shepherd")))
        assert encoded.input_ids == tokenizer(whole_text(text))["input_ids"]
        assert [encoded.input_ids[position] for position in encoded.tag_positions] == [12902] * text.count("ки")


@pytest.mark.parametrize("preset", ["er_prm", "math_shepherd"])
def test_every_gsm8k_solution_gets_the_ids_of_its_whole_text(shared_data: Path, preset: str) -> None:
    tokenizer = mistral_tokenizer()
    encoder = StepFormat.preset(preset).bind(tokenizer)
    rows = [json.loads(line) for line in (shared_data / "gsm8k_test.jsonl").read_text("utf-8").splitlines()][:200]
    solutions = [Solution(row["question"], split_steps(row["answer"], "lines")) for row in rows]
    for solution, encoded in zip(solutions, encoder.encode_batch(solutions), strict=True):
        assert encoded.input_ids == tokenizer(encoder.step_format.render(solution))["input_ids"]


@pytest.mark.parametrize("preset", ["rlhflow", "qwen_prm"])
@pytest.mark.parametrize("own_template", [True, False])
def test_the_ids_open_those_of_the_chat_template(fresh: Callable[[str], Any], preset: str, own_template: bool) -> None:
    tokenizer = fresh("smollm2")
    if not own_template:
        tokenizer.chat_template = CHATML
    steps = ["First, 3 + 4 = 7.\nSo it is.", "Then 7 + 1 = 8.", "#### 8"]
    encoder = StepFormat.preset(preset, add_tokens=True).bind(tokenizer)
    if preset == "rlhflow":
        # math-rm/prm_evaluate.py of RLHFlow/RLHF-Reward-Modeling at 5b2a281
        turns = [[{"role": "user", "content": s}, {"role": "assistant", "content": "+"}] for s in steps]
        turns[0][0]["content"] = QUESTION + " " + steps[0]
        messages, rest = [message for turn in turns for message in turn], [27, 2, 198]  # +|<|im_end|>|Ċ
    else:
        # the model card of Qwen/Qwen2.5-Math-PRM-7B
        messages, rest = (
            [
                {
                    "role": "system",
                    "content": "Please reason step by step, and put your final answer within \\boxed{}.",
                },
                {"role": "user", "content": QUESTION},
                {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"},
            ],
            [2, 198],
        )
    official = tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)["input_ids"]
    encoded = encoder.encode(Solution(QUESTION, steps))
    assert [*encoded.input_ids, *rest] == official
    # RLHFlow reads the token before each label.
    places = [i for i, t in enumerate(official) if t == (27 if preset == "rlhflow" else 49152)]
    assert encoded.tag_positions == [place - (preset == "rlhflow") for place in places]


def test_pieces_after_the_first_have_no_space_of_their_own_with_sentencepiece() -> None:
    for legacy in (True, False):
        encoder = StepFormat(separator="").bind(mistral_tokenizer(legacy=legacy))
        ids = encoder.encode(Solution("a", ["So", "So"])).input_ids
        # <s>|▁a|▁So|▁ки|So|▁ки
        assert ids == [1, 264, 1537, 12902, 5142, 12902]
        standalone = StepFormat(separator="", standalone_pieces=True, tag="ки", positive="+", negative="-").bind(
            mistral_tokenizer(legacy=legacy)
        )
        # <s>|▁a|▁So, with one ▁ more where the space of the separator counts|▁ки|▁So|▁ки
        assert standalone.encode(Solution("a", ["So", "So"])).input_ids[-3:] == [12902, 1537, 12902]


@pytest.mark.parametrize("preset", ["rlhflow", "qwen_prm"])
def test_a_chat_has_the_begin_of_sequence_token_that_its_template_writes_and_no_other(preset: str) -> None:
    tokenizer = mistral_tokenizer()
    for template, count in ((MISTRAL_CHAT, 1), (CHATML, 0)):
        tokenizer.chat_template = template
        encoder = StepFormat.preset(preset, add_tokens=True).bind(tokenizer)
        assert encoder.encode(Solution(QUESTION, ["So"])).input_ids.count(1) == count
