"""`fit`, `validate`, `test` and `predict`: LightningCLI with this product's defaults."""

import logging
import os
import shlex
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

# set before the libraries are loaded: a run's log is for its results
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import yaml
from jsonargparse import ArgumentError
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from recall_lightning.callbacks import default_callbacks
from recall_lightning.callbacks.last import LastCheckpoint
from recall_lightning.callbacks.stopping import Stopping
from recall_lightning.cli.checkpoint_io import WholeCheckpoints
from recall_lightning.cli.peers import watched_peers
from recall_lightning.cli.precision import MIXED, precision_here
from recall_lightning.cli.products import fast_products
from recall_lightning.cli.quiet import quiet_libraries
from recall_lightning.cli.run_settings import SaveRunConfig
from recall_lightning.data.datamodule import RecallDataModule
from recall_lightning.data.episode_datamodule import EpisodeDataModule
from recall_lightning.data.pretrain_datamodule import PretrainDataModule
from recall_lightning.data.readers.registry import readers
from recall_lightning.errors import InputError
from recall_lightning.modules.checkpoint import encoder_folder, read_checkpoint
from recall_lightning.modules.loading import kind_of
from recall_lightning.modules.maml import MAMLRecallModule
from recall_lightning.modules.pretrain import PretrainModule
from recall_lightning.modules.recall import RecallModule

if TYPE_CHECKING:
    from recall_lightning.cli.auto import Automatic

log = logging.getLogger(__name__)

METHODS: dict[str, tuple[type[RecallModule | PretrainModule], type[RecallDataModule]]] = {
    "recall": (RecallModule, RecallDataModule),
    "maml": (MAMLRecallModule, EpisodeDataModule),
    "pretrain": (PretrainModule, PretrainDataModule),
}


class RecallCLI(LightningCLI):
    """LightningCLI with early stopping, a best checkpoint, and TensorBoard pages, all of them configurable.

    Args:
        settings: of LightningCLI; `args` are a command and its flags.
    """

    def __init__(self, **settings: Any) -> None:
        self._asked = settings["args"][0]
        super().__init__(**settings)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # of the object, which knows what is asked
        """The command that is asked for alone: a parser of each takes a second to make on a slow processor."""
        every = LightningCLI.subcommands()
        return {self._asked: every[self._asked]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--method", type=Literal["recall", "maml", "pretrain"], default="recall",
            help="how it learns: from histories (RecallModule), from users as tasks (MAMLRecallModule), or, an encoder "
            "alone, from texts (PretrainModule)",
        )  # fmt: skip
        parser.add_argument(
            "--auto.minutes", type=float | None, default=None,
            help="choose settings by short runs on the validation cases, then train: within so many minutes",
        )  # fmt: skip
        parser.add_argument(
            "--auto.fuse", type=str | None, default=None,
            help="the baseline to fuse the model with, as a search found: `compare` reads it in auto.yaml",
        )  # fmt: skip
        monitor, mode = ("val/loss", "min") if self.model_class is PretrainModule else ("val/recall@10", "max")
        readers()  # once they are imported, a config may name one by its class alone
        parser.link_arguments("model.encoder.path", "data.encoder")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(Stopping, "early_stopping")
        parser.add_lightning_class_args(LastCheckpoint, "last")
        parser.set_defaults(
            {
                "checkpoint.monitor": monitor,
                "checkpoint.mode": mode,
                "checkpoint.filename": "best",
                "checkpoint.enable_version_counter": False,
                "early_stopping.monitor": monitor,
                "early_stopping.mode": mode,
                "early_stopping.patience": 5,
                "trainer.gradient_clip_val": 1.0,
                "trainer.log_every_n_steps": 10,
                "trainer.num_sanity_val_steps": 0,
                "trainer.enable_model_summary": False,  # the module says in a line what it trains
                # the sampler shares users among processes itself, and can be resumed
                "trainer.use_distributed_sampler": False,
                "trainer.logger": {
                    "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
                    "init_args": {"save_dir": "runs", "name": "recall", "default_hp_metric": False},
                },
            }
        )

    def _parse_ckpt_path(self) -> None:
        """Leave the command line alone: Lightning would put the checkpoint's settings in the place of its own."""

    def instantiate_classes(self) -> None:
        try:
            super().instantiate_classes()
        except ValueError as error:  # jsonargparse wraps what a class says of its arguments in many lines of its own
            raise InputError(str(_first_cause(error))) from error
        settings = self.config_init[str(self.subcommand)]
        settings["weights_only"] = True  # a checkpoint is data, never code
        if settings["ckpt_path"] == "last" and self.subcommand == "fit":
            settings["ckpt_path"] = self._last()
        path = settings["ckpt_path"]
        if settings["method"] == "pretrain" and self.subcommand in ("test", "predict"):
            raise InputError(
                f"`{self.subcommand}` is of models that rank items, which a pretrained encoder (method: pretrain) "
                "doesn't. Use `validate`, or fine-tune it: fit --config FILE.yaml --model.encoder.path FOLDER"
            )
        if not path and self.subcommand != "fit":
            raise InputError(
                f"--ckpt_path is missing: `{self.subcommand}` needs a trained model. Give the path that `fit` printed"
            )
        if not path:
            return
        checkpoint = read_checkpoint(Path(path))  # a broken one is told before the data is read
        kind = kind_of(checkpoint)
        if kind is not METHODS[settings["method"]][0]:
            (its_own,) = (method for method, (module, _) in METHODS.items() if module is kind)
            raise InputError(
                f"{path}: trained with `method: {its_own}`, but the method given is {settings['method']}. Give "
                f"--method {its_own}, or another checkpoint"
            )
        if self.subcommand != "fit":
            self.model = kind.restored(checkpoint, path)
            self.datamodule.tokenizer = self.model.tokenizer

    def _last(self) -> str | None:
        """The last checkpoint of the run's folder; None where there is none yet: what `--ckpt_path last` stands for."""
        best = self.trainer.checkpoint_callback
        if not isinstance(best, ModelCheckpoint) or not best.dirpath:
            raise InputError("--ckpt_path last: of which folder? Give it by --checkpoint.dirpath, or the file's path")
        path = os.path.join(best.dirpath, "last.ckpt")
        return path if os.path.isfile(path) else None

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        given = self._get(self.config_init, "trainer", default={})
        self.precision_asked = given.get("precision")  # and what is kept beside the run, which may go on elsewhere
        precision = precision_here(self.precision_asked, given.get("accelerator"))
        trainer = super().instantiate_trainer(**kwargs, precision=precision)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # and not a plugin that a config names
            trainer.strategy.checkpoint_io = WholeCheckpoints()
        return trainer

    def _run_subcommand(self, subcommand: str) -> None:
        if self.precision_asked in MIXED and self.trainer.precision == "32-true":
            log.info("precision: 32-true, since this processor has no bfloat16 and would only imitate it")
        super()._run_subcommand(subcommand)

    def after_fit(self) -> None:
        best = self.trainer.checkpoint_callback
        if not isinstance(best, ModelCheckpoint) or not self.trainer.is_global_zero:
            return
        if best.best_model_path:
            path = os.path.relpath(best.best_model_path)
            print(f"best {best.monitor} {float(best.best_model_score or 0):.4f}, kept in {path}")
            if isinstance(self.model, PretrainModule):
                self._keep_encoder(path)
            return
        for kept in self.trainer.checkpoint_callbacks:
            if isinstance(kept, LastCheckpoint) and kept.path:
                print(f"no best checkpoint was kept; the last step's is {os.path.relpath(kept.path)}")

    def _keep_encoder(self, best: str) -> None:
        """Write the encoder of the best checkpoint beside it, and say how to go on."""
        folder = encoder_folder(best)
        PretrainModule.load_from_checkpoint(best).save_encoder(folder)
        given = Path(str(self.config.fit.config[0])) if self.config.fit.config else Path("FILE.yaml")
        twin = given.parent.parent / given.name  # configs/pretrain/NAME.yaml is for what configs/NAME.yaml trains
        config = twin if twin.is_file() and twin.parent != given.parent else "FILE.yaml"
        print(f"its encoder is the folder {folder}. To fine-tune it:")
        print(shlex.join(["recall-lightning", "fit", "--config", str(config), "--model.encoder.path", str(folder)]))


class ParsedOnly(RecallCLI):
    """Takes whatever `fit` takes, a run's own `config.yaml` too, and starts nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def run(given: list[str]) -> None:
    """Run a command of the Trainer.

    Args:
        given: the command and its flags.

    Raises:
        InputError: if a key, a value or a file can't be used.
    """
    quiet_libraries()
    fast_products()
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["--help" if word == "--help-all" else word for word in _with_own_config(given, Path(folder))]
        auto = _automatic(arguments) if given[0] == "fit" else None
        with watched_peers():
            done = _cli(RecallCLI, [*arguments, *(auto.flags if auto else [])])
        best = done.trainer.checkpoint_callback
        if auto and isinstance(best, ModelCheckpoint) and best.best_model_path:
            auto.finish(Path(best.best_model_path), done.datamodule)


def data_of(configs: list[str], keys: list[str] | None = None, *, quiet: bool = False) -> RecallDataModule:
    """The data module that configs describe.

    Args:
        configs: the files; what a later one says wins.
        keys: flags that win over the files.
        quiet: whether it keeps to itself what it reads.

    Raises:
        InputError: if the config can't be used.
    """
    quiet_libraries()
    if quiet:
        logging.getLogger("recall_lightning").setLevel(logging.WARNING)
    arguments = [word for config in configs for word in ("--config", config)]
    data: RecallDataModule = _cli(ParsedOnly, ["fit", *arguments, *(keys or [])]).datamodule
    return data


def _cli(kind: type[RecallCLI], arguments: list[str]) -> RecallCLI:
    method = _method(arguments)
    module, data = METHODS[method]
    try:
        return kind(
            model_class=module,
            datamodule_class=data,
            args=arguments,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False},
            trainer_defaults={"callbacks": default_callbacks(method)},
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"overwrite": True},
            load_from_checkpoint_support=False,
            auto_configure_optimizers=False,
        )
    except ArgumentError as error:
        raise InputError(_readable(str(error))) from error
    except MisconfigurationException as error:  # settings of the Trainer that contradict each other
        raise InputError(str(error)) from error


def _automatic(arguments: list[str]) -> "Automatic | None":
    """The search that flags or configs ask for, done; None where they ask for none."""
    named = [word for word in arguments if word.partition("=")[0] == "--auto.minutes"]
    configs = [_read_yaml(path) for name, path in _pairs(arguments) if name == "--config"]
    if not named and not any(isinstance(settings, dict) and "auto" in settings for settings in configs):
        return None
    from recall_lightning.cli.auto import Automatic, minutes_of

    program = _cli(ParsedOnly, arguments)
    minutes = minutes_of(program)
    if minutes is None:
        return None
    return Automatic(arguments, minutes, partial(_cli, ParsedOnly), program)


def _pairs(arguments: list[str]) -> list[tuple[str, str]]:
    """Each word with the one after it, a flag that is joined to its value by `=` as two."""
    flags = [word.split("=", 1) if word.startswith("--") else [word] for word in arguments]
    words = [part for flag in flags for part in flag]
    return list(zip(words, [*words[1:], ""], strict=True))


def _method(arguments: list[str]) -> str:
    """The method that flags or else configs name: what the parser knows only once it is made for one."""
    found = "recall"
    given = _pairs(arguments)
    for path in [value for name, value in given if name == "--config"]:
        settings = _read_yaml(path)
        found = settings.get("method", found) if isinstance(settings, dict) else found
    found = next((value for name, value in reversed(given) if name == "--method"), found)
    if found not in METHODS:
        raise InputError(f"method is {found}: give one of {', '.join(METHODS)}")
    return found


def _read_yaml(path: str) -> Any:
    """A config's settings, or nothing where it can't be read: the parser tells why."""
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _first_cause(error: BaseException) -> BaseException:
    """The exception that the others came of."""
    before = error.__cause__ or error.__context__
    return _first_cause(before) if isinstance(before, ValueError) else error


def _with_own_config(given: list[str], folder: Path) -> list[str]:
    """Without `--config`, a checkpoint is evaluated with the settings it was trained with."""
    flags = {word.split("=")[0]: i for i, word in enumerate(given) if word.startswith("--")}
    if given[0] == "fit" or "--config" in flags or "--ckpt_path" not in flags:
        return given
    at = flags["--ckpt_path"]
    path = given[at].partition("=")[2] or (given[at + 1] if at + 1 < len(given) else "")
    checkpoint = read_checkpoint(Path(path))
    model = dict(checkpoint["hyper_parameters"])
    model.pop("init_from", None)  # the checkpoint has all weights itself
    (method,) = (name for name, (module, _) in METHODS.items() if module is kind_of(checkpoint))
    settings = {"method": method, "model": model, "data": checkpoint["datamodule_hyper_parameters"]}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return [given[0], "--config", str(folder / "config.yaml"), *given[1:]]


def _readable(message: str) -> str:
    """jsonargparse's message in one line, its most telling part first."""
    return " ".join(line.strip(" -") for line in message.splitlines() if line.strip()) + ". See `--print_config`"
