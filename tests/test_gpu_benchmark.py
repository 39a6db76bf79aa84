"""The check for cards runs from a bare checkout, here at small size on the CPU, and keeps what it has when cut off."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.py"
# As on a machine without them: an import of one fails, and a look for one finds nothing.
WITHOUT = """
import runpy, sys
for name in ("wandb", "trl", "datasets", "pydantic", "gguf"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def rows_of(table, title):
    """The cells of a section's rows."""
    lines = table[table.index(f"**{title}") :].splitlines()[2:]
    end = next((index for index, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:end]]


@pytest.mark.slow
def test_it_runs_without_installation_and_without_optional_packages(tmp_path):
    pytest.importorskip("peft")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    out = tmp_path / "table.md"
    command = [sys.executable, "-c", WITHOUT, str(SCRIPT), "--size", "small", "--device", "cpu", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    table = out.read_text()
    assert done.returncode == 0, table + done.stderr
    assert "5 of 5 sections went through" in table

    exact = {row[0]: float(row[1]) for row in rows_of(table, "Hidden states")}
    assert exact["package, float32, batched"] < 1e-6
    assert exact["package, bfloat16, batched"] > 1e-4  # what rounding does is seen

    bitwise = rows_of(table, "A run of")
    assert len(bitwise) == 5
    for name, measured, again, watched, drawn in bitwise:
        if name != "16-mixed with loss scaler":  # needs a card, and says so
            assert (measured, again, watched) == ("6, 0", again, again)
            assert again.startswith("all ")
            assert "differ" in drawn

    budget = rows_of(table, "A measurement due")  # whether it is kept is a matter of time, which no test judges
    assert len(budget) == 3
    assert all(int(row[2].split(",")[0]) >= 2 for row in budget[1:])
    assert all(float(row[-1]) < 1e-5 for row in rows_of(table, "CKA"))


def test_a_section_that_fails_leaves_its_rows_and_its_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))
    script = runpy.run_path(str(SCRIPT), run_name="gpu")

    def rows(setting):
        yield "first", "1"
        raise RuntimeError("no | such kernel")

    script["SECTIONS"]["broken"] = ("Broken", SimpleNamespace(HEAD=("name", "value"), rows=rows))
    table = script["Table"](tmp_path / "table.md", "head")
    setting = script["Setting"](script["torch"].device("cpu"), script["SIZES"]["small"])
    assert script["write_section"](table, "broken", setting) is False
    text = (tmp_path / "table.md").read_text()
    assert rows_of(text, "Broken") == [["first", "1"], ["FAILED: RuntimeError: no / such kernel", ""]]
    assert "| first | 1 |" in capsys.readouterr().out
