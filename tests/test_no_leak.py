"""Nothing of what is held out reaches training: not in a batch, a count, a negative, a residual or a weight."""

from collections import Counter

import lightning as L
import numpy as np
import pytest
import torch

from recall_lightning import L2, ItemTower, RecallDataModule, RecallLoss, RecallModule, TransformerTower
from recall_lightning.data.readers.tabular import Tabular
from recall_lightning.data.splits import Splits
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.modules.optimizers import OptimizerConfig

ITEMS = [
    "alien", "brazil", "casino", "dune", "fargo", "gattaca", "heat", "jaws", "memento", "psycho", "solaris", "tron",
    "up", "vertigo",
]  # fmt: skip

# seven items a user, of which the n-th is taken at the time n; nobody takes casino or up, and psycho comes late
HISTORIES = {
    "ann": ["alien", "brazil", "dune", "heat", "jaws", "tron", "psycho"],
    "bob": ["heat", "fargo", "vertigo", "alien", "memento", "brazil", "gattaca"],
    "cid": ["dune", "solaris", "alien", "tron", "heat", "vertigo", "jaws"],
    "dee": ["jaws", "heat", "memento", "dune", "brazil", "psycho", "solaris"],
    "eve": ["vertigo", "tron", "fargo", "solaris", "dune", "alien", "heat"],
    "fay": ["memento", "gattaca", "heat", "vertigo", "tron", "dune", "psycho"],
    "gus": ["brazil", "alien", "gattaca", "jaws", "solaris", "heat", "fargo"],
    "hal": ["tron", "vertigo", "jaws", "memento", "alien", "fargo", "dune"],
}

SEED = 20  # draws the users and items below, by their ids alone
HELD_USERS = {"validation": {"cid"}, "test": {"ann", "bob"}}
HELD_ITEMS = {"validation": {"brazil", "heat", "tron"}, "test": {"casino", "gattaca", "solaris"}}
SPLITS = {
    "leave_last_out": Splits(),
    "temporal": Splits("temporal", validation_from=5, test_from=6),
    "cold_users": Splits("cold_users", share=0.2, k=2, n_queries=2),
    "new_items": Splits("new_items", share=0.2),
}

RUNS = [(split, candidates) for split in SPLITS for candidates in ("batch", "catalogue")]


def trained_on(split, histories):
    """{user: what of their history may be trained on}."""
    held_users, held_items = (set.union(*held.values()) for held in (HELD_USERS, HELD_ITEMS))
    return {
        user: {
            "leave_last_out": items[:-2],
            "temporal": items[:5],
            "cold_users": [] if user in held_users else items,
            "new_items": [item for item in items if item not in held_items],
        }[split]
        for user, items in histories.items()
    }


def held_out_changed(split):
    """Histories of which training may know the same, while all that is held out differs."""
    changed = {}
    for user, items in HISTORIES.items():
        kept = trained_on(split, HISTORIES)[user]
        others = [item for item in ITEMS if item not in items]
        if split in ("leave_last_out", "temporal"):
            changed[user] = [*kept, *others[:2]]  # casino among them, which nobody took before
        elif split == "cold_users":
            changed[user] = kept or others[: 3 + len(user)]
        else:
            changed[user] = [kept[0], *sorted(set.union(*HELD_ITEMS.values())), *kept[1:]]
    return changed


class Recorder(L.Callback):
    """Keeps every batch that training sees."""

    def __init__(self):
        self.batches = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append(batch)


class Run:
    """A short real fit, with validation, and what it saw."""

    def __init__(self, folder, encoder, split, candidates, histories=HISTORIES, titles=None):
        rows = [f"{user},{item},{n}\n" for user, items in histories.items() for n, item in enumerate(items)]
        (folder / "ratings.csv").write_text("user_id,item_id,timestamp\n" + "".join(rows))
        described = [f"{item},{(titles or {}).get(item, item)}\n" for item in ITEMS]
        (folder / "items.csv").write_text("item_id,title\n" + "".join(described))
        self.split = split
        self.data = RecallDataModule(
            Tabular(str(folder / "ratings.csv"), str(folder / "items.csv")), "{title}", str(encoder), SPLITS[split],
            batch_size=4, max_history=4, n_negatives=6, max_encoded_items=8, seed=SEED,
        )  # fmt: skip
        torch.manual_seed(1)
        self.recall = RecallModule(
            EncoderConfig(str(encoder)), TransformerTower(1, 2),
            ItemTower(16, residual=True, residual_dropout=0.2, words=2),
            RecallLoss(regularizers=[L2(0.1)]), candidates=candidates, ks=[3],
            optimizer=OptimizerConfig(encoder_lr=1e-3, tower_lr=1e-2, weight_decay=0.5),
        )  # fmt: skip
        recorder = Recorder()
        trainer = L.Trainer(
            callbacks=[recorder], max_epochs=2, logger=False, enable_checkpointing=False, accelerator="cpu",
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
            default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(self.recall, self.data)
        self.batches, self.n_steps = recorder.batches, trainer.global_step

    @property
    def held(self):
        """Items that training must know nothing of."""
        is_held = self.data.split.held_items
        return set() if is_held is None else {item for item, held in zip(ITEMS, is_held, strict=True) if held}

    def weights(self):
        return {name: value.clone() for name, value in self.recall.state_dict().items() if torch.is_tensor(value)}


@pytest.fixture(scope="module")
def fit(tmp_path_factory, tiny_encoder):
    def run(*args, **changes):
        return Run(tmp_path_factory.mktemp("run"), tiny_encoder, *args, **changes)

    return run


@pytest.fixture(scope="module", params=RUNS, ids="-".join)
def run(request, fit):
    """A fit on the typed tables, for each split and each choice of candidates."""
    return fit(*request.param)


def ids(rows):
    return [ITEMS[row] for row in rows if row >= 0]


def test_the_split_holds_out_what_this_file_takes_it_to(run):
    cases = {"validation": run.data.split.validation, "test": run.data.split.test}
    if run.split == "cold_users":
        assert {p: {c.interactions.user_ids[u] for u in c.users} for p, c in cases.items()} == HELD_USERS
    if run.split == "new_items":
        assert {p: {i for i, new in zip(ITEMS, c.among, strict=True) if new} for p, c in cases.items()} == HELD_ITEMS
    held = {"temporal": {"casino", "up", "psycho"}, "new_items": set.union(*HELD_ITEMS.values())}
    assert run.held == held.get(run.split, set())
    assert run.n_steps >= 4


def test_every_sequence_is_a_stretch_of_what_its_user_may_be_trained_on(run):
    allowed = trained_on(run.split, HISTORIES)
    for batch in run.batches:
        for history, targets, known in zip(batch.history, batch.targets, batch.known, strict=True):
            (user,) = (user for user, items in allowed.items() if items and items == ids(known.tolist()))
            told, asked = (ids(batch.items[part[part >= 0]].tolist()) for part in (history, targets))
            stretch = [told[0], *asked]
            assert stretch[:-1] == told
            at = allowed[user].index(told[0])
            assert allowed[user][at : at + len(stretch)] == stretch


def test_no_batch_holds_a_held_item_neither_asked_for_nor_as_a_negative(run):
    for batch in run.batches:
        assert not set(ids(batch.items.tolist())) & run.held
        assert len(set(batch.items.tolist())) == len(batch.items)
        if run.held:
            assert set(ids(batch.trainable.tolist())) == set(ITEMS) - run.held
        else:
            assert batch.trainable is None
    met = {row for batch in run.batches for row in batch.items.tolist()}
    assert set(ids(met)) == set(ITEMS) - run.held  # the negatives do reach every other item


def test_counts_are_of_what_may_be_trained_on_alone(run):
    counted = Counter(item for items in trained_on(run.split, HISTORIES).values() for item in items)
    assert dict(zip(ITEMS, run.data.counts.tolist(), strict=True)) == {item: counted[item] for item in ITEMS}
    assert run.recall.background.counts.tolist() == run.data.counts.tolist()
    assert all(counted[item] == 0 for item in run.held)


def test_the_chance_to_be_a_candidate_is_counted_on_what_may_be_trained_on_alone(run):
    allowed = trained_on(run.split, HISTORIES)
    counted = Counter(item for items in allowed.values() for item in items)
    n = sum(counted.values())
    pairs = [max(len(items) - 1, 0) for items in allowed.values()]
    n_sequences = sum(-(-n_pairs // 4) for n_pairs in pairs)
    for batch in run.batches:
        expected = [
            np.log(1 - (1 - counted[item] / n) ** (n / n_sequences * 4) * (1 - 1 / (len(ITEMS) - len(run.held))) ** 6)
            for item in ids(batch.items.tolist())
        ]
        assert batch.log_q.tolist() == pytest.approx(expected, rel=1e-5)


def test_residuals_of_held_items_stay_exactly_zero_and_others_move(run):
    moved = run.recall.model.item_tower.residual.detach().abs().sum(1) > 0
    assert not {item for item, has_moved in zip(ITEMS, moved, strict=True) if has_moved} & run.held
    assert moved.sum() >= 5


def test_the_cache_holds_the_texts_vectors_and_nothing_else(run):
    expected = encode_texts(run.recall.model.encoder, run.data.tokens, torch.device("cpu"))
    assert torch.equal(run.recall.model.cache.vectors, expected)


def assert_same_weights(one, other):
    assert one.weights().keys() == other.weights().keys()
    different = [name for name, value in one.weights().items() if not torch.equal(value, other.weights()[name])]
    assert not different


def test_other_held_out_interactions_change_no_weight(run, fit):
    histories = held_out_changed(run.split)
    assert trained_on(run.split, histories) == trained_on(run.split, HISTORIES)
    again = fit(run.split, run.recall.candidates, histories=histories)
    asked = [
        [c.interactions.items[slice(*span)].tolist() for span in c.targets]
        for c in (run.data.split.test, again.data.split.test)
    ]
    assert asked[0] != asked[1]
    assert_same_weights(run, again)


@pytest.mark.parametrize("run", [r for r in RUNS if r[0] in ("temporal", "new_items")], ids="-".join, indirect=True)
def test_other_texts_of_held_items_change_no_weight_and_only_their_own_vectors(run, fit):
    assert run.held
    # letters are tokens: reversed, a text keeps its length, and so the shapes that others are encoded in
    again = fit(run.split, run.recall.candidates, titles={item: item[::-1] for item in run.held})
    assert_same_weights(run, again)
    same = (run.recall.model.cache.vectors == again.recall.model.cache.vectors).all(1)
    assert {item for item, is_same in zip(ITEMS, same, strict=True) if not is_same} == run.held


def test_one_other_interaction_to_train_on_does_change_weights(run, fit):
    """Else the tests above would prove nothing."""
    histories = HISTORIES | {"gus": ["fargo", *HISTORIES["gus"][1:-1], "brazil"]}  # its first and last change places
    assert trained_on(run.split, histories) != trained_on(run.split, HISTORIES)
    again = fit(run.split, run.recall.candidates, histories=histories)
    with pytest.raises(AssertionError):
        assert_same_weights(run, again)
