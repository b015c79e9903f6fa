"""The memory that cuBLAS multiplies in."""

import os

import pytest

from framework.errors import UserError
from framework.training import workspaces
from tests.framework.training.small import trainer_of


@pytest.mark.parametrize("given", [True, False])
def test_cublas_is_told_before_a_trainer_multiplies(monkeypatch, given):
    for name in workspaces.NONE:
        monkeypatch.setenv(name, "as it was")  # what is changed below is put back
    trainer_of(f"train.workspaces = {given}")
    expected = dict.fromkeys(workspaces.NONE, "as it was") if given else workspaces.NONE
    assert {name: os.environ[name] for name in workspaces.NONE} == expected


def test_deterministic_products_have_workspaces():
    with pytest.raises(UserError, match="without a workspace"):
        trainer_of("train.workspaces = False", "train.deterministic = True")
