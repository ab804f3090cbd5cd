"""Two tables of measures, matched by case and label: what is compared, what is named, what is written."""

from __future__ import annotations

import csv
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grcsf.errors import DatasetError
from grcsf.evaluation.csv_files import write_rows
from grcsf.evaluation.methods.agreement_files import (
    MEASURES,
    agreement_table,
    agreement_tree,
    compare_tables,
    read_table,
    write_agreement,
)
from grcsf.io.files import write_json

scores = st.dictionaries(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["LAD", "total"])),
    st.fixed_dictionaries({"agatston": st.floats(0, 3000), "volume_mm3": st.floats(0, 3000)}),
    min_size=1,
)


@given(scores)
def test_a_table_agrees_with_itself(table):
    found, *alone = compare_tables(table, table)
    assert alone == [[], []]
    for item in found:
        limits = item.bland_altman
        assert (limits.bias, item.n_missing) == (0, 0)
        assert math.isnan(limits.sd) or limits.sd == 0
        assert math.isnan(item.icc.value) or item.icc.value == pytest.approx(1)
        if item.kappa is not None:
            assert item.kappa.agreement == 1
            assert math.isnan(item.kappa.value) or item.kappa.value == pytest.approx(1)


@given(scores, scores)
def test_every_case_is_compared_or_named(first, second):
    cases = {case for case, _ in first}, {case for case, _ in second}
    shared = first.keys() & second.keys()
    if not shared:
        with pytest.raises(DatasetError, match="no case with the same label"):
            compare_tables(first, second)
        return
    found, only_first, only_second = compare_tables(first, second)
    assert (set(only_first), set(only_second)) == (cases[0] - cases[1], cases[1] - cases[0])
    assert sum(item.n for item in found if item.measure == "agatston") == len(shared)


def test_only_the_agatston_score_has_risk_categories():
    table = {(case, "total"): {name: float(index) for name in MEASURES} for index, case in enumerate("abc")}
    found, *_ = compare_tables(table, table)
    assert [item.measure for item in found] == list(MEASURES)
    assert [item.measure for item in found if item.kappa is not None] == ["agatston"]


def test_a_measure_that_one_row_lacks_is_not_compared():
    first = {("a", "total"): {"agatston": 1.0, "load_ml": 1.0}, ("b", "total"): {"agatston": 2.0}}
    assert [item.measure for item in compare_tables(first, first)[0]] == ["agatston"]


def test_what_is_written_can_be_read_by_others(tmp_path):
    first = {("a", "total"): {"agatston": 5.0, "lesions": 1.0}, ("b", "total"): {"agatston": 50.0, "lesions": math.nan}}
    second = {key: {**row, "agatston": row["agatston"] + 2} for key, row in first.items()}
    found, *alone = compare_tables(first, second)
    write_agreement(tmp_path / "agreement.csv", found)
    write_json(tmp_path / "agreement.json", agreement_tree(found, *alone))
    with (tmp_path / "agreement.csv").open(newline="") as stream:
        score, lesions = csv.DictReader(stream)
    assert (score["measure"], score["n"], score["bias"], score["sd"], score["kappa"]) == (
        "agatston",
        "2",
        "-2",
        "0",
        "1",
    )
    assert (lesions["n"], lesions["n_missing"], lesions["lower"], lesions["kappa"]) == ("1", "1", "nan", "")
    tree = json.loads((tmp_path / "agreement.json").read_text())
    assert tree["agreement"][0]["kappa"]["table"][1] == [0, 1, 0, 0, 0]  # 5 and 7 are both in 1-10
    assert tree["agreement"][1]["icc"]["value"] is None
    text = agreement_table(found, *alone)
    assert "bias -2 [-2, -2], limits of agreement -2 to -2" in text
    assert "100 % the same" in text


def test_tables_survive_being_written(tmp_path):
    write_rows(tmp_path / "t.csv", ["case", "label", "agatston", "other"], [["a,b", "total", 1 / 3, "x"]])
    assert read_table(tmp_path / "t.csv") == {("a,b", "total"): {"agatston": pytest.approx(1 / 3, rel=1e-9)}}


def test_an_empty_cell_is_a_missing_value(tmp_path):
    (tmp_path / "t.csv").write_text("case,label,agatston\na,total,\nb,total\n")
    assert all(math.isnan(row["agatston"]) for row in read_table(tmp_path / "t.csv").values())
