"""`compare`: one table of baselines and checkpoints, on the config's own split."""

import csv

import pytest
import yaml

from recall_lightning.cli.main import main


@pytest.fixture
def config(typed, tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (typed / "users.csv").write_text("user_id,age\nann,young\nbob,old\ncy,old\n")
    files = {name: str(typed / f"{name}.csv") for name in ("interactions", "items", "users")}
    settings = {
        "trainer": {"logger": False, "accelerator": "cpu", "max_epochs": 1, "default_root_dir": str(typed)},
        "data": {"reader": {"class_path": "recall_lightning.Tabular", "init_args": files}, "text": "{title}. {genres}"},
        "model": {"encoder": {"path": str(tiny_encoder)}},
    }
    (typed / "config.yaml").write_text(yaml.safe_dump(settings))
    return typed / "config.yaml"


def compare(capsys, config, *flags):
    main(["compare", "--config", str(config), *map(str, flags)])
    return capsys.readouterr()


def figures(folder):
    with (folder / "comparison.csv").open() as file:
        return list(csv.DictReader(file))


def test_baselines_come_in_one_table_with_files_beside(config, capsys, tmp_path):
    told = compare(capsys, config, "--models", "popularity,markov,tf-idf", "--out", tmp_path / "out", "--by", "age")
    assert "test: 3 users, 5 items" in told.out
    assert "is the best baseline" in told.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "comparison.csv", "comparison.md", "comparison.png"
    ]  # fmt: skip
    found = figures(tmp_path / "out")
    assert {row["model"] for row in found} == {"popularity", "Markov chain", "tf-idf profile"}
    assert {"all", "age young", "age old"} <= {row["group"] for row in found}


def test_a_second_model_refits_none_of_the_first(config, capsys):
    compare(capsys, config, "--models", "markov")
    told = compare(capsys, config, "--models", "markov,popularity")
    assert "Markov chain: from the cache" in told.err
    assert "popularity: from the cache" not in told.err
    assert "from the cache" not in compare(capsys, config, "--models", "markov", "--no-cache").err


def test_a_checkpoint_stands_beside_the_baselines(config, capsys, typed):
    main(["fit", "--config", str(config)])
    capsys.readouterr()
    ckpt = next(typed.rglob("best.ckpt"))
    told = compare(capsys, config, "--models", "popularity", "--ckpt", ckpt)
    assert "trained (" in told.out


def test_a_checkpoint_of_other_data_is_asked_by_the_items_texts_and_refused_on_its_own(config, capsys, typed):
    main(["fit", "--config", str(config), "--data.text", "{genres}: {title}"])
    capsys.readouterr()
    ckpt = next(typed.rglob("best.ckpt"))
    told = compare(capsys, config, "--models", "popularity", "--transfer", ckpt)
    assert "transferred (" in told.out
    with pytest.raises(SystemExit) as ended:
        compare(capsys, config, "--models", "popularity", "--transfer", ckpt, "--data.text", "{genres}: {title}")
    assert ended.value.code == 2
    assert "best.ckpt: trained on 5 of these items' texts" in capsys.readouterr().err


def test_a_checkpoint_is_fused_with_each_baseline_that_is_named(config, capsys, typed):
    main(["fit", "--config", str(config)])
    capsys.readouterr()
    ckpt = next(typed.rglob("best.ckpt"))
    told = compare(capsys, config, "--models", "popularity", "--ckpt", ckpt, "--fuse", "markov,first")
    fused = {line.partition(" + trained (")[0] for line in told.out.splitlines() if " + trained (" in line}
    assert fused == {"Markov chain", "popularity among first"}


def test_a_checkpoint_that_may_have_seen_the_answers_is_refused(config, capsys, typed):
    main(["fit", "--config", str(config)])
    capsys.readouterr()
    ckpt = next(typed.rglob("best.ckpt"))
    with pytest.raises(SystemExit) as ended:
        compare(
            capsys, config, "--models", "popularity", "--ckpt", ckpt,
            "--data.splits.name", "cold_users", "--data.splits.share", "0.3", "--data.splits.k", "1",
            "--data.seed", "2",
        )  # fmt: skip
    assert ended.value.code == 2
    assert "trained on another training part" in capsys.readouterr().err


def test_who_cannot_rank_new_items_says_so_in_the_table(config, capsys):
    told = compare(
        capsys, config, "--models", "markov,tf-idf",
        "--data.splits.name", "new_items", "--data.splits.share", "0.3", "--data.seed", "9",
    )  # fmt: skip
    assert "can't rank new items: it knows items by their interactions alone" in told.out
    assert "among new items" in told.out


def test_where_nobody_can_rank_there_is_a_table_of_reasons_and_no_chart(config, capsys, tmp_path):
    told = compare(
        capsys, config, "--models", "markov", "--out", tmp_path / "out",
        "--data.splits.name", "new_items", "--data.splits.share", "0.3", "--data.seed", "9",
    )  # fmt: skip
    assert "no model here can rank what is asked for" in told.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["comparison.csv", "comparison.md"]


def test_short_histories_leave_out_who_cannot_learn_of_them(config, capsys, typed):
    (typed / "interactions.csv").write_text("user_id,item_id\nann,heat\nann,alien\nbob,heat\nbob,fargo\ncy,007\n")
    told = compare(capsys, config, "--models", "popularity,sasrec")
    assert "test: 2 users" in told.out
    assert "needs users with two training interactions" in told.out


def test_cases_that_a_split_has_not_are_refused_before_anything_is_fitted(config, capsys, typed):
    (typed / "interactions.csv").write_text("user_id,item_id\nann,heat\nann,alien\nbob,heat\nbob,fargo\n")
    with pytest.raises(SystemExit) as ended:
        compare(capsys, config, "--models", "popularity", "--part", "validation")
    assert ended.value.code == 2
    assert "--part validation: leave_last_out gives no such case" in capsys.readouterr().err


def test_a_column_with_nearly_a_value_a_user_is_no_group(config, capsys, typed):
    (typed / "users.csv").write_text("user_id,zip\n" + "".join(f"u{n},{n}\n" for n in range(60)))
    (typed / "interactions.csv").write_text(
        "user_id,item_id\n" + "".join(f"u{n},{item}\n" for n in range(60) for item in ("heat", "alien", "007"))
    )
    with pytest.raises(SystemExit) as ended:
        compare(capsys, config, "--models", "popularity", "--by", "zip")
    assert ended.value.code == 2
    assert "--by zip: 60 different values" in capsys.readouterr().err


def test_users_and_items_that_are_new_after_a_cut_are_told_apart(config, capsys, typed):
    (typed / "interactions.csv").write_text(
        "user_id,item_id,timestamp\n"
        + "".join(f"ann,{i},{t}\n" for t, i in enumerate(["heat", "alien", "brazil", "fargo", "007"], start=1))
        + "bob,heat,1\nbob,alien,3\nbob,brazil,6\ncy,heat,5\ncy,alien,6\ndan,brazil,1\n"
    )
    told = compare(
        capsys, config, "--models", "popularity,tf-idf", "--data.splits.name", "temporal",
        "--data.splits.validation_from", "3", "--data.splits.test_from", "5",
    )  # fmt: skip
    assert "new users: 1 users" in told.out
    assert "new items: " in told.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "magic"], "no contender is called 'magic'"),
        (["--models", "popularity", "--by", "height"], "no column 'height'"),
        (["--ckpt", "gone.ckpt"], "gone.ckpt"),
        (["--fuse", "markov"], "--fuse: there is no model to fuse baselines with. Give it by --ckpt"),
        (["--fuse", "magic", "--ckpt", "gone.ckpt"], "no contender is called 'magic'"),
        (["--k", "0"], "no whole number from 1 up"),
    ],
)
def test_a_wrong_flag_ends_with_status_2(config, capsys, flags, message):
    with pytest.raises(SystemExit) as ended:
        compare(capsys, config, *flags)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
