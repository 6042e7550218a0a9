from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import save

from erprm.engines.base import Completion, PromptError, Sampling
from erprm.engines.model_files import BESIDE_FILE
from erprm.engines.transformers import TransformersEngine, pick_tokens
from tests.rollout.conftest import WORDS, chance_of_counts, make_policy
from tests.tiny import save_tiny_llama

PROMPTS = ["3 + 4 =", "so", "then 1 + 2 = 3 \n so 3 + 5 =", "9", "1 + 1 = 2 \n"]
END = WORDS.index("</s>")


def argmax_loop(policy: Any, prompt_ids: list[int], max_tokens: int) -> list[int]:
    """Greedy decoding the slow way: the whole text through the model for every token."""
    ids = list(prompt_ids)
    while len(ids) < len(prompt_ids) + max_tokens and (len(ids) == len(prompt_ids) or ids[-1] != END):
        ids.append(int(policy(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt_ids) :]


@torch.inference_mode()
def test_greedy_completions_equal_a_loop_of_argmax(
    engine: TransformersEngine, policy: Any, word_tokenizer: Any
) -> None:
    completions = engine.generate(PROMPTS, Sampling(temperature=0.0, max_tokens=12))
    expected = [argmax_loop(policy, word_tokenizer(prompt)["input_ids"], 12) for prompt in PROMPTS]
    assert [list(completion.token_ids) for [completion] in completions] == expected


SMALL: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 24,
    "initializer_range": 0.15,
    "eos_token_id": END,
    "pad_token_id": 0,
}
LLAMA_LIKE = {**SMALL, "intermediate_size": 64, "num_key_value_heads": 2}
ARCHITECTURES = {
    "gpt2": transformers.GPT2Config(**SMALL),
    "mistral, sliding window": transformers.MistralConfig(**LLAMA_LIKE, sliding_window=6),
    "qwen2": transformers.Qwen2Config(**LLAMA_LIKE),
}
from_config: Any = transformers.AutoModelForCausalLM.from_config


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.inference_mode()
def test_greedy_completions_equal_a_loop_of_argmax_in_other_architectures(
    architecture: str, word_tokenizer: Any
) -> None:
    torch.manual_seed(3)
    model = from_config(ARCHITECTURES[architecture]).eval()
    engine = TransformersEngine.from_model(model, word_tokenizer, batch_size=3)
    prompts = [word_tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    completions = engine.generate(prompts, Sampling(temperature=0.0, max_tokens=20))
    expected = [argmax_loop(model, prompt, min(20, engine.max_length - len(prompt))) for prompt in prompts]
    assert [list(completion.token_ids) for [completion] in completions] == expected


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_request_gives_the_same_completion_in_any_batch(policy: Any, word_tokenizer: Any, batch_size: int) -> None:
    sampling = Sampling(n=3, max_tokens=16, top_p=0.95, seed=7)
    alone = {
        prompt: TransformersEngine.from_model(policy, word_tokenizer).generate([prompt], sampling)[0]
        for prompt in PROMPTS
    }
    engine = TransformersEngine.from_model(policy, word_tokenizer, batch_size=batch_size)
    together = engine.generate(PROMPTS[::-1], sampling)
    assert together == [alone[prompt] for prompt in PROMPTS[::-1]]


def test_the_first_completions_do_not_depend_on_how_many_are_asked_for(engine: TransformersEngine) -> None:
    few, many = (engine.generate(PROMPTS, Sampling(n=n, max_tokens=8)) for n in (2, 5))
    assert [completions[:2] for completions in many] == few


def test_seeds_and_completions_of_a_prompt_differ(engine: TransformersEngine) -> None:
    first, second = (engine.generate(["so"], Sampling(n=8, max_tokens=10, seed=seed))[0] for seed in (0, 1))
    # The policy may well end at once twice; long completions do not meet by chance.
    long = [completion.token_ids for completion in first + second if len(completion.token_ids) > 3]
    assert len(set(long)) == len(long) >= 6


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.0, 0.7)])
@torch.inference_mode()
def test_first_tokens_follow_the_exact_distribution(
    engine: TransformersEngine,
    policy: Any,
    word_tokenizer: Any,
    temperature: float,
    top_p: float,
) -> None:
    logits = policy(torch.tensor([word_tokenizer("3 + 4 =")["input_ids"]])).logits[0, -1].double()
    probabilities = torch.softmax(logits / temperature, -1)
    ranked = sorted(range(len(WORDS)), key=lambda token: -probabilities[token])
    nucleus = [
        token
        for rank, token in enumerate(ranked)
        if top_p == 1.0 or sum(probabilities[other] for other in ranked[:rank]) < top_p
    ]
    assert 1 < len(nucleus) <= len(WORDS)
    expected = torch.zeros_like(probabilities)
    expected[nucleus] = probabilities[nucleus] / probabilities[nucleus].sum()

    draws = 10_000
    engine.batch_size = 1000
    [completions] = engine.generate(["3 + 4 ="], Sampling(draws, temperature, top_p, max_tokens=1))
    counts = torch.bincount(torch.tensor([c.token_ids[0] for c in completions]), minlength=len(WORDS))
    assert chance_of_counts(counts, draws * expected) > 1e-7


def test_pick_tokens_takes_the_quantile_of_the_distribution() -> None:
    logits = torch.tensor([0.5, 0.25, 0.0, 0.25]).log().repeat(6, 1)
    uniforms = torch.tensor([0.0, 0.49, 0.51, 0.74, 0.76, 1 - 2**-53], dtype=torch.float64)
    assert pick_tokens(logits, 1.0, 1.0, uniforms).tolist() == [0, 0, 1, 1, 3, 3]


def test_top_p_keeps_the_fewest_likely_tokens_that_reach_it() -> None:
    # Sorted: 0.4 (token 2), 0.3 (token 0), 0.2 (token 3), 0.1 (token 1). 0.6 takes two tokens: 4/7 and 3/7 of the mass.
    logits = torch.tensor([0.3, 0.1, 0.4, 0.2]).log().repeat(4, 1)
    uniforms = torch.tensor([0.0, 0.57, 0.58, 1 - 2**-53], dtype=torch.float64)
    assert pick_tokens(logits, 1.0, 0.6, uniforms).tolist() == [2, 2, 0, 0]


def test_low_temperature_sharpens_the_distribution() -> None:
    # At temperature 0.5 the odds 3:1 become 9:1.
    logits = torch.tensor([0.75, 0.25]).log().repeat(2, 1)
    assert pick_tokens(logits, 0.5, 1.0, torch.tensor([0.89, 0.91], dtype=torch.float64)).tolist() == [0, 1]


def sampled_texts(engine: TransformersEngine, stop: tuple[str, ...] = (), max_tokens: int = 24) -> list[Completion]:
    return [
        completion
        for completions in engine.generate(PROMPTS, Sampling(n=60, max_tokens=max_tokens, stop=stop))
        for completion in completions
    ]


@pytest.mark.parametrize("stop", [("####",), ("+ 1", "= 2"), (" so ",), ("\n",)])
def test_a_stop_string_cuts_the_text_before_its_first_occurrence(
    engine: TransformersEngine, stop: tuple[str, ...]
) -> None:
    stopped = 0
    for free, completion in zip(sampled_texts(engine), sampled_texts(engine, stop), strict=True):
        places = [place for string in stop if (place := free.text.find(string)) >= 0]
        if places:
            stopped += 1
            assert completion.text == free.text[: min(places)]
            assert completion.finish_reason == "stop"
            assert completion.token_ids == free.token_ids[: len(completion.token_ids)]
        else:
            assert completion == free
    assert stopped > 3


def test_tokens_of_a_stopped_completion_end_with_the_stop_string(engine: TransformersEngine) -> None:
    hashes = WORDS.index("####")
    stopped = [c.token_ids for c in sampled_texts(engine, ("####",)) if hashes in c.token_ids]
    assert stopped
    assert all(token_ids.index(hashes) == len(token_ids) - 1 for token_ids in stopped)


def test_end_of_text_token_ends_a_completion_and_gives_no_text(engine: TransformersEngine) -> None:
    completions = sampled_texts(engine)
    ended = [completion for completion in completions if END in completion.token_ids]
    assert ended
    for completion in ended:
        assert completion.token_ids.index(END) == len(completion.token_ids) - 1
        assert completion.finish_reason == "stop"
        assert "</s>" not in completion.text


def test_max_tokens_ends_a_completion_as_length(engine: TransformersEngine) -> None:
    cut_off = [completion for completion in sampled_texts(engine, max_tokens=3) if END not in completion.token_ids]
    assert cut_off
    assert {(len(completion.token_ids), completion.finish_reason) for completion in cut_off} == {(3, "length")}


def test_a_completion_ends_where_the_context_is_full(engine: TransformersEngine) -> None:
    short, long = [5] * 10, [5] * 61
    completions_of = engine.generate([long, short], Sampling(n=40, max_tokens=30))
    assert {len(c.token_ids) for c in completions_of[0] if c.finish_reason == "length"} == {3}
    assert {len(c.token_ids) for c in completions_of[1] if c.finish_reason == "length"} == {30}


def test_a_prompt_that_fills_the_context_is_refused_with_its_index(engine: TransformersEngine) -> None:
    with pytest.raises(PromptError, match=r"prompt 1 has 64 tokens, .* context of 64 tokens"):
        engine.generate(["so", [5] * 64], Sampling())


def test_an_empty_prompt_is_refused_with_its_index(engine: TransformersEngine) -> None:
    with pytest.raises(PromptError, match="prompt 2 is empty"):
        engine.generate(["so", "so", []], Sampling())


def test_no_prompts_give_no_completions(engine: TransformersEngine) -> None:
    assert engine.generate([], Sampling()) == []


def test_usage_counts_a_prompt_once_and_every_generated_token(engine: TransformersEngine) -> None:
    completions_of = engine.generate([[5] * 3, [6] * 4], Sampling(n=20, max_tokens=6))
    assert engine.usage.prompt == 7
    assert engine.usage.completion == sum(len(c.token_ids) for completions in completions_of for c in completions)


def test_fingerprint_depends_on_weights_and_tokenizer(
    engine: TransformersEngine, word_tokenizer: Any, byte_tokenizer: Any
) -> None:
    same, other = make_policy(len(WORDS), seed=0), make_policy(len(WORDS), seed=1)
    assert TransformersEngine.from_model(same, word_tokenizer).fingerprint() == engine.fingerprint()
    assert TransformersEngine.from_model(other, word_tokenizer).fingerprint() != engine.fingerprint()
    assert TransformersEngine.from_model(same, byte_tokenizer).fingerprint() != engine.fingerprint()


def test_fingerprint_ignores_how_the_tokenizer_was_called_last(engine: TransformersEngine) -> None:
    before = engine.fingerprint()
    engine.tokenizer(["3 + 4", "3"], padding=True, truncation=True, max_length=3)
    assert engine.fingerprint() == before


def test_a_saved_model_gives_the_completions_of_the_one_in_memory(
    engine: TransformersEngine, policy: Any, word_tokenizer: Any, tmp_path: Path
) -> None:
    policy.save_pretrained(tmp_path)
    word_tokenizer.save_pretrained(tmp_path)
    loaded = TransformersEngine(str(tmp_path), device="cpu")
    sampling = Sampling(n=2, max_tokens=8)
    assert loaded.generate(PROMPTS, sampling) == engine.generate(PROMPTS, sampling)
    assert loaded.fingerprint() == engine.fingerprint()


def test_weights_beside_the_backbone_are_said_not_to_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_tiny_llama(tmp_path)
    TransformersEngine(str(tmp_path))
    assert BESIDE_FILE not in caplog.text
    (tmp_path / BESIDE_FILE).write_bytes(save({"head.weight": torch.ones(1)}))
    TransformersEngine(str(tmp_path))
    assert f"{tmp_path / BESIDE_FILE} is not read: the policy is the backbone alone" in caplog.text


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model '.*nowhere' is neither a local model folder nor"):
        TransformersEngine(str(tmp_path / "nowhere"))


def test_an_unknown_dtype_is_named_before_a_model_is_looked_for() -> None:
    with pytest.raises(ValueError, match="dtype is 'float33'; it must be auto or a torch dtype's name"):
        TransformersEngine("nowhere", dtype="float33")
