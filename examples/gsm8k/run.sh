#!/usr/bin/env bash
# The whole loop on GSM8K with one policy, on one GPU: rollouts, a process reward model, best-of-64, RAFT.
#
#   bash examples/gsm8k/run.sh qwen-0.5b          # or another rung, see README.md
#
# UNVERIFIED: no rung has been run on a GPU.
# A stage that is done is not done again; one that was interrupted continues. Everything is in runs/gsm8k/RUNG.
# Variables: GPU_TFLOPS (peak of the GPU in bfloat16) for the hours of the training; ROLLOUT_ARGS, FIT_ARGS, TEST_ARGS
# and RAFT_ARGS, arguments that come last in the command of their stage.
set -euo pipefail

example=$(cd "$(dirname "$0")" && pwd)
rung=${1:-qwen-0.5b}
fit=(--config "$example/fit.yaml") paper=() chat=true
case $rung in
    qwen-0.5b) policy=Qwen/Qwen2.5-0.5B-Instruct base=Qwen/Qwen2.5-0.5B ;;
    llama-1b) policy=meta-llama/Llama-3.2-1B-Instruct base=meta-llama/Llama-3.2-1B ;;
    qwen-1.5b) policy=Qwen/Qwen2.5-1.5B-Instruct base=Qwen/Qwen2.5-1.5B ;;
    qwen-7b) policy=Qwen/Qwen2.5-7B-Instruct base=Qwen/Qwen2.5-7B fit+=(--config "$example/lora.yaml") ;;
    paper)
        policy=peiyi9979/mistral-7b-sft base=meta-llama/Llama-3.1-8B chat=false
        fit=(--config "$example/../../configs/paper_llama3_8b.yaml")
        paper=(--solutions_per_problem 15 --completions_per_step 16 --reuse_solutions false)
        ;;
    own) policy=${POLICY:?set POLICY and BASE for the rung own} base=${BASE:?set POLICY and BASE for the rung own} ;;
    *)
        echo "run.sh: no rung '$rung'; there are qwen-0.5b, llama-1b, qwen-1.5b, qwen-7b, paper and own" >&2
        exit 2
        ;;
esac
mkdir -p "runs/gsm8k/$rung"
cd "runs/gsm8k/$rung"

# The words of these variables are arguments of their own, so they stand without quotes.
rollout=(--config "$example/rollout.yaml" --model "$policy" --prompt.chat $chat "${paper[@]}" ${ROLLOUT_ARGS:-})
fit+=(--model.backbone "$base" ${FIT_ARGS:-})

if [ ! -e rollouts/summary.json ]; then
    [ -e rollouts.json ] || erprm estimate rollout "${rollout[@]}" --probe 20 --json rollouts.json
    erprm rollout "${rollout[@]}"
fi
erprm data stats rollouts

if [ ! -e prm/config.json ]; then
    erprm estimate fit "${fit[@]}" ${GPU_TFLOPS:+--estimate.peak_tflops "$GPU_TFLOPS"}
    last=$(find . -name last.ckpt -print -quit)
    erprm fit "${fit[@]}" ${last:+--ckpt_path "$last"}
fi

if [ ! -e best_of_n/gsm8k/results.json ]; then
    sed "s|POLICY|$policy|; s|chat: true|chat: $chat|" "$example/test.yaml" > test.yaml
    erprm test --config test.yaml ${TEST_ARGS:-}
fi
erprm choose-eta best_of_n/gsm8k
erprm raft --config "$example/raft.yaml" --model "$policy" --prompt.chat $chat ${RAFT_ARGS:-}
erprm report .
