"""Every example runs as it stands, from its file, with no network and no account."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_layerscope import LayerProfile, ReferenceBank

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def check(profile, out, steps):
    assert profile.steps == steps
    assert profile.layers == [1, 2, 3, 4, 5, 6]
    assert len(profile.tasks) == 24
    matrix = profile.matrix()
    assert np.isfinite(matrix[:, 1:]).mean() > 0.9
    assert np.nanmean(matrix) < 0.99
    assert f"{profile.mean_curve()['value'].iloc[-1]:.3f}" in out


def test_lightning_run(monkeypatch, tmp_path, capsys):
    run(monkeypatch, "lightning_run.py", "--out", tmp_path, "--steps", 12)
    (results,) = tmp_path.rglob("layerscope")
    assert (results / "report.html").is_file()
    check(LayerProfile.from_parquet(results / "profile.parquet"), capsys.readouterr().out, [0, 3, 6, 12])


def test_transformers_trainer(monkeypatch, tmp_path, capsys):
    run(monkeypatch, "transformers_trainer.py", "--out", tmp_path, "--steps", 12)
    assert (tmp_path / "layerscope" / "report.html").is_file()
    check(
        LayerProfile.from_parquet(tmp_path / "layerscope" / "profile.parquet"), capsys.readouterr().out, [0, 3, 6, 12]
    )


def test_training_loop(monkeypatch, tmp_path, capsys):
    run(monkeypatch, "training_loop.py", "--out", tmp_path, "--steps", 12)
    assert (tmp_path / "layerscope" / "report.html").is_file()
    check(
        LayerProfile.from_parquet(tmp_path / "layerscope" / "profile.parquet"), capsys.readouterr().out, [0, 3, 6, 12]
    )
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert kept["monitor"]["step"] == 12


def test_accelerate_loop(monkeypatch, tmp_path, capsys):
    run(monkeypatch, "accelerate_loop.py", "--out", tmp_path, "--steps", 12)
    assert (tmp_path / "layerscope" / "report.html").is_file()
    check(
        LayerProfile.from_parquet(tmp_path / "layerscope" / "profile.parquet"), capsys.readouterr().out, [0, 3, 6, 12]
    )


def test_compare_checkpoints(monkeypatch, tmp_path, capsys):
    run(monkeypatch, "compare_checkpoints.py", "--out", tmp_path)
    check(LayerProfile.from_parquet(tmp_path / "profile.parquet"), capsys.readouterr().out, [0])
    assert ReferenceBank.load(tmp_path / "first.bank").name == "first"


def test_every_example_has_a_test_and_is_in_the_list():
    files = {path.name for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb")]}
    tested = {
        f"{name.removeprefix('test_')}.{'ipynb' if name == 'test_notebook' else 'py'}"
        for name in globals()
        if name.startswith("test_")
    }
    assert files <= tested
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"({name})" in text for name in files)


def test_notebook(tmp_path):
    """In a kernel of its own, as Jupyter runs it; every result shows itself."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "committed without outputs"
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output["data"] for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    pages = [data.get("text/html", "") for data in shown]
    assert sum("vegaEmbed" in page for page in pages) == 4, "charts"
    texts = " ".join(pages)
    assert "<b>ProbeSet</b>" in texts
    assert "<b>RunRecord</b>" in texts
    assert "transition" in texts
