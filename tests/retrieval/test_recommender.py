"""Recommender: a checkpoint put to use, on users and items it never saw."""

import csv

import pyarrow.parquet as pq
import pytest
import torch
from exports import trained

from recall_lightning import InputError, ItemTower, Recommender
from recall_lightning.models.top_k import RankedItems
from recall_lightning.modules.encoding import encode_texts
from recall_lightning.retrieval.recommendations import write

ODD = 'no, "quotes"\nno 🍕'


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


def test_with_words_items_of_the_training_have_the_vectors_that_it_ended_with(typed, tiny_encoder):
    checkpoint = trained(typed, tiny_encoder, item_tower=ItemTower(16, residual=True, words=2), prior=True)
    recommender = Recommender.from_checkpoint(checkpoint, device="cpu")
    model = recommender.module.model
    assert (model.words.vectors.abs().sum(1) > 0).all()
    texts = encode_texts(model.encoder, recommender.tokens, torch.device("cpu"))
    torch.testing.assert_close(recommender.vectors, model.item_tower(texts, model.rows, model.words()))


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


@pytest.fixture
def by_hand(recommender, monkeypatch):
    """A recommender whose cosines can be told at sight: zoe looks along x, yan along -y."""
    pool = {"heat": (1, 0), "alien": (0.8, 0.6), "brazil": (0.6, 0.8), "fargo": (0, 1), "007": (-1, 0)}
    recommender.vectors = torch.tensor([pool[item] for item in recommender.pool.ids], dtype=torch.float32)
    recommender.ranked = RankedItems(recommender.vectors, recommender.module.loss.similarity)
    users = torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    monkeypatch.setattr(recommender, "user_vectors", lambda recent: users[: len(recent)])
    return recommender


def test_a_threshold_leaves_the_items_that_reach_it_and_some_users_with_none(by_hand):
    histories = {"zoe": ["brazil"], "yan": ["007"], "new": []}
    found = by_hand.recommend(histories, threshold=0.5)
    assert found.table["user_id"].to_pylist() == ["zoe", "zoe"]  # new's popular items have no cosine to reach it with
    assert users_of(by_hand.recommend(histories, threshold=-2)) == ["zoe", "yan"]
    assert found.of("zoe") == [("heat", pytest.approx(1)), ("alien", pytest.approx(0.8))]
    assert items_of(by_hand.recommend(histories, threshold=1), "zoe") == ["heat"]  # equal is enough
    assert items_of(by_hand.recommend(histories, threshold=0.5, include_known=True), "zoe") == [
        "heat",
        "alien",
        "brazil",
    ]
    assert items_of(by_hand.recommend(histories, threshold=-0.7), "yan") == ["heat", "alien"]  # cosines 0, -.6, -.8, -1


def test_a_list_by_threshold_still_ends_at_k(by_hand):
    assert items_of(by_hand.recommend({"zoe": ["007"]}, k=1, threshold=0.5), "zoe") == ["heat"]


def test_the_threshold_auto_is_the_one_that_validation_chose(by_hand):
    by_hand.module.threshold.restore({"alpha": 0.7, "recall": 1.0, "precision": 0.5, "items_per_user": 2.0})
    assert items_of(by_hand.recommend({"zoe": ["007"]}, threshold="auto"), "zoe") == ["heat", "alien"]


def test_the_trained_alpha_is_on_the_scale_of_the_scores(recommender):
    point = recommender.module.threshold.point  # chosen with at most 50 items a user, so that every target is recalled
    assert (point.recall, -1 < point.alpha < 1) == (1.0, True)
    # each validation user with their history and target, as in training: what validation recalled is recommended
    targets = {"ann": (["heat", "alien"], "brazil"), "bob": (["alien"], "brazil"), "cy": (["007", "heat"], "fargo")}
    found = recommender.recommend({user: history for user, (history, _) in targets.items()}, threshold="auto")
    assert all(target in items_of(found, user) for user, (_, target) in targets.items())
    assert found.table.num_rows == round(3 * point.items_per_user)


def test_auto_without_a_chosen_alpha_tells_the_constraint(recommender):
    recommender.module.threshold.restore(None)
    with pytest.raises(InputError, match=r"threshold auto: .* holds no alpha.*max_items_per_user 50\. Give a number"):
        recommender.recommend({"zoe": ["alien"]}, threshold="auto")


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), "high"])
def test_a_threshold_is_a_finite_number(recommender, threshold):
    with pytest.raises(InputError, match=f"threshold is {threshold}: give a number such as 0.4, or auto"):
        recommender.recommend({"zoe": ["alien"]}, threshold=threshold)


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


def test_a_stream_tells_of_how_many_users_each_table_is_also_where_they_get_nothing(recommender):
    prepared = recommender.prepare({f"u{i}": ["heat"] for i in range(8)})
    done = []
    for table in recommender.stream(prepared, k=3, threshold=2.0, users_at_once=3, done=done.append):
        assert len(table) == 0
    assert done == [3, 3, 2]


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


# -- with a prior: 32 coordinates of a vector, 7 of the prior, 1 of what the similarity counts for ---------------------


@pytest.fixture(scope="module")
def with_prior(train_typed, tmp_path_factory):
    return train_typed(tmp_path_factory.mktemp("with-prior"), prior=True)


@pytest.fixture
def popular(with_prior):
    return Recommender.from_checkpoint(with_prior[1], device="cpu")


def cosines(recommender, vector):
    return torch.nn.functional.cosine_similarity(vector[None, :32], recommender.vectors[:, :32])


def test_a_checkpoint_with_a_prior_recommends_what_the_trained_module_does(with_prior, popular):
    module, _ = with_prior
    histories = {"zoe": ["alien", "heat"], "yan": ["007"]}
    assert popular.recommend(histories).table.equals(Recommender(module).recommend(histories).table)
    had, brought = module.state_dict(), popular.module.state_dict()
    assert {name: value.tolist() for name, value in had.items()} == {n: v.tolist() for n, v in brought.items()}


def test_scores_start_from_popularity_of_which_new_items_have_what_was_learned_for_them(popular, tmp_path):
    (tmp_path / "new.csv").write_text("item_id,title,year,genres\nheat,Heat,1995,Action\nbio,Biodome,1996,Comedy\n")
    popular.use_items(tmp_path / "new.csv")
    module, row = popular.module, popular.pool.row
    found = dict(popular.recommend({"zoe": ["alien"]}, k=9).of("zoe"))
    user = module.model.users(popular.vectors, torch.tensor([[row("alien")]]))[0, -1].detach()
    table = module.background.popularity
    for item, of_item in [
        ("heat", table[popular.trained.row("heat")]),
        ("bio", module.model.item_tower.new_popularity.detach()),
    ]:
        score = 0.1 * user[-1] * cosines(popular, user)[row(item)]  # c is written in tenfold, b in a tenth
        assert found[item] == pytest.approx(float(score + 0.1 * user[32:39] @ (0.05 * of_item)), abs=1e-5)


def test_similar_items_have_the_largest_cosines_however_popular_they_are(popular):
    before = popular.vectors.clone()
    expected = cosines(popular, popular.vectors[popular.pool.row("heat")])
    found = popular.similar(item="heat", k=9)
    assert {item for item, _, _ in found} == {"alien", "brazil", "fargo", "007"}
    assert [score for _, _, score in found] == sorted((score for _, _, score in found), reverse=True)
    for item, _, score in found:
        assert score == pytest.approx(float(expected[popular.pool.row(item)]), abs=1e-5)
    assert popular.similar(text="Alien (1979). Horror, Sci-Fi", k=1)[0][:2] == ("alien", "Alien")
    assert popular.vectors.equal(before)


# -- with transitions and neighbours -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_transitions(train_typed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("with-transitions")
    return train_typed(folder, transitions=True, neighbours=True, candidates="catalogue")


def test_what_followed_in_training_is_a_part_of_the_score_also_after_a_reload(with_transitions):
    module, path = with_transitions
    loaded = Recommender.from_checkpoint(path, device="cpu")
    found = loaded.recommend({"zoe": ["heat", "alien"], "yan": ["007"]}, k=9)
    assert found.table.equals(Recommender(module).recommend({"zoe": ["heat", "alien"], "yan": ["007"]}, k=9).table)
    history = torch.tensor([[loaded.pool.row("heat"), loaded.pool.row("alien")]])
    user = module.model.users(loaded.vectors, history)[:, -1].detach()
    parts = [part(user[:, None], history).of(torch.tensor([0]))[0] for part in module.model.counted.values()]
    added = sum(parts).tolist()
    assert len(parts) == 2
    similar = torch.nn.functional.cosine_similarity(user, loaded.vectors).tolist()
    assert any(added)
    for item, score in found.of("zoe"):
        row = loaded.pool.row(item)
        assert score == pytest.approx(similar[row] + added[row], abs=1e-5)


def test_new_items_get_no_bonus_and_leave_that_of_the_others_as_it_is(with_transitions, tmp_path):
    recommender = Recommender(with_transitions[0])
    before = dict(recommender.recommend({"zoe": ["alien"]}, k=9).of("zoe"))
    (tmp_path / "new.csv").write_text(
        'item_id,title,year,genres\nbio,Biodome,1996,Comedy\nheat,Heat,1995,"Action, Crime"\n'
    )
    recommender.use_items(tmp_path / "new.csv")
    after = dict(recommender.recommend({"zoe": ["alien"]}, k=9).of("zoe"))
    history = torch.tensor([[recommender.pool.row("alien")]])
    user = recommender.module.model.users(recommender.vectors, history)[:, -1].detach()
    similar = torch.nn.functional.cosine_similarity(user, recommender.vectors)[recommender.pool.row("bio")]
    assert after["bio"] == pytest.approx(float(similar), abs=1e-5)
    assert after["heat"] == pytest.approx(before["heat"], abs=1e-5)
    told = recommender.recommend({"zoe": ["bio", "alien"]}, k=9)
    assert set(dict(told.of("zoe"))) == {"heat"}
