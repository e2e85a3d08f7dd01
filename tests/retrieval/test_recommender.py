"""Recommender: a checkpoint put to use, on users and items it never saw."""

import csv

import lightning as L
import pyarrow.parquet as pq
import pytest
import torch

from recall_lightning import (
    InputError,
    ItemTower,
    RecallDataModule,
    RecallModule,
    Recommender,
    Tabular,
    TransformerTower,
)
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.retrieval.recommendations import write

ODD = 'no, "quotes"\nno 🍕'


@pytest.fixture(scope="module")
def checkpoint(tiny_encoder, write_typed, tmp_path_factory):
    folder = write_typed(tmp_path_factory.mktemp("trained"))
    torch.manual_seed(0)
    data = RecallDataModule(
        Tabular(str(folder / "interactions.csv"), str(folder / "items.csv")), "{title} ({year}). {genres}",
        str(tiny_encoder), max_history=3,
    )  # fmt: skip
    module = RecallModule(EncoderConfig(str(tiny_encoder)), TransformerTower(1, 2), ItemTower(residual=True))
    trainer = L.Trainer(
        max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, data)
    trainer.save_checkpoint(folder / "model.ckpt")
    return folder / "model.ckpt"


@pytest.fixture
def recommender(checkpoint):
    return Recommender.from_checkpoint(checkpoint, device="cpu")


def users_of(found):
    return list(dict.fromkeys(found.table["user_id"].to_pylist()))


def items_of(found, user):
    return [item for item, _ in found.of(user)]


def test_a_history_is_all_it_takes(recommender):
    found = recommender.recommend({"zoe": ["alien", "heat"], "yan": ["007"]}, k=2)
    assert users_of(found) == ["zoe", "yan"]  # in the order asked
    assert found.table["rank"].to_pylist() == [1, 2, 1, 2]
    scores = [score for _, score in found.of("zoe")]
    assert scores == sorted(scores, reverse=True)


def test_items_of_the_history_are_left_out_unless_asked_for(recommender):
    history = {"zoe": ["alien", "heat", "brazil"]}
    assert set(items_of(recommender.recommend(history, k=50), "zoe")) == {"fargo", "007"}
    assert len(items_of(recommender.recommend(history, k=50, include_known=True), "zoe")) == 5


def test_only_candidates_are_ranked(recommender):
    found = recommender.recommend({"zoe": ["alien"], "yan": ["heat"]}, k=9, candidates=["heat", "fargo", "nothing"])
    assert (set(items_of(found, "zoe")), items_of(found, "yan")) == ({"heat", "fargo"}, ["fargo"])
    with pytest.raises(InputError, match="none of them is in the catalogue"):
        recommender.recommend({"zoe": ["alien"]}, candidates=["nothing"])


def test_unknown_items_are_skipped_and_counted(recommender):
    found = recommender.recommend({"zoe": ["alien", "ghost", "heat", "ghost"]}, k=3)
    assert found.unknown_items == 2
    assert found.of("zoe") == recommender.recommend({"zoe": ["alien", "heat"]}, k=3).of("zoe")


def test_a_user_of_whom_nothing_is_known_gets_the_most_popular_items(recommender):
    found = recommender.recommend({"zoe": ["ghost"], "yan": ["heat"], "new": []}, k=2)
    assert found.users_without_history == 2
    # in training, after the last two of each user: ann heat, alien; bob alien; cy 007, heat
    assert items_of(found, "zoe") == items_of(found, "new") == ["heat", "alien"]
    assert found.of("zoe")[0][1] == pytest.approx(2 / 5)


def test_new_items_are_ranked_by_their_text_beside_the_old(recommender, tmp_path):
    (tmp_path / "new.csv").write_text(
        'item_id,title,year,genres\nheat,Heat,1995,"Action, Crime"\nheat2,Heat,1995,"Action, Crime"\n'
        "bio,Biodome,1996,Comedy\n"
    )
    before = recommender.vectors[recommender.pool.row("alien")].clone()
    recommender.use_items(tmp_path / "new.csv")
    found = recommender.recommend({"zoe": ["alien", "heat2"]}, k=9)
    assert found.unknown_items == 0  # alien is known from training, heat2 from the file
    assert set(items_of(found, "zoe")) == {"heat", "bio"}  # the file replaces the catalogue
    vectors, pool = recommender.vectors, recommender.pool
    torch.testing.assert_close(vectors[pool.row("alien")], before)
    residual = recommender.module.model.item_tower.residual[recommender.trained.row("heat")]
    torch.testing.assert_close(vectors[pool.row("heat")], vectors[pool.row("heat2")] + residual)


def test_only_the_newest_items_of_a_long_history_count_but_all_are_left_out(recommender):
    long = {"zoe": ["007", "heat", "alien", "brazil"]}  # max_history is 3
    short = {"zoe": ["heat", "alien", "brazil"]}
    scores = dict(recommender.recommend(short, k=9).of("zoe"))
    assert recommender.recommend(long, k=9).of("zoe") == [("fargo", pytest.approx(scores["fargo"]))]


def test_many_users_in_small_parts_get_what_they_get_at_once(recommender):
    histories = {f"u{i}": [["heat"], ["alien", "007"], ["ghost"]][i % 3] for i in range(50)}
    prepared = recommender.prepare(histories)
    parts = [row for table in recommender.stream(prepared, k=3, users_at_once=7) for row in table.to_pylist()]
    whole = recommender.recommend(histories, k=3).table.to_pylist()
    assert [(r["user_id"], r["item_id"]) for r in parts] == [(r["user_id"], r["item_id"]) for r in whole]


def test_histories_come_from_a_file_in_time_order(recommender, tmp_path):
    (tmp_path / "h.csv").write_text("user_id,item_id,timestamp\nzoe,heat,2\nyan,007,1\nzoe,alien,1\n")
    found = recommender.recommend(tmp_path / "h.csv", k=3)
    same = recommender.recommend({"zoe": ["alien", "heat"], "yan": ["007"]}, k=3)
    assert found.table.equals(same.table)


def test_odd_ids_come_through_to_the_file_and_equal_inputs_give_equal_bytes(recommender, tmp_path):
    histories = {ODD: ["alien"], "007": ["heat"]}
    for name in ("one.csv", "two.csv", "one.parquet"):
        write(recommender.stream(recommender.prepare(histories), k=2), tmp_path / name)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    with open(tmp_path / "one.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["user_id"] for row in rows] == [ODD, ODD, "007", "007"]
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2"]
    stored = pq.read_table(tmp_path / "one.parquet").to_pylist()
    assert [(r["user_id"], r["item_id"]) for r in stored] == [(r["user_id"], r["item_id"]) for r in rows]
    assert [float(row["score"]) for row in rows] == pytest.approx([r["score"] for r in stored], abs=1e-7)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.csv", "one.parquet", "two.csv"]


def test_a_run_that_fails_leaves_no_file(recommender, tmp_path):
    def tables():
        yield from recommender.stream(recommender.prepare({"zoe": ["alien"]}), k=2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tables(), tmp_path / "out.csv")
    assert not list(tmp_path.iterdir())


def test_similar_items_leave_out_the_item_itself_and_a_text_finds_its_own_item(recommender):
    found = recommender.similar(item="heat", k=9)
    assert {item for item, _, _ in found} == {"alien", "brazil", "fargo", "007"}
    best = recommender.similar(text="Alien (1979). Horror, Sci-Fi", k=1)[0]
    assert best[:2] == ("alien", "Alien")
    with pytest.raises(InputError, match="item 'ghost' is not in the catalogue of 5"):
        recommender.similar(item="ghost")
    with pytest.raises(InputError, match="either"):
        recommender.similar()


@pytest.mark.parametrize("k", [0, -1])
def test_a_list_holds_at_least_one_item(recommender, k):
    with pytest.raises(InputError, match=f"k is {k}"):
        recommender.recommend({"zoe": ["alien"]}, k=k)


def test_no_user_at_all_is_told(recommender):
    with pytest.raises(InputError, match="there is no user"):
        recommender.recommend({})
