"""The data module of episodes: users as tasks, and held-out users asked about by number of support interactions."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recall_lightning.data.episode_datamodule import EpisodeDataModule
from recall_lightning.data.episodes import EpisodeConfig
from recall_lightning.data.readers.tabular import Tabular
from recall_lightning.data.splits import Splits
from recall_lightning.errors import InputError

ITEMS = ["alien", "brazil", "casino", "dune", "fargo", "gattaca", "heat", "jaws", "memento", "psycho", "solaris", "up"]

HISTORIES = {
    "ann": ["alien", "brazil", "dune", "heat"],
    "bob": ["heat", "fargo", "solaris", "alien", "memento", "brazil"],
    "cid": ["dune", "solaris", "alien", "jaws", "heat"],
    "dee": ["jaws", "heat", "memento", "dune", "brazil"],
    "eve": ["psycho", "fargo"],
    "fay": ["memento", "gattaca", "heat", "alien"],
    "gus": ["brazil"],
    "hal": ["fargo", "jaws", "memento", "alien", "psycho", "dune", "heat"],
}
SEED = 20  # holds out cid for the validation, and ann and bob for the test, by their ids alone
TASKS = {"dee", "eve", "fay", "hal"}  # gus is too short to be one


@pytest.fixture
def data(tmp_path, tiny_encoder):
    """Makes a data module of the typed histories, or of others."""

    def make(histories=HISTORIES, *, splits=Splits("cold_users", share=0.2, n_queries=2, k=1), **options):  # noqa: B008
        rows = [f"{user},{item},{n}\n" for user, items in histories.items() for n, item in enumerate(items)]
        (tmp_path / "ratings.csv").write_text("user_id,item_id,timestamp\n" + "".join(rows))
        (tmp_path / "items.csv").write_text("item_id,title\n" + "".join(f"{item},{item}\n" for item in ITEMS))
        reader = Tabular(str(tmp_path / "ratings.csv"), str(tmp_path / "items.csv"))
        options = {"eval_support": [1, 3], "episodes": EpisodeConfig(max_support=2, n_queries=2)} | options
        return EpisodeDataModule(reader, "{title}", str(tiny_encoder), splits, seed=SEED, **options)

    return make


def prepared(module):
    module.setup()
    return module


def names(rows):
    return [ITEMS[row] for row in rows.tolist() if row >= 0]


def asked(module, loader):
    """{number of support interactions: {user: (support, query)}}, each batch being of one number."""
    found = {}
    for batch in loader:
        (k,) = {len(names(history)) for history in batch.history}
        for user, history, targets in zip(batch.users, batch.history, batch.targets, strict=True):
            found.setdefault(k, {})[module.interactions.user_ids[user]] = (names(history), names(targets))
    return found


def test_one_loader_asks_with_each_number_of_support_interactions(data):
    module = prepared(data())
    assert asked(module, module.test_dataloader()) == {
        1: {"ann": (["alien"], ["brazil", "dune"]), "bob": (["heat"], ["fargo", "solaris"])},
        3: {
            "ann": (["alien", "brazil", "dune"], ["heat"]), "bob": (["heat", "fargo", "solaris"], ["alien", "memento"])
        },
    }  # fmt: skip
    assert asked(module, module.val_dataloader()) == {
        1: {"cid": (["dune"], ["solaris", "alien"])}, 3: {"cid": (["dune", "solaris", "alien"], ["jaws", "heat"])}
    }  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
def test_numbers_take_turns_from_the_largest_so_that_a_few_batches_ask_with_each(data, workers):
    module = prepared(data(eval_support=[1, 3, 2], eval_batch_size=1, num_workers=workers))
    supports = [batch.history.shape for batch in module.test_dataloader()]
    assert supports == [(1, 3), (1, 2), (1, 1)] * 2
    module = prepared(data(eval_support=[1, 3]))
    assert [batch.history.shape for batch in module.test_dataloader()] == [(2, 3), (2, 1)]


def test_processes_share_the_cases_of_each_number_and_none_is_asked_twice(data):
    module = prepared(data(HISTORIES | {"bob": ["heat", "fargo"]}))  # too few for three
    shares = []
    for rank in (0, 1):
        module.trainer = SimpleNamespace(
            global_rank=rank, world_size=2, strategy=SimpleNamespace(root_device=torch.device("cpu"))
        )
        shares.append(asked(module, module.test_dataloader()))
    assert [sorted(share) for share in shares] == [[1, 3], [1]]
    assert sorted((k, *users) for share in shares for k, users in share.items()) == [(1, "ann"), (1, "bob"), (3, "ann")]


def test_a_fixed_query_is_the_same_for_every_support(data):
    module = prepared(data(splits=Splits(
        "cold_users", share=0.2, n_queries=2, k=1, query="fixed", support="last", window_from=3
    )))  # fmt: skip
    found = {k: users["bob"] for k, users in asked(module, module.test_dataloader()).items()}
    assert found == {
        1: (["solaris"], ["alien", "memento"]), 3: (["heat", "fargo", "solaris"], ["alien", "memento"])
    }  # fmt: skip


def test_the_same_held_out_users_can_be_asked_in_another_way(data):
    module = prepared(data())
    validation, test = module.cases(Splits("cold_users", share=0.2, n_queries=1, k=2))
    held = [[module.interactions.user_ids[user] for user in cases.users] for cases in (validation, test)]
    assert [sorted(users) for users in held] == [["cid"], ["ann", "bob"]]
    queries = [names(module.interactions.items[start:stop]) for start, stop in test.targets]
    assert dict(zip(held[1], queries, strict=True)) == {"ann": ["dune"], "bob": ["solaris"]}


def tasks(module):
    """What batches of a few epochs hold."""
    collate = module.train_dataloader().collate_fn
    return [collate([(epoch, task) for task in range(len(collate.spans))]) for epoch in range(20)]


def test_held_out_users_are_no_tasks(data):
    for batch in tasks(prepared(data(n_negatives=3))):
        whole = [names(known) for known in batch.known]
        assert sorted(whole) == sorted(HISTORIES[user] for user in TASKS)
        for told, asked, history in zip(batch.history, batch.targets, whole, strict=True):
            stretch = names(batch.items[torch.cat([told[told >= 0], asked[asked >= 0]])])
            assert stretch == history[: len(stretch)]


def test_held_out_users_are_counted_nowhere(data):
    module = prepared(data(batch_size=4, n_negatives=2))
    counted = Counter(item for user in (*TASKS, "gus") for item in HISTORIES[user])
    assert module.counts.tolist() == [counted[item] for item in ITEMS]
    reach = Counter(item for user in (*TASKS, "gus") for item in HISTORIES[user][:4])  # two told, two asked for
    n, drawn = sum(reach.values()), 4 * (1.5 + 2)
    expected = [1 - (1 - reach[item] / n) ** drawn * (1 - 1 / len(ITEMS)) ** 2 for item in ITEMS]
    assert np.exp(module.train_dataloader().collate_fn.log_q).tolist() == pytest.approx(expected, rel=1e-5)


def test_other_interactions_of_held_out_users_change_nothing_of_training(data):
    def training(histories):
        module = prepared(data(histories, n_negatives=3, max_encoded_items=4))
        fields = ("items", "history", "targets", "known", "log_q")
        return [module.counts.tolist(), *([getattr(b, f).tolist() for f in fields] for b in tasks(module))]

    same = training(HISTORIES)
    assert same == training(HISTORIES | {"ann": ["up", "casino", "psycho", "jaws", "dune"], "bob": ITEMS[::-1]})
    assert same != training(HISTORIES | {"dee": ["jaws", "heat", "memento", "dune", "up"]})


def test_the_smallest_support_and_the_number_of_queries_decide_who_is_a_task(data):
    episodes = EpisodeConfig(min_support=4, max_support=4)
    (batch,) = prepared(data(episodes=episodes)).train_dataloader()
    assert sorted(map(len, map(names, batch.known))) == [5, 7]  # dee and hal
    with pytest.raises(InputError, match=r"data\.episodes: no training user has more than 7 interactions"):
        prepared(data(episodes=EpisodeConfig(min_support=7))).train_dataloader()


@pytest.mark.parametrize("k", [6, 40])
def test_a_support_larger_than_any_held_out_history_is_told_in_one_line(data, k):
    with pytest.raises(InputError) as told:
        data(eval_support=[1, k]).setup()
    assert str(told.value) == (
        f"data.eval_support is [1, {k}], but no user held out for validation, or none for the test, has more than {k} "
        "interactions. Give smaller numbers, or raise data.splits.share"
    )


@pytest.mark.parametrize("name", ["leave_last_out", "temporal", "new_items"])
def test_a_split_that_holds_no_user_out_is_refused(data, name):
    with pytest.raises(InputError, match=rf"^data\.splits\.name is {name}, but episodes need .* set it to cold_users$"):
        data(splits=Splits(name))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"eval_support": []}, r"^data\.eval_support is \[\]: give different numbers from 1 up, such as \[1, 5\]$"),
        ({"eval_support": [0, 1]}, r"^data\.eval_support is \[0, 1\]: give different numbers"),
        ({"eval_support": [2, 2]}, r"^data\.eval_support is \[2, 2\]: give different numbers"),
        ({"eval_support": [1, 9], "max_history": 8}, r"^data\.eval_support is \[1, 9\], but the user tower sees 8"),
        ({"episodes": EpisodeConfig(n_queries=0)}, r"^data\.episodes\.n_queries is 0"),
        ({"episodes": EpisodeConfig(max_support=9), "max_history": 8}, r"^data\.episodes\.max_support is 9, but"),
        ({"splits": Splits("cold_users", query="fixed", window_from=2, k=1)}, r"^data\.splits\.window_from is 2"),
    ],
)
def test_a_value_that_cannot_be_meant_names_its_key_before_any_file_is_read(data, settings, told):
    with pytest.raises(InputError, match=told):
        data(**settings)


def test_hyperparameters_are_plain(data, tmp_path):
    torch.save(dict(data().hparams), tmp_path / "kept.pt")
    read = torch.load(tmp_path / "kept.pt", weights_only=True)
    assert (read["eval_support"], read["episodes"]["max_support"]) == ([1, 3], 2)


@pytest.mark.parametrize("option", [{"train_first": 5}, {"cut_share": 0.5}])
def test_options_of_sequences_are_refused_where_episodes_are_cut(data, option):
    with pytest.raises(InputError, match=r"data\.train_first and data\.cut_share .* set them to null and 0"):
        data(**option)
