"""Folds keep every patient on one side, whatever the data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.datasets.dataset import Case, Dataset, Fold
from grcsf.datasets.splits import check_folds, get_fold, make_folds, read_folds
from grcsf.errors import DatasetError, LeakageError


def dataset_of(groups: list[int], root: Path = Path("set")) -> Dataset:
    """One case for each entry, of the patient it names."""
    cases = tuple(Case(f"c{index:03d}", (), None, f"p{group}") for index, group in enumerate(groups))
    return Dataset("set", root, cases, (), ("FLAIR",), {"background": 0, "lesion": 1}, ".nii.gz", None)


patients = st.lists(st.integers(0, 12), min_size=4, max_size=40).filter(lambda groups: len(set(groups)) >= 3)


@given(patients, st.integers(2, 3), st.integers(0, 99))
def test_folds_split_patients_and_validate_each_case_once(groups, n, seed):
    dataset = dataset_of(groups)
    folds = make_folds(dataset, n, seed)
    group_of = {case.name: case.group for case in dataset.cases}
    assert len(folds) == n
    assert sorted(name for fold in folds for name in fold.val) == sorted(group_of)
    for fold in folds:
        assert sorted(fold.train + fold.val) == sorted(group_of)
        assert not {group_of[name] for name in fold.train} & {group_of[name] for name in fold.val}
        assert fold.train
        assert fold.val
    check_folds(dataset, folds)


@given(patients, st.integers(0, 99))
def test_the_same_seed_gives_the_same_folds(groups, seed):
    assert make_folds(dataset_of(groups), 3, seed) == make_folds(dataset_of(groups), 3, seed)


def test_another_seed_gives_other_folds():
    dataset = dataset_of(list(range(20)))
    assert make_folds(dataset, 5, 0) != make_folds(dataset, 5, 1)


def test_folds_are_of_about_equal_size():
    # 40 patients of one case and 2 of ten: 60 cases, 12 in each of five folds
    folds = make_folds(dataset_of([*range(40), *[50] * 10, *[60] * 10]), 5)
    assert [len(fold.val) for fold in folds] == [12] * 5


@pytest.mark.parametrize("n", [1, 4])
def test_more_folds_than_patients_are_refused(n):
    with pytest.raises(DatasetError, match=rf"3 patient\(s\) for {n} folds; expected 2 <= folds <= patients"):
        make_folds(dataset_of([1, 2, 3, 3]), n)


def test_a_patient_on_both_sides_is_leakage():
    with pytest.raises(LeakageError, match=r"fold 0 has 1 patient\(s\) in both train and val \(p2\); move all"):
        check_folds(dataset_of([1, 2, 2]), [Fold(("c000", "c001"), ("c002",))])


def test_an_unknown_case_is_leakage():
    with pytest.raises(LeakageError, match=r"names 1 case\(s\) that the data set does not have \(stranger\)"):
        check_folds(dataset_of([1, 2]), [Fold(("c000", "stranger"), ("c001",))])


def test_an_empty_side_is_refused():
    with pytest.raises(LeakageError, match="fold 0 has no case in val"):
        check_folds(dataset_of([1, 2]), [Fold(("c000", "c001"), ())])


def test_folds_of_the_file_are_used(tmp_path):
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": ["c000"], "val": ["c001", "c002"]}]))
    dataset = dataset_of([1, 2, 3], tmp_path)
    assert read_folds(dataset) == [Fold(("c000",), ("c001", "c002"))]
    assert get_fold(dataset, 0) == Fold(("c000",), ("c001", "c002"))
    with pytest.raises(DatasetError, match="fold 1 asked for; it has 1 folds, 0 to 0"):
        get_fold(dataset, 1)


def test_leaking_folds_of_the_file_are_refused(tmp_path):
    (tmp_path / "splits_final.json").write_text(json.dumps([{"train": ["c000"], "val": ["c001"]}]))
    with pytest.raises(LeakageError):
        get_fold(dataset_of([1, 1], tmp_path), 0)


@pytest.mark.parametrize("content", ["{}", "[]", '[{"train": ["a"]}]', '[{"train": [1], "val": ["a"]}]'])
def test_a_file_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "splits_final.json").write_text(content)
    with pytest.raises(DatasetError, match=r"splits_final\.json: expected a list of"):
        read_folds(dataset_of([1, 2], tmp_path))


@pytest.mark.parametrize(("patients", "folds"), [(2, 2), (3, 3), (9, 5)])
def test_without_a_file_there_are_five_folds_or_one_per_patient(tmp_path, patients, folds):
    dataset = dataset_of(list(range(patients)), tmp_path)
    assert read_folds(dataset) is None
    assert get_fold(dataset, folds - 1) == make_folds(dataset, folds)[folds - 1]
    with pytest.raises(DatasetError, match=f"it has {folds} folds"):
        get_fold(dataset, folds)


def test_one_patient_cannot_be_split(tmp_path):
    with pytest.raises(DatasetError, match=r"1 patient\(s\) for 2 folds"):
        get_fold(dataset_of([1, 1], tmp_path), 0)


@pytest.mark.real_data
def test_real_folds_are_free_of_leakage(real_data):
    from grcsf.datasets.nnunet_raw import read_dataset

    dataset = read_dataset(real_data("Dataset502_SoopFlairCoronal"))
    folds = read_folds(dataset)
    assert folds is not None
    check_folds(dataset, folds)
    assert sorted(name for fold in folds for name in fold.val) == sorted(dataset.case_names)
