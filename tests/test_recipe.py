import copy
import json
import math
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from recall_lightning.errors import InputError
from recall_lightning.losses import BinaryRecallLoss, RecallLoss
from recall_lightning.models.item_tower import ItemTower
from recall_lightning.models.similarity import Dot
from recall_lightning.models.user_tower import MeanTower, TransformerTower
from recall_lightning.recipe import Recipe, build
from recall_lightning.regularizers import L2, L2SP, Uniformity


class Holder(Recipe):
    """Holds whatever it is given."""

    def __init__(self, value=None):
        self.value = value


class Open(Recipe):
    """Takes arguments that it has no names for."""

    def __init__(self, value, **others):
        self.value = [value, list(others), others["more"]]


def test_a_recipe_names_the_class_and_all_arguments_so_that_a_later_versions_defaults_change_nothing():
    assert TransformerTower(3, dropout=0.1).recipe() == {
        "class_path": "recall_lightning.models.user_tower.TransformerTower",
        "init_args": {"layers": 3, "heads": 2, "dropout": 0.1},
    }


def nested_loss():
    return BinaryRecallLoss(
        Dot(), temperature=0.2, alpha=0.25, positive_weight=None, regularizers=[L2(0.1, ["*a", "*b"]), Uniformity(2)]
    )


def test_a_nested_recipe_builds_the_same_object_again():
    built = build(nested_loss().recipe())
    assert type(built) is BinaryRecallLoss
    assert type(built.similarity) is Dot
    assert built.temperature.item() == pytest.approx(0.2)
    assert (built.alpha.item(), built.positive_weight) == (0.25, None)
    l2, uniformity = built.regularizers
    assert (type(l2), l2.weight, l2.names) == (L2, 0.1, ["*a", "*b"])
    assert (type(uniformity), uniformity.weight) == (Uniformity, 2)
    assert built.recipe() == nested_loss().recipe()


def test_a_recipe_loads_from_a_checkpoint_that_may_hold_plain_types_only(tmp_path):
    torch.save(nested_loss().recipe(), tmp_path / "recipe.pt")
    loaded = torch.load(tmp_path / "recipe.pt", weights_only=True)
    assert loaded == nested_loss().recipe()
    assert json.loads(json.dumps(loaded)) == loaded


def test_a_number_of_numpys_becomes_a_plain_one(tmp_path):
    recipe = L2(np.float64(0.5)).recipe()
    assert type(recipe["init_args"]["weight"]) is float
    torch.save(recipe, tmp_path / "recipe.pt")
    assert torch.load(tmp_path / "recipe.pt", weights_only=True) == recipe
    assert [type(v) for v in Holder([True, 1, 1.0, "1", None]).recipe()["init_args"]["value"]] == [
        bool, int, float, str, type(None),
    ]  # fmt: skip


@pytest.mark.parametrize("value", [torch.zeros(1), np.zeros(1), object(), {1, 2}])
def test_an_argument_that_no_checkpoint_could_hold_is_refused(value):
    with pytest.raises(InputError, match=r"can't be written into a checkpoint: use plain values or a Recipe"):
        Holder({"deep": [value]}).recipe()


def test_recipes_inside_lists_tuples_and_dictionaries_are_built_again():
    built = build(Holder({"a": [MeanTower(2)], "b": {"c": (Dot(), 1.5)}}).recipe())
    assert type(built.value["a"][0]) is MeanTower
    assert built.value["a"][0].last == 2
    assert type(built.value["b"]["c"][0]) is Dot
    assert built.value["b"]["c"][1] == 1.5


def test_a_class_without_arguments_or_with_any_is_built_again():
    class_path = "recall_lightning.models.similarity.Dot"  # its __init__ is torch's, which takes *args and **kwargs
    assert Dot().recipe() == {"class_path": class_path, "init_args": {}}
    assert build(Open(2, extra=Dot(), more=3).recipe()).value == [2, ["extra", "more"], 3]


# -- what a checkpoint must not do -------------------------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("as_function", [False, True])
def test_a_class_that_is_no_recipe_is_refused_without_being_called(monkeypatch, nested, as_function):
    calls = []

    class Trap:
        def __init__(self, **_):
            calls.append("called")

    module = types.ModuleType("a_module_with_a_trap")
    module.Trap = (lambda **_: calls.append("called")) if as_function else Trap
    monkeypatch.setitem(sys.modules, "a_module_with_a_trap", module)
    recipe = {"class_path": "a_module_with_a_trap.Trap", "init_args": {"command": "rm"}}
    if nested:
        recipe = {"class_path": "recall_lightning.losses.RecallLoss", "init_args": {"regularizers": [recipe]}}
    with pytest.raises(InputError, match=r"class a_module_with_a_trap\.Trap is no part of a recall model: derive it"):
        build(recipe)
    assert calls == []


@pytest.mark.parametrize("path", ["os.system", "builtins.eval", "torch.nn.Linear", "pathlib.Path"])
def test_well_known_callables_are_refused(path):
    with pytest.raises(InputError, match=r"is no part of a recall model"):
        build({"class_path": path, "init_args": {}})


@pytest.mark.parametrize("path", ["no_such_package.Tower", "recall_lightning.losses.NoSuchLoss", "RecallLoss", ".Loss"])
def test_a_class_that_is_not_there_is_told_with_the_cure(path):
    with pytest.raises(InputError, match=rf"class {path} can't be imported .*install the package that defines it"):
        build({"class_path": path, "init_args": {}})


# -- copies ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", [
    nested_loss(), RecallLoss(temperature=0.3, regularizers=[L2SP(0.5)]), ItemTower(dim=4, residual=True),
    TransformerTower(1, heads=2), Holder([1, MeanTower()]),
], ids=lambda part: type(part).__name__)  # fmt: skip
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda part: pickle.loads(pickle.dumps(part))],
                         ids=["copy", "deepcopy", "pickle"])  # fmt: skip
def test_a_copy_keeps_the_recipe_and_the_weights(part, copied):
    other = copied(part)
    assert other is not part
    assert other.recipe() == part.recipe()
    if isinstance(part, nn.Module):
        for name, weight in part.state_dict().items():
            assert name.endswith("_extra_state") or other.state_dict()[name].equal(weight)


def test_weights_that_were_trained_are_no_part_of_the_recipe():
    loss = RecallLoss(temperature=0.5, learn_temperature=True)
    loss.log_temperature.data.fill_(0.0)
    assert build(loss.recipe()).temperature.item() == pytest.approx(0.5)
    assert math.isclose(copy.deepcopy(loss).temperature.item(), 1.0)
