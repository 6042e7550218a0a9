"""The command line. Only what a command needs is imported, and only once it is chosen."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from erprm import __version__
from erprm.cli import failures
from erprm.cli.stored_help import read_help

# command -> (module with a main(arguments), what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": ("erprm.cli.quickstart", "a small example of the whole loop, in YAML files and commands to edit"),
    "init": ("erprm.cli.init", "copy an example configuration to edit; --list shows them"),
    "fit": ("erprm.cli.lightning", "train a process reward model (LightningCLI)"),
    "validate": ("erprm.cli.lightning", "evaluate on the validation split"),
    "test": ("erprm.cli.lightning", "evaluate on the test data"),
    "predict": ("erprm.cli.lightning", "score the steps of a file of solutions"),
    "score": ("erprm.cli.score", "score the steps of a solution, or of a file of them, with anyone's reward model"),
    "calibrate": (
        "erprm.cli.calibrate",
        "turn the scores of a trained model into probabilities, by labelled steps",
    ),
    "ablate": ("erprm.cli.ablate", "what eta does: models at many eta and seeds, on the same data and the same pool"),
    "export": ("erprm.cli.export", "turn a checkpoint of fit into a Hugging Face folder"),
    "sft": ("erprm.cli.sft", "fine-tune a policy on prompts and completions (LightningCLI)"),
    "raft": (
        "erprm.cli.raft",
        "improve a policy: sample, keep what a reward model scores best, fine-tune, round by round",
    ),
    "grpo": ("erprm.cli.grpo", "improve a policy by GRPO with an advantage for each step, from a reward model (TRL)"),
    "rollout": ("erprm.cli.rollout", "sample solutions, complete every step prefix, grade, and write records"),
    "search": ("erprm.cli.search", "solve problems step by step, guided by a reward model, under a budget of tokens"),
    "serve": ("erprm.cli.serve", "answer OpenAI's requests with a search: one URL for a policy and a reward model"),
    "merge": ("erprm.cli.merge", "make one folder of the parts of a rollout run (rollout --shard)"),
    "convert": ("erprm.cli.convert", "turn step-labelled data of other projects into rollout records, and back"),
    "data": ("erprm.cli.data", "data stats: what is in step-labelled data, with plots, duplicates and contamination"),
    "estimate": (
        "erprm.cli.estimate",
        "estimate fit | estimate rollout: what a training or a rollout run will need, from its config",
    ),
    "choose-eta": ("erprm.cli.choose_eta", "the eta of the entropic vote, chosen on graded candidates that test wrote"),
    "report": ("erprm.cli.report", "the results of some runs, and what they chose, as one HTML page"),
    "demo": ("erprm.cli.demo", "the whole loop in a small world of its own, in minutes on a CPU"),
}

_WITH_SUBCOMMANDS = {"data", "estimate"}
# What to do when a command was stopped by a signal. Trainings say another thing when they have saved.
_CONTINUES = "the same command continues the run"
_RESUMES = "nothing was saved; --ckpt_path=last continues from the newest checkpoint, if any"
_WHEN_STOPPED = {
    **dict.fromkeys(("ablate", "demo", "grpo", "quickstart", "raft", "rollout", "score", "search"), _CONTINUES),
    **dict.fromkeys(("fit", "sft"), _RESUMES),
    "serve": "what ran was finished",
}
_BEGINS_AGAIN = "the same command begins again"


def usage() -> str:
    """The text of ``erprm --help``."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {description}" for name, (_, description) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: erprm COMMAND [--config FILE.yaml] [--KEY VALUE ...]",
            "",
            "Entropy-Regularized Process Reward Models (arXiv 2412.11006).",
            "",
            "commands:",
            *lines,
            "",
            "erprm COMMAND --help lists a command's keys; with --debug any error shows its traceback.",
            "erprm --version prints the version.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: command and its arguments; by default those of the process.

    Returns:
        The exit status: 0, 1 after an error of the user's, 2 for a command that does not exist, 128 + the
        number of the signal that stopped it: 130 for the interrupt key, 143 for SIGTERM.

    Raises:
        SystemExit: with status 2 for arguments that the command does not take.
        Exception: an error of the program's.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    wants_debugging = failures.DEBUG_OPTION in arguments
    arguments = [argument for argument in arguments if argument != failures.DEBUG_OPTION]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(f"erprm {__version__}")
        return 0
    command = arguments[0]
    if command not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        print(f"erprm: unknown command {command!r}{hint} (known: {', '.join(COMMANDS)})", file=sys.stderr)
        return 2
    if arguments[1:] in (["-h"], ["--help"]) and (text := read_help(command)):
        print(text, end="")
        return 0
    # So that `class_path: my_module.MyClass` names a file of the working folder. What is installed goes first: such a
    # file stands in for no library.
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)
    name = " ".join(arguments[:2] if command in _WITH_SUBCOMMANDS else arguments[:1])
    with failures.debugging(wants_debugging):
        return failures.run(name, lambda: _run(command, arguments), f"; {_WHEN_STOPPED.get(command, _BEGINS_AGAIN)}")


def _run(command: str, arguments: Sequence[str]) -> int:
    from erprm.cli.yaml_files import bound_yaml_aliases

    bound_yaml_aliases()
    module = importlib.import_module(COMMANDS[command][0])
    return int(module.main(arguments) or 0)
