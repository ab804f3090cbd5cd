"""``grcsf agreement``: how well two scorings of the same scans agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grcsf.errors import SettingsError
from grcsf.evaluation.methods.agreement_files import (
    Agreement,
    agreement_table,
    agreement_tree,
    compare_tables,
    read_table,
    write_agreement,
)
from grcsf.io.files import ensure_new, write_json
from grcsf.io.html import block, preformatted
from grcsf.io.record import RunRecord

__all__ = ["AgreementResult", "agreement"]


@dataclass(frozen=True)
class AgreementResult:
    """Agreement of two tables.

    Attributes:
        agreements: one per label and measure.
        only_first: cases that only the first table has; they were not compared.
        only_second: cases that only the second has.
    """

    agreements: list[Agreement]
    only_first: list[str]
    only_second: list[str]

    def to_text(self) -> str:
        """One line per label and measure."""
        return agreement_table(self.agreements, self.only_first, self.only_second)

    def _repr_html_(self) -> str:
        """The same, for notebooks."""
        return block("Agreement", preformatted(self.to_text()))


def agreement(
    first: str | Path,
    second: str | Path,
    output: str | Path | None = None,
    *,
    level: float = 0.95,
    overwrite: bool = False,
) -> AgreementResult:
    """Compare two tables of ``grcsf calcium`` or ``grcsf measure`` by case and label.

    Every measure that both have gets ICC(2,1) and Bland-Altman limits, the Agatston score the linearly weighted kappa
    of its categories of risk, each with an interval.

    Args:
        first: CSV with columns case, label and measures.
        second: the same of the other scoring; differences are first - second.
        output: folder for ``agreement.csv`` and ``agreement.json``; none writes nothing.
        level: coverage of the intervals.
        overwrite: replace what is there.

    Raises:
        DatasetError: a table that cannot be read, or nothing in common.
        SettingsError: a level outside (0, 1).
        OutputError: an output that exists already.
    """
    if not 0 < level < 1:
        raise SettingsError(f"--level {level}: expected a number between 0 and 1, such as 0.95")
    files = [Path(first), Path(second)]
    found, *alone = compare_tables(read_table(files[0]), read_table(files[1]), level)
    result = AgreementResult(found, *alone)
    if output is not None:
        out = Path(output)
        ensure_new(out, overwrite)
        with RunRecord(out, verb="agreement", settings={"level": level}, inputs=files, device="cpu"):
            write_agreement(out / "agreement.csv", found)
            write_json(out / "agreement.json", agreement_tree(found, *alone))
    return result
