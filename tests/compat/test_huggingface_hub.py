"""Names that cannot be loaded are told at once, after one question to the hub."""

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from lightning_layerscope.compat.huggingface_hub import require_loadable
from lightning_layerscope.probes import ProbeSet
from lightning_layerscope.tasks import load_tasks
from lightning_layerscope.training import load_model


def made(kind):
    # Their constructors want a response of the hub's HTTP library, which differs between versions.
    return kind.__new__(kind)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A function: what the hub answers from now on; gives the list of what it was asked."""
    asked = []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)

    def answer(error):
        def repo_info(self, name, *, repo_type, timeout):
            asked.append((name, repo_type))
            if error is not None:
                raise error

        monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
        return asked

    return answer


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError("Name or service not known"),
            "there is no folder nowhere, and the Hugging Face hub, .* cannot be reached",
        ),
        (
            made(errors.RepositoryNotFoundError),
            "there is no folder nowhere, and no model of that name on the Hugging Face",
        ),
        (errors.HFValidationError("Repo id"), "no model of that name"),
    ],
)
def test_a_name_that_cannot_be_loaded(hub, error, message):
    hub(error)
    with pytest.raises(FileNotFoundError, match=message):
        require_loadable("nowhere", "model")


@pytest.mark.parametrize("error", [None, made(errors.GatedRepoError), made(errors.HfHubHTTPError)])
def test_what_the_hub_knows_or_refuses_passes(hub, error):
    hub(error)
    require_loadable("somewhere", "dataset")


def test_what_is_cached_and_offline_mode_ask_nobody(hub, tmp_path, monkeypatch):
    asked = hub(OSError("no network"))
    (tmp_path / "cache" / "models--owner--name").mkdir(parents=True)
    require_loadable("owner/name", "model")
    with pytest.raises(FileNotFoundError):
        require_loadable("owner/name", "dataset")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    require_loadable("other", "model")
    assert asked == [("owner/name", "dataset")]


def test_a_folder_of_nearly_that_name_is_named(hub, tmp_path):
    hub(OSError("no network"))
    (tmp_path / "my_tasks").mkdir()
    with pytest.raises(FileNotFoundError, match=r"there is no folder my_taks \(did you mean my_tasks\?\), and"):
        require_loadable("my_taks", "dataset")


@pytest.mark.parametrize(
    "load",
    [
        lambda: load_tasks("my_taks"),
        lambda: load_model("my_modle"),
        lambda: ProbeSet.from_prompts({"a": ["x"]}, "my_tokeniser"),
    ],
)
def test_every_load_by_name_answers_at_once(hub, load):
    pytest.importorskip("datasets", reason="needs the datasets library")
    asked = hub(OSError("no network"))
    with pytest.raises(FileNotFoundError, match=r"there is no folder my_.*cannot be reached"):
        load()
    assert len(asked) == 1


def test_the_hub_is_as_it_is_expected_here():
    assert callable(huggingface_hub.HfApi.repo_info)
    assert issubclass(errors.GatedRepoError, errors.RepositoryNotFoundError)
    assert {"HF_HUB_OFFLINE", "HF_HUB_CACHE"} <= set(dir(constants))
    from huggingface_hub.file_download import repo_folder_name

    assert repo_folder_name(repo_id="owner/name", repo_type="dataset") == "datasets--owner--name"
