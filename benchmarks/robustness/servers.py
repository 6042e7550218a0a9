"""A server that answers badly from a random request on, and well again when the command is run again.

Held: the run ends in time with the server's URL, in at most five lines and without a traceback, and the same command
continues the run once the server is well.
"""

from __future__ import annotations

import random
import shutil
from typing import Any

from benchmarks.robustness.comparison import difference
from benchmarks.robustness.workplace import COMMANDS, Row, Workplace, last_line, no_plain_end
from erprm.runs.atomic import remove
from tests.failing_server import NO_ANSWERS, failing_servers


def servers(place: Workplace, name: str, count: int, rng: random.Random) -> Row:
    """Has a server answer badly from a random request on, and well again when the command is run again."""
    row = Row("servers", name)
    bodies = {kind: body for kind, (body, _) in NO_ANSWERS.items()}
    with failing_servers() as start:
        state: dict[str, Any] = {"body": None, "from": 0, "answered": 0}

        def answer(request: dict[str, Any]) -> tuple[int, Any]:
            state["answered"] += 1
            if state["body"] is not None and state["answered"] > state["from"]:
                return 200, state["body"]()
            choices = [
                {"index": n, "text": " then 1 + 1 = 2 #### 2", "finish_reason": "stop", "token_ids": [4, 5, 6]}
                for n in range(int(request.get("n", 1)) * _prompts(request))
            ]
            usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
            return 200, {"id": "x", "object": "text_completion", "model": "policy", "choices": choices, "usage": usage}

        server = start(answer, max_model_len=512)
        local = [argument for argument in COMMANDS["rollout"] if argument != "--device=cpu"]
        arguments = [*local, "--engine=openai", "--model=policy", f"--server.base_url={server.base_url}",
                     "--server.tokenizer=policy", "--server.timeout_s=1", "--server.retries=1"]  # fmt: skip
        place.clean()
        good = place.run(arguments)
        if good.status:
            raise RuntimeError(f"the server that is well is refused: {last_line(good)}")
        whole = place.wholes / "served"
        remove(whole)
        shutil.copytree(place.work, whole, symlinks=True)
        requests = state["answered"]
        for number in range(count):
            kind = list(bodies)[number % len(bodies)]
            state.update({"body": bodies[kind], "from": rng.randrange(requests), "answered": 0})
            place.clean()
            bad = place.run(arguments)
            row.seconds = max(row.seconds, bad.seconds)
            state["body"] = None
            fault = no_plain_end(bad) if bad.status else "taken for an answer"
            if not fault and server.url not in bad.said:
                fault = f"does not name the server: {last_line(bad)}"
            if not fault and "\x1b" in bad.said:
                fault = "an escape byte of the server in the terminal"
            again = place.run(arguments)
            fault = fault or (last_line(again) if again.status else difference(whole, place.work))
            row.add(fault and f"{kind} after {state['from']} answers: {fault}")
    return row


def _prompts(request: dict[str, Any]) -> int:
    prompt = request.get("prompt")
    return len(prompt) if isinstance(prompt, list) and prompt and isinstance(prompt[0], list | str) else 1
