"""CSV files: no cell is a formula, in any writer, and what was written is read back."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from RTResponseCAMLib.tables import plain_cell, safe_cell, write_table

LIBRARY = Path(__file__).parents[2] / "RTResponseCAMLib"


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-1+2", "@x", "\tx", "\rx", "\n=x", "＝1", "--", "-", "+1 2"])
def test_what_a_spreadsheet_would_calculate_gets_an_apostrophe_and_loses_it_again(text):
    assert safe_cell(text) == f"'{text}"
    assert plain_cell(safe_cell(text)) == text


@pytest.mark.parametrize("value", ["GTV 1", "-0.25", "+1.5e-3", "", "'quoted'", -3, 0.5, None])
def test_numbers_and_words_stay_as_they_are(value):
    assert safe_cell(value) == value


def test_rows_by_name_and_in_order(tmp_path):
    path = tmp_path / "table.csv"
    write_table(path, ("a", "=b"), rows=[{"=b": "=1", "a": None}, ["x, y", -2.5]])
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["a", "'=b"], ["", "'=1"], ["x, y", "-2.5"]]
    with pytest.raises(ValueError, match="has no columns"):
        write_table(path, ("a",), rows=[{"c": 1}])
    with pytest.raises(ValueError, match="2 values for 1 columns"):
        write_table(path, ("a",), rows=[[1, 2]])


def test_no_other_file_of_the_library_writes_csv():
    """One writer: whoever writes rows themselves forgets the formulas."""
    found = [p.name for p in LIBRARY.rglob("*.py") if re.search(r"csv\.(DictW|w)riter", p.read_text())]
    assert found == ["tables.py"]
