"""Adapting: new users are adapted to when they are recommended to, and nothing else changes."""

import itertools
import math
from functools import cache

import lightning as L
import pytest
import torch

from recall_lightning import InputError, ItemTower, RecallModule, Recommender, Tabular, TransformerTower
from recall_lightning.baselines.trained import Trained
from recall_lightning.data.episode_datamodule import EpisodeDataModule
from recall_lightning.data.episodes import EpisodeConfig
from recall_lightning.data.splits import Splits
from recall_lightning.meta.fast_weights import LinearHead, UserVector, WholeTower
from recall_lightning.modules.encoder_config import EncoderConfig
from recall_lightning.modules.inner_loop_config import InnerLoopConfig
from recall_lightning.modules.maml import MAMLRecallModule
from recall_lightning.retrieval.adapting import Adapting
from recall_lightning.retrieval.recommendations import write

ITEMS = ["heat", "alien", "brazil", "fargo", "007"]
SUPPORTS = {"zoe": ["alien", "heat"], "yan": ["007"], "xi": ["fargo", "brazil", "alien"]}


@pytest.fixture(scope="module")
def trained(tiny_encoder, write_typed, tmp_path_factory):
    """Trains by a choice of fast weights, each once; gives the checkpoint and its data."""
    folder = write_typed(tmp_path_factory.mktemp("trained"))
    rows = [f"u{user},{ITEMS[(user * 3 + step) % 5]},{step}" for user in range(40) for step in range(4)]
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))

    @cache
    def train(kind):
        torch.manual_seed(0)
        data = EpisodeDataModule(
            Tabular(str(folder / "interactions.csv"), str(folder / "items.csv")), "{title} ({year}). {genres}",
            str(tiny_encoder), Splits(name="cold_users", share=0.2, k=1), EpisodeConfig(max_support=3), [1, 2], 8,
            max_history=3, cache_dir=str(folder / "cache"),
        )  # fmt: skip
        module = MAMLRecallModule(
            EncoderConfig(str(tiny_encoder)), user_tower=TransformerTower(1, 2), item_tower=ItemTower(residual=True),
            fast_weights=kind(), inner_loop=InnerLoopConfig(steps=3, rate=1.0), ks=[2],
        )  # fmt: skip
        trainer = L.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(module, data)
        path = folder / f"{kind.__name__}.ckpt"
        trainer.save_checkpoint(path)
        return path, data

    return train


@pytest.fixture(scope="module")
def checkpoint(trained):
    return trained(UserVector)[0]


@pytest.fixture
def recommender(checkpoint):
    return Recommender.from_checkpoint(checkpoint, device="cpu")


def scores(recommender, histories, user, **options):
    """The score of every item of the catalogue."""
    options = {"k": 99, "include_known": True, "adapt": True} | options
    return dict(recommender.recommend(histories, **options).of(user))


def slowly(recommender, support, negatives=None):
    """What a user's own vector scores after gradient steps on the support, told apart from `{item: weight}`."""
    module, row = recommender.module, recommender.pool.row
    negatives = dict.fromkeys(ITEMS, 1.0) if negatives is None else negatives
    vectors = torch.nn.functional.normalize(recommender.vectors.clone(), dim=1)
    start = module.model.users(recommender.vectors, torch.tensor([[row(item) for item in support]]))[0, -1]
    user = start.detach() + module.fast_weights.adapted.values.detach()
    for step in range(3):
        user.requires_grad_()
        cosine = dict(zip(recommender.pool.ids, vectors @ torch.nn.functional.normalize(user, dim=0), strict=True))
        told = {item: (score / module.loss.temperature).exp() for item, score in cosine.items()}
        others = sum(weight * told[item] for item, weight in negatives.items() if item not in support)
        loss = -sum((told[item] / (told[item] + others)).log() for item in support) / len(support)
        (gradient,) = torch.autograd.grad(loss, user)
        user = (user - module.rates.values[0][step] * gradient).detach()
    return dict(zip(recommender.pool.ids, (vectors @ torch.nn.functional.normalize(user, dim=0)).tolist(), strict=True))


def test_each_user_is_scored_as_by_gradient_steps_on_their_own_support(recommender):
    for user, support in SUPPORTS.items():
        assert scores(recommender, SUPPORTS, user) == pytest.approx(slowly(recommender, support), abs=1e-5)
        unadapted = scores(recommender, SUPPORTS, user, adapt=False)
        assert scores(recommender, SUPPORTS, user) != pytest.approx(unadapted, abs=1e-3)


@pytest.mark.parametrize("kind", [UserVector, LinearHead, WholeTower])
def test_an_unadapted_call_afterwards_gives_the_same_bytes_as_before(trained, tmp_path, kind):
    recommender = Recommender.from_checkpoint(trained(kind)[0], device="cpu")

    def written(name, adapting=None):
        tables = recommender.stream(recommender.prepare(SUPPORTS), k=3, adapting=adapting)
        write(tables, tmp_path / name)
        return (tmp_path / name).read_bytes()

    weights = {name: value.clone() for name, value in recommender.module.state_dict().items()}
    for ending in ("csv", "parquet"):
        before = written(f"before.{ending}")
        adapted = written(f"adapted.{ending}", recommender.adapting())
        assert written(f"after.{ending}") == before != adapted
        assert written(f"again.{ending}", recommender.adapting()) == adapted
    now = recommender.module.state_dict()
    assert all(torch.equal(now[name], value) for name, value in weights.items())
    assert all(parameter.grad is None for parameter in recommender.module.parameters())
    assert not any(part._forward_hooks for part in recommender.module.modules())


@pytest.mark.parametrize("kind", [UserVector, LinearHead, WholeTower])
@pytest.mark.parametrize("adapt_candidates", [20_000, 3])
def test_what_a_user_gets_does_not_depend_on_who_else_asks(trained, tmp_path, monkeypatch, kind, adapt_candidates):
    recommender = Recommender.from_checkpoint(trained(kind)[0], device="cpu")
    (tmp_path / "new.csv").write_text(
        'item_id,title,year,genres\nheat,Heat,1995,"Action, Crime"\nalien,Alien,1979,Horror\nbio,Biodome,1996,Comedy\n'
        "up,Up,2009,Animation\n"
    )
    recommender.use_items(tmp_path / "new.csv")
    histories = {"new": ["up", "bio"], "none": []} | SUPPORTS
    found = {user: scores(recommender, histories, user, adapt_candidates=adapt_candidates) for user in SUPPORTS}
    turned = dict(reversed(histories.items()))
    for user, told in found.items():
        alone = scores(recommender, {user: SUPPORTS[user]}, user, adapt_candidates=adapt_candidates)
        assert alone == pytest.approx(told, abs=1e-5)
        assert list(alone) == list(told)
        assert scores(recommender, turned, user, adapt_candidates=adapt_candidates) == pytest.approx(told, abs=1e-5)
    monkeypatch.setattr("recall_lightning.retrieval.adapting._SCORES_AT_ONCE", 1)  # then one user at a time
    for user, told in found.items():
        assert scores(recommender, histories, user, adapt_candidates=adapt_candidates) == pytest.approx(told, abs=1e-5)


def test_new_items_are_adapted_to_but_only_the_training_s_are_told_apart_from_them(recommender, tmp_path):
    (tmp_path / "new.csv").write_text("item_id,title,year,genres\nbio,Biodome,1996,Comedy\nup,Up,2009,Animation\n")
    recommender.use_items(tmp_path / "new.csv")
    histories = {"zoe": ["bio", "heat"], "yan": ["up"]}
    for user, support in histories.items():
        found, expected = scores(recommender, histories, user), slowly(recommender, support)
        assert set(found) == {"bio", "up"}  # the file's items alone are ranked, if not told apart from
        assert found == pytest.approx({item: expected[item] for item in found}, abs=1e-5)


def test_candidates_are_what_is_ranked_and_change_no_score(recommender):
    every = scores(recommender, SUPPORTS, "zoe")
    few = scores(recommender, SUPPORTS, "zoe", candidates=["fargo", "heat"])
    assert few == pytest.approx({item: every[item] for item in ("fargo", "heat")})
    assert set(scores(recommender, SUPPORTS, "zoe", include_known=False)) == set(ITEMS) - {"alien", "heat"}
    alpha = sorted(every.values())[2]
    assert scores(recommender, SUPPORTS, "zoe", threshold=alpha) == {i: s for i, s in every.items() if s >= alpha}


def test_of_a_large_catalogue_one_sample_stands_for_all_items_whoever_asks(recommender):
    fitting = [
        sample
        for sample in itertools.combinations(ITEMS, 3)
        if all(
            scores(recommender, SUPPORTS, user, adapt_candidates=3)
            == pytest.approx(slowly(recommender, support, dict.fromkeys(sample, 5 / 3)), abs=1e-5)
            for user, support in SUPPORTS.items()
        )
    ]
    assert len(fitting) == 1


def test_a_sample_of_equal_items_gives_what_all_of_them_give(recommender):
    torch.manual_seed(0)
    dim = recommender.vectors.shape[1]
    vectors = torch.cat([torch.randn(2, dim), torch.randn(1, dim).expand(6, dim)])
    made = [
        Adapting(recommender.module, vectors, torch.arange(2, 8), candidates=n)(torch.tensor([[0, 1]])) for n in (6, 3)
    ]
    torch.testing.assert_close(*made)


def test_only_the_newest_items_that_the_tower_sees_are_adapted_to(recommender):
    long = {"zoe": ["007", "heat", "alien", "brazil"]}  # max_history is 3
    assert scores(recommender, long, "zoe") == pytest.approx(scores(recommender, {"zoe": long["zoe"][1:]}, "zoe"))


def test_items_of_a_support_that_nothing_describes_are_skipped_and_counted(recommender):
    found = recommender.recommend({"zoe": ["alien", "ghost", "heat"]}, adapt=True)
    assert found.unknown_items == 1
    assert found.of("zoe") == recommender.recommend({"zoe": ["alien", "heat"]}, adapt=True).of("zoe")


@pytest.mark.parametrize("others", [{}, SUPPORTS])
def test_without_a_support_users_get_the_unadapted_answer_and_are_counted(recommender, others):
    histories = {"none": [], "ghostly": ["ghost"]} | others
    found, before = (recommender.recommend(histories, k=2, adapt=adapt) for adapt in (True, False))
    assert (found.users_without_history, found.diverged) == (2, 0)
    assert found.of("none") == found.of("ghostly") == before.of("none")


@pytest.mark.parametrize("rate", [1e6, 1e25, math.inf])
def test_users_whose_inner_loop_diverges_get_the_unadapted_answer_and_are_counted(recommender, rate):
    before = recommender.recommend(SUPPORTS, k=3)
    # a step by a cosine stands at right angles to the user: lengths grow, and gradients shrink as they do
    recommender.module.rates.values[0].data[-1] = rate
    found = recommender.recommend(SUPPORTS | {"none": []}, k=3, adapt=True)
    assert found.diverged == (0 if rate == 1e6 else 3)
    for user in SUPPORTS:
        assert (found.of(user) == [(item, pytest.approx(score)) for item, score in before.of(user)]) == (rate != 1e6)


def test_adapting_works_inside_of_inference_mode_even_if_all_was_loaded_there(checkpoint, recommender):
    outside = recommender.recommend(SUPPORTS, adapt=True).table
    with torch.inference_mode():
        assert recommender.recommend(SUPPORTS, adapt=True).table.equals(outside)
        assert Recommender.from_checkpoint(checkpoint, device="cpu").recommend(SUPPORTS, adapt=True).table == outside
    with torch.no_grad():
        assert recommender.recommend(SUPPORTS, adapt=True).table.equals(outside)


def test_a_checkpoint_that_was_not_meta_trained_is_told_by_its_file(recommender, tiny_encoder):
    plain = RecallModule(EncoderConfig(str(tiny_encoder)))
    plain.build(recommender.module.model.encoder.model, recommender.background)
    with pytest.raises(InputError, match=r"runs/a\.ckpt: the checkpoint was not meta-trained.*`method: maml`"):
        Recommender(plain, source="runs/a.ckpt").recommend(SUPPORTS, adapt=True)


def test_a_step_looks_at_one_candidate_at_least(recommender):
    with pytest.raises(InputError, match="adapt_candidates is 0: give 1 or more"):
        recommender.recommend(SUPPORTS, adapt=True, adapt_candidates=0)


def test_in_a_comparison_the_checkpoint_ranks_by_its_adapted_users(trained):
    path, data = trained(UserVector)
    contender = Trained(str(path))
    contender.fit(data.split.train, data)
    batch = next(iter(data.test_dataloader()))  # of the larger support
    batch.history[0] = -1
    found = contender.score(batch)
    assert found[0].tolist() == data.counts.tolist()
    support = [data.catalogue.ids[row] for row in batch.history[1].tolist() if row >= 0]
    expected = scores(Recommender.from_checkpoint(path, device="cpu"), {"u": support}, "u")
    assert found[1].tolist() == pytest.approx([expected[item] for item in data.catalogue.ids], abs=1e-5)


def test_an_adapted_score_is_shared_out_by_what_it_loses_where_one_is_adapted_without_an_item(checkpoint):
    recommender = Recommender.from_checkpoint(checkpoint, device="cpu")

    def score(*history):
        found = recommender.recommend({"u": list(history)}, k=9, include_known=True, adapt=True)
        return dict(found.of("u"))["fargo"]

    why = recommender.explain(["alien", "heat"], "fargo", adapting=recommender.adapting())
    assert (why.exact, why.score) == (False, pytest.approx(score("alien", "heat"), abs=1e-5))
    drops = {"alien": why.score - score("heat"), "heat": why.score - score("alien")}
    assert dict(why.items) == pytest.approx(drops, abs=2e-5)
    for row in recommender.recommend(SUPPORTS, k=2, adapt=True, explain=True).table.to_pylist():
        assert sum(row["because_scores"]) + row["others_score"] + row["rest_score"] == pytest.approx(
            row["score"], abs=2e-5
        )
