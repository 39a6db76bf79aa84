"""Nothing outside ``compat/`` looks at the insides of other libraries, and every file there has its canary."""

import re
from pathlib import Path

import lightning_layerscope

PACKAGE = Path(lightning_layerscope.__file__).parent
SNIFFS = {
    "class names": r"__mro__|type\([^()]*\)\.__name__ *(==|in\b)",
    "modules of classes": r"type\([^()]*\)\.__module__",
    "wrappers of compile": r"_orig_mod|_compiled_call_impl",
    "hooks of accelerate": r"_hf_hook",
    "marks of DeepSpeed and DTensor": r"\bds_id\b|device_mesh|__tensor_flatten__",
    "private options of transformers": r"_attn_implementation|\b_name_or_path|_raise_exceptions|_hf_peft_config_loaded",
    "private steps of Lightning": r"_batches_that_stepped|_wandb_init",
    "private switches of PEFT": r"\._disable_adapters|merged_adapters|del [a-z_.]*peft_config",
    "texts of warnings": r"filterwarnings\(\"ignore\"",
    "paths of the hub's cache": r"cached_file",
}


def sniffing(text: str) -> list[str]:
    return [kind for kind, pattern in SNIFFS.items() if re.search(pattern, text)]


def test_only_compat_knows_the_insides_of_other_libraries() -> None:
    found = {
        str(path.relative_to(PACKAGE)): kinds
        for path in sorted(PACKAGE.rglob("*.py"))
        if "compat" not in path.parts and (kinds := sniffing(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_the_search_finds_each_kind() -> None:
    compat = "".join(path.read_text(encoding="utf-8") for path in (PACKAGE / "compat").glob("*.py"))
    assert set(sniffing(compat)) == set(SNIFFS) - {"paths of the hub's cache"}  # which has a public twin
    assert sniffing("path = cached_file(name)") == ["paths of the hub's cache"]


def test_every_file_has_a_canary() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    names = [path.stem for path in (PACKAGE / "compat").glob("*.py") if path.stem != "__init__"]
    assert names
    assert [name for name in names if f"lightning_layerscope.compat.{name} import" not in tests] == []
