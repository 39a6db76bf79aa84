import sys

import pytest

from lightning_layerscope._extras import require


def test_gives_the_module():
    assert require("json.decoder", "datasets").JSONDecoder


@pytest.mark.parametrize("module", ["no_such_module", "no_such_module.part", "json.no_such_part"])
def test_missing_module_names_the_command(module):
    with pytest.raises(ImportError, match=r'pip install "lightning-layerscope\[ray\]"'):
        require(module, "ray")


def test_fault_inside_an_installed_module_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "layerscope_broken_extra.py").write_text("import layerscope_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="layerscope_not_there") as caught:
        require("layerscope_broken_extra", "ray")
    assert "pip install" not in str(caught.value)
    sys.modules.pop("layerscope_broken_extra", None)
