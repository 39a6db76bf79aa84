"""Where prompts come from: JSONL, Hugging Face datasets, Flan 2021, the built-in toy tasks and retention set."""

from lightning_layerscope.tasks.flan import FLAN_CLUSTERS, load_flan
from lightning_layerscope.tasks.general import general_tasks
from lightning_layerscope.tasks.hf import load_datasets
from lightning_layerscope.tasks.jsonl import load_jsonl
from lightning_layerscope.tasks.load import load_tasks
from lightning_layerscope.tasks.task import Example, Task, TaskCollection
from lightning_layerscope.tasks.template import PromptTemplate
from lightning_layerscope.tasks.toy import toy_tasks

__all__ = [
    "FLAN_CLUSTERS",
    "Example",
    "PromptTemplate",
    "Task",
    "TaskCollection",
    "general_tasks",
    "load_datasets",
    "load_flan",
    "load_jsonl",
    "load_tasks",
    "toy_tasks",
]
