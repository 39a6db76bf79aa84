"""``layerscope extract``: a model's hidden states, or a reference, in a folder."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.commands.options import add_command, add_task_options, check_device, positive
from lightning_layerscope.commands.stored import BANK, STATES, check_new_folder
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from lightning_layerscope.probes import ProbeSet

_EXAMPLES = """\
  layerscope extract models/tuned --tasks toy --out tuned.states
  layerscope extract models/base --tasks data/instruct --out base.bank --reference
  layerscope extract models/base --adapter runs/lora --tasks data/instruct --layers 8-16 --out lora.states
"""


def add_parser(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands, "extract", run, "store the hidden states of a model on the tasks' prompts", _EXAMPLES
    )
    parser.add_argument("model", metavar="MODEL", help="folder or Hugging Face name; a PEFT adapter brings its base")
    parser.add_argument(
        "--tasks", required=True, metavar="SOURCE", help="toy, flan, a folder, a dataset, or saved probes"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where to write; must be new")
    parser.add_argument("--adapter", metavar="FOLDER", help="PEFT adapter to put on the model")
    parser.add_argument("--reference", action="store_true", help="store Gram matrices, which compare needs, not states")
    parser.add_argument("--layers", metavar="CHOICE", help="all (default), last, or numbers: 1,4,8-12")
    parser.add_argument("--layer-modules", metavar="NAME", help="where the layers are, if they are not found")
    parser.add_argument("--embeddings", action="store_true", help="store layer 0, what goes into the first layer, too")
    probes = parser.add_argument_group("prompts")
    probes.add_argument("--examples-per-task", type=positive, metavar="N", help="prompts per task (default 64)")
    probes.add_argument("--min-examples", type=positive, metavar="N", help="refuse tasks with fewer (default 32)")
    probes.add_argument("--split", metavar="NAME", help="split they come from (default test, or the only one there is)")
    probes.add_argument("--seed", type=int, help="of their choice (default 0)")
    probes.add_argument("--max-length", type=positive, metavar="TOKENS", help="longer ones are cut (default 512)")
    probes.add_argument(
        "--tokens", dest="token_choice", metavar="CHOICE", help="last_prompt (default), mean_prompt or first_<k>"
    )
    add_task_options(probes)
    probes.add_argument("--template", metavar="TEXT", help=r"default '{instruction}\n{input}\n'")
    probes.add_argument("--system", metavar="TEXT", help="system message that chat prompts begin with (with --chat)")
    probes.add_argument("--tokenizer", metavar="NAME", help="default: the model's")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", help="cpu (default), cuda, mps, ...")
    machine.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="default: as the model was saved")
    machine.add_argument("--max-tokens-per-batch", type=positive, metavar="N", help="bound of the memory")
    parser.add_argument("--overwrite", action="store_true", help="replace what an earlier extract wrote there")


def run(options: argparse.Namespace) -> None:
    """Load, extract, store."""
    from lightning_layerscope.extraction import extract_hidden_states
    from lightning_layerscope.options import Extraction
    from lightning_layerscope.probes import ProbeSet
    from lightning_layerscope.references import ReferenceBank
    from lightning_layerscope.training import load_model
    from lightning_layerscope.training.progress import Progress, showing
    from lightning_layerscope.training.quiet import quiet

    extraction = Extraction(
        layer_modules=options.layer_modules,
        embeddings=options.embeddings,
        max_tokens_per_batch=options.max_tokens_per_batch,
    )
    check_new_folder(options.out, options.overwrite, BANK if options.reference else STATES)
    check_device(options.device)
    begin = time.perf_counter()
    with quiet():
        model, tokenizer = load_model(
            options.model,
            adapter=options.adapter,
            tokenizer=options.tokenizer,
            dtype=options.dtype,
            device=options.device,
        )
        probes = ProbeSet.from_source(options.tasks, tokenizer, **_probe_options(options))
        print(probes.summary())
        if options.reference:
            _check_enough(probes)
        with showing(), Progress("extracting", probes.num_examples, unit="prompts", keep=True) as progress:
            states = extract_hidden_states(
                model,
                probes,
                layers=options.layers,
                progress=lambda done, _: progress.to(done),
                **extraction.keywords,
            )
        if options.reference:
            ReferenceBank.from_states(states, name=Path(options.model).name).save(
                options.out, overwrite=options.overwrite
            )
        else:
            states.save(options.out, overwrite=options.overwrite)
    what = "reference" if options.reference else "hidden states"
    layers = f"layers {states.layers[0]}-{states.layers[-1]} of {states.num_layers}"
    seconds = time.perf_counter() - begin
    print(f"{what} of {count(len(states), 'task')}, {layers}: {options.out} ({seconds:.0f} s)")


def _probe_options(options: argparse.Namespace) -> dict[str, Any]:
    """Only what was given: saved probes have settled the rest."""
    given = {
        "examples_per_task": options.examples_per_task,
        "min_examples": options.min_examples,
        "split": options.split,
        "seed": options.seed,
        "max_length": options.max_length,
        "token_choice": options.token_choice,
        "columns": None if options.columns is None else dict(options.columns),
    }
    # The shell gives backslash and n where a line break is meant.
    text = None if options.template is None else options.template.replace("\\n", "\n")
    template = {"text": text, "chat": options.chat, "system": options.system}
    if any(value is not None for value in template.values()):
        given["template"] = template
    return {name: value for name, value in given.items() if value is not None}


def _check_enough(probes: ProbeSet) -> None:
    """Refuse now what the reference would be refused for after the extraction."""
    from lightning_layerscope.references.identity import MIN_EXAMPLES

    few = [f"{task} ({len(probe)})" for task, probe in probes.items() if len(probe) < MIN_EXAMPLES]
    if few:
        raise ValueError(
            f"--reference needs at least {MIN_EXAMPLES} prompts of each task, but there are fewer of {', '.join(few)}; "
            "raise --examples-per-task, or leave these tasks out"
        )
