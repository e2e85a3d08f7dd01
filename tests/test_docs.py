"""README and docs: links lead somewhere, commands parse, snippets compile."""

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
import string
import textwrap
from functools import cache
from pathlib import Path

import pytest
from jsonargparse import ArgumentError

from recall_lightning.cli import main as program
from recall_lightning.cli.trainer import METHODS, ParsedOnly, _cli, _method

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED_FILE = re.compile(r"\b(?:configs|docs|scripts|tests)/[\w./-]+\.(?:md|png|py|sh|yaml)(?:#[\w-]+)?")
COMMAND = re.compile(r"(?:\brecall-lightning|-m recall_lightning) +(.*)")
OTHER_PROGRAMS = {"--logdir", "--max-restarts", "--node_rank"}  # flags of tensorboard and torchrun
NAMES = [*program.TRAINER_COMMANDS, *program.COMMANDS]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def prose(page):
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def blocks(page, language):
    return [body for name, body in FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


@cache
def anchors(page):
    """What GitHub makes of the headings of a page."""
    found = []
    for heading in re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()).strip()
        slug = kept.replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return found


def missing(target, folder, page):
    """Whether a link of a page, relative to a folder, leads nowhere."""
    path, _, anchor = target.partition("#")
    file = (folder / path).resolve() if path else page
    return not file.exists() or bool(anchor and anchor not in anchors(file))


@pages
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page):
    links = [link for link in LINK.findall(prose(page)) if not re.match(r"https?:|mailto:", link)]
    assert [link for link in links if missing(link, page.parent, page)] == []


@pages
def test_every_file_that_a_page_names_is_there(page):
    assert [name for name in NAMED_FILE.findall(page.read_text("utf-8")) if missing(name, ROOT, page)] == []


def test_every_page_that_code_and_configs_name_is_there():
    files = [file for part in ("recall_lightning", "configs", "scripts") for file in (ROOT / part).rglob("*.*")]
    read = {file: file.read_text("utf-8") for file in files if file.suffix in {".py", ".sh", ".yaml"}}
    named = [(file.name, name) for file, text in read.items() for name in NAMED_FILE.findall(text)]
    assert len(named) > 20
    assert [pair for pair in named if pair[1].startswith("docs/") and missing(pair[1], ROOT, ROOT)] == []


def test_every_page_is_linked_from_the_readme():
    linked = {(ROOT / link.partition("#")[0]).resolve() for link in LINK.findall(prose(PAGES[0]))}
    assert [page.name for page in PAGES[1:] if page not in linked] == []


# -- commands ----------------------------------------------------------------------------------------------------------


def commands(page):
    """Words of each command of the program in a page's blocks, shell variables set in, without what shells do with it.

    What only whoever reads can fill in (`$O`, `...`) goes; such a command counts as one that isn't whole.
    """
    found, variables = [], {}
    for body in [*blocks(page, "bash"), *blocks(page, "")]:
        joined = re.sub(r"\b\w+=\"[^\"]*\"", lambda value: value[0].replace("\n", " "), body.replace("\\\n", " "))
        for line in joined.splitlines():
            for name, quoted in re.findall(r"(?:^|[\s;])(\w+)=('[^']*'|\"[^\"]*\"|[^\s;]*)", line.partition("#")[0]):
                variables[name] = string.Template(quoted.strip("'\"")).safe_substitute(variables)
            for command in COMMAND.findall(line):
                lexer = shlex.shlex(
                    string.Template(command).safe_substitute(variables), posix=True, punctuation_chars="|;&<>"
                )
                lexer.whitespace_split, lexer.commenters = True, "#"
                words = list(lexer)
                ends = [at for at, word in enumerate(words) if word[0] in "|;&<>"]
                words = words[: ends[0]] if ends else words
                if words and words[0] in NAMES:
                    open_at = {at for at, word in enumerate(words) if word.startswith("$") or word == "..."}
                    open_at |= {at - 1 for at in open_at if words[at - 1].startswith("--")}  # the flag of such a value
                    found.append(([word for at, word in enumerate(words) if at not in open_at], not open_at))
    return found


def with_configs_that_exist(words):
    """A run's own config, or a placeholder, is taken for the config that it came of."""
    words = list(words)
    for at in [at for at, word in enumerate(words[:-1]) if word == "--config"]:
        if words[at + 1] in {"FILE.yaml", "CONFIG"}:
            words[at + 1] = "configs/movielens-100k.yaml"
        words[at + 1] = re.sub(r"^runs/([\w-]+)/.*/config\.yaml$", r"configs/\1.yaml", words[at + 1])
        assert (ROOT / words[at + 1]).is_file(), f"there is no {words[at + 1]}"
    return words


@cache
def parser_of(method, command):
    """The real parser of a command of the Trainer."""
    configs = {"recall": ["movielens-100k"], "pretrain": ["pretrain/movielens-1m"]}
    configs["maml"] = ["cold-users/movielens-100k", "cold-users/maml"]
    given = [word for name in configs[method] for word in ("--config", f"configs/{name}.yaml")]
    started = ["--model.init_from", "CKPT"] if method == "maml" else []

    class NotMade(ParsedOnly):
        def instantiate_classes(self):
            self.datamodule = self.model = self.trainer = None

    made = _cli(NotMade, [command, *given, *started])
    return made.parser._subcommands_action._name_parser_map[command]


def check_keys(words):
    """Parse words of a Trainer's command as it would."""
    command, *flags = words
    method = _method(words)
    try:
        parser_of(method, command).parse_args([flag for flag in flags if flag != "--help-all"])
    except (ArgumentError, SystemExit) as error:
        pytest.fail(f"recall-lightning {shlex.join(words)}: {error}")


@pages
def test_every_command_of_a_page_parses(page, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    for words, whole in commands(page):
        goes_on = words[0] == "fit" and "--ckpt_path" in words
        assert not (goes_on and "configs/own-data.yaml" in words), "a search is not gone on with: give its config.yaml"
        words = with_configs_that_exist(words)
        if words[0] in program.TRAINER_COMMANDS:
            its_own = words[0] != "fit" and "--ckpt_path" in words  # a checkpoint's, where no config is given
            needs = "--config" not in words and (its_own or not whole)
            given = ["--config", "configs/movielens-100k.yaml"] if needs else []
            check_keys([words[0], *given, *words[1:]])
            continue
        try:
            parsed = program._parse(words)
        except SystemExit:
            told = capsys.readouterr().err
            if not whole and "required" in told:
                continue
            pytest.fail(f"recall-lightning {shlex.join(words)}: {told}")
        if parsed.keys:
            configs = [word for config in parsed.config for word in ("--config", config)]
            check_keys(["fit", *configs, *parsed.keys])


@cache
def options():
    """Every flag of every command, and every key of every method with dashes before it."""
    choices = next(a.choices for a in program._parser()._actions if isinstance(a, argparse._SubParsersAction))
    parsers = [*choices.values(), *(program._train_parser(name) for name in program.TRAINER_COMMANDS)]
    parsers += [parser_of(method, "fit") for method in METHODS]
    flags = {flag for parser in parsers for action in parser._actions for flag in action.option_strings}
    return {flag for flag in flags if not flag.endswith(".help")}


def exists(flag):
    """Whether it is one, or an argument of a class that is named by one which lists none itself."""
    parents = [flag.rsplit(".", cut)[0] for cut in range(1, flag.count("."))]
    named = [parent for parent in parents if parent in options()]
    return flag in options() or any(not any(o.startswith(f"{parent}.") for o in options()) for parent in named)


@pages
def test_every_flag_and_key_in_the_text_exists(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    spans = re.findall(r"`([^`\n]+)`", prose(page))
    flags = {flag for span in spans for flag in re.findall(r"(?<!\S)--([a-zA-Z][\w.-]*)", span)}
    flags |= {
        key for span in spans for key in re.findall(r"^((?:auto|data|early_stopping|model|trainer)\.[\w.]+)", span)
    }
    scripts = " ".join(script.read_text("utf-8") for script in (ROOT / "scripts").glob("*.py"))
    named = {f"--{flag.rstrip('.')}" for flag in flags if not flag.endswith(".yaml") and flag != "KEY"} - OTHER_PROGRAMS
    assert sorted(flag for flag in named if not exists(flag) and f'"{flag}"' not in scripts) == []


# -- snippets ----------------------------------------------------------------------------------------------------------


@pages
def test_every_snippet_compiles_and_imports_what_exists(page):
    for body in blocks(page, "python"):
        tree = ast.parse(textwrap.dedent(body))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recall_lightning"):
                module = importlib.import_module(node.module)
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert [name for name in names if importlib.util.find_spec(name.partition(".")[0]) is None] == []


def test_the_tour_shows_the_code_that_runs():
    code = (ROOT / "scripts" / "tour.py").read_text("utf-8")
    shown = blocks(ROOT / "docs" / "tour.md", "python")
    assert len(shown) > 5
    assert [part for part in shown if part not in code] == []
