"""What is wrong with a dataset: problems of one kind are counted, a few are shown.

Readers of annotation files and folders add what they find; loading then raises the first error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SHOWN = 3
KEPT = 100


@dataclass
class Finding:
    """One kind of problem.

    Attributes:
        level: "error" (scores would be wrong, or reading fails) or "warning".
        problem: what is wrong, as a sentence without file names.
        remedy: what to do, as an order.
        count: how many files or entries have it.
        where: the first of them (at most 100), each a file and what is wrong there.
    """

    level: str
    problem: str
    remedy: str
    count: int = 0
    where: list[str] = field(default_factory=list)


@dataclass
class Report:
    """The state of one dataset.

    Attributes:
        name: of the row.
        root: where the datasets lie.
        images: how many images the split has there.
        checked: how many of them were read, with their masks.
        findings: in the order they were met.
    """

    name: str
    root: str
    images: int = 0
    checked: int = 0
    findings: list[Finding] = field(default_factory=list)
    _first: Exception | None = None

    def add(self, level: str, problem: str, remedy: str, where: str | Path = "") -> None:
        """Counts a problem; of the same kind are those with equal level, problem and remedy."""
        key = (level, problem, remedy)
        known = (f for f in self.findings if (f.level, f.problem, f.remedy) == key)
        finding = next(known, None)
        if finding is None:
            finding = Finding(level, problem, remedy)
            self.findings.append(finding)
        finding.count += 1
        if where and len(finding.where) < KEPT:
            finding.where.append(str(where))

    def error(
        self,
        problem: str,
        remedy: str,
        where: str | Path = "",
        raises: type[Exception] | None = ValueError,
    ) -> None:
        """`add` of something that makes scores wrong.

        Args: raises: what `raise_first` raises for it; None: loading can go on.
        """
        self.add("error", problem, remedy, where)
        if self._first is None and raises is not None:
            self._first = raises(f"{where}: {problem}; {remedy}")

    def raise_first(self) -> None:
        """Raises the first error; its message names the file, the problem and the remedy."""
        if self._first is not None:
            raise self._first

    def warning(self, problem: str, remedy: str, where: str | Path = "") -> None:
        """`add` of something that may be intended."""
        self.add("warning", problem, remedy, where)

    @property
    def errors(self) -> int:
        """Number of kinds of errors."""
        return sum(finding.level == "error" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        content = asdict(self)
        del content["_first"]
        return {"ok": not self.errors, **content}

    def text(self) -> str:
        """For a terminal: one line on the dataset and three or more for every finding."""
        state = "in order, with warnings" if self.findings else "in order"
        state = "problems found" if self.errors else state
        amount = f"{self.images} images, {self.checked} of them read"
        lines = [f"{self.name}: {state} ({amount})"]
        for finding in self.findings:
            times = f" ({finding.count} times)" if finding.count > 1 else ""
            lines.append(f"  {finding.level}: {finding.problem}{times}")
            lines += [f"    {where}" for where in finding.where[:SHOWN]]
            if finding.count > SHOWN and finding.where:
                lines.append(f"    and {finding.count - SHOWN} more")
            lines.append(f"    -> {finding.remedy}")
        return "\n".join(lines)
