"""The program `recall-lightning`: finds the command and tells a user's mistakes in one line."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from recall_lightning.errors import InputError

TRAINER_COMMANDS = {
    "fit": "train a model, and keep the checkpoint that is best on validation",
    "validate": "metrics of a checkpoint on the validation cases",
    "test": "metrics of a checkpoint on the test cases",
    "predict": "recommendations for every user of a config's data",
}
COMMANDS = [
    "fetch",
    "check",
    "recommend",
    "similar",
    "compare",
    "adapt",
    "export",
    "serve",
]  # modules of recall_lightning.cli


class Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. See `{self.prog} --help`\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program; exits with 0 when done, 2 where the input or a flag is wrong, 1 for anything else."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given and given[0] in TRAINER_COMMANDS:
            _train(given)
        else:
            parsed = _parse(given)
            parsed.run(parsed)
    except InputError as error:
        sys.stderr.write(f"recall-lightning: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        sys.stderr.close()
        sys.exit(1)


def _parse(given: list[str]) -> argparse.Namespace:
    """Flags of a command; a command that reads a config takes any key of it, too."""
    parser = _parser()
    parsed, keys = parser.parse_known_args(given)
    flags = [word for word in keys if word.startswith("-")]
    foreign = [word for word in flags if not word.startswith(("--data.", "--model."))]
    if keys and (foreign or not flags or not keys[0].startswith("-") or not getattr(parsed, "config", None)):
        parser.error(f"unrecognized arguments: {' '.join(foreign or keys)}")
    parsed.keys = keys
    return parsed


def _parser() -> Parser:
    parser = Parser(
        prog="recall-lightning",
        description="Fine-tunes BERT-family encoders to recall items, from item text and user histories.",
        epilog="example: recall-lightning fit --config configs/movielens-100k.yaml",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for name, summary in TRAINER_COMMANDS.items():  # listed here, run by LightningCLI
        commands.add_parser(name, help=summary)
    for name in COMMANDS:
        command = importlib.import_module(f"recall_lightning.cli.{name}")
        added = commands.add_parser(
            name, help=command.SUMMARY, description=command.SUMMARY, epilog=f"example: {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    return parser


def _train(given: list[str]) -> None:
    if any(flag in given for flag in ("-h", "--help")):
        _train_parser(given[0]).print_help()
        return
    from recall_lightning.cli.trainer import run

    run(given)


def _train_parser(command: str) -> Parser:
    """What `fit --help` shows at once; LightningCLI would need its seconds to list every key."""
    needed = " --ckpt_path runs/movielens-100k/version_0/checkpoints/best.ckpt" if command != "fit" else ""
    parser = Parser(
        prog=f"recall-lightning {command}",
        usage=f"recall-lightning {command} --config FILE.yaml [--KEY VALUE ...]",
        description=f"{TRAINER_COMMANDS[command].capitalize()}. Every key of a config can be given as a flag, too: "
        "--data.batch_size 128, --trainer.max_epochs 3.",
        epilog=f"example: recall-lightning {command} --config configs/movielens-100k.yaml{needed}",
    )
    parser.add_argument("--config", metavar="FILE.yaml", help="settings; given twice, the later file wins")
    where = "go on from this checkpoint" if command == "fit" else "the model; without --config, its own settings hold"
    parser.add_argument("--ckpt_path", metavar="FILE.ckpt", help=where)
    if command == "fit":
        parser.add_argument(
            "--method", choices=["recall", "maml", "pretrain"],
            help="recall from histories (default), meta-training for cold users, or pretraining of the encoder alone",
        )  # fmt: skip
        parser.add_argument(
            "--auto.minutes", metavar="N", help="choose settings by short runs, then train, in about so many minutes"
        )
    parser.add_argument("--print_config", action="store_true", help="print the settings with every default, and stop")
    parser.add_argument("--help-all", action="store_true", help="every key with its meaning (takes some seconds)")
    return parser


def add_config(parser: argparse.ArgumentParser, *, only_with: str = "") -> None:
    """The flag `--config` of a command that reads the data which a config names, always or with another flag."""
    when = f"with {only_with}: " if only_with else ""
    parser.add_argument(
        "--config", required=not only_with, action="append", metavar="FILE.yaml",
        help=f"{when}the config whose data is used; given twice, the later file wins, and any key may be a flag, "
        "such as --data.splits.name new_items",
    )  # fmt: skip


def positive(text: str) -> int:
    """A flag's whole number from 1 up."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1 up: give one such as 10")
    return value


if __name__ == "__main__":
    main()
