"""A reference that lies in W&B: downloaded, verified, and told to the run as used; and mistakes told at once."""

import pytest
import torch

import lightning_layerscope as ls
from lightning_layerscope.sinks.wandb_reference import fetch_reference
from tests.loopback import start


def states(shift=0.0):
    generator = torch.Generator().manual_seed(0)
    return {task: torch.randn(2, 8, 4, generator=generator) + shift for task in ("a", "b")}


def upload(folder, server, *banks, name="bank"):
    """An artifact with a bank in each of these folders of it."""
    import wandb

    run = start(folder)
    artifact = wandb.Artifact(name, type="layerscope-reference")
    for position, place in enumerate(banks):
        bank = ls.ReferenceBank.from_states(states(position), name=f"number {position}")
        bank.save(folder / f"bank {position}")
        artifact.add_dir(str(folder / f"bank {position}"), name=place or None)
    run.log_artifact(artifact)
    run.finish()


def test_a_bank_is_downloaded_with_the_version_that_it_was(server, tmp_path):
    upload(tmp_path, server, "")
    bank, version = fetch_reference("wandb:me/test/bank:latest")
    assert version == "me/test/bank:v3"
    assert bank.digest == ls.ReferenceBank.from_states(states(), name="number 0").digest


def test_of_several_banks_one_is_named_by_its_folder(server, tmp_path):
    upload(tmp_path, server, "banks/base", "banks/tuned")
    bank, _ = fetch_reference("wandb:me/test/bank:v3/banks/tuned")
    assert bank.name == "number 1"
    with pytest.raises(ValueError, match=r"holds these banks: banks/base, banks/tuned; name one behind the version"):
        fetch_reference("wandb:me/test/bank:v3")
    with pytest.raises(ValueError, match="holds these banks"):
        fetch_reference("wandb:me/test/bank:v3/banks/other")


def test_what_is_not_there_is_said_with_the_way_out(server, tmp_path):
    with pytest.raises(ConnectionError, match=r"'wandb:me/test/none:v0' could not be downloaded .*wandb login"):
        fetch_reference("wandb:me/test/none:v0")


@pytest.mark.parametrize("reference", ["wandb:bank:v0", "wandb:me/test/bank", "wandb:"])
def test_another_form_of_name_ends_the_run_before_it_costs_anything(reference):
    probes = ls.ProbeSet([ls.Probe("a", "a", ("x",), ("text",), ((1, 2),))], vocab_size=8)
    with pytest.raises(ValueError, match='is "wandb:entity/project/name:version"'):
        ls.watch(torch.nn.Linear(2, 2), probes, reference=reference)
