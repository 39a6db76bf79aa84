"""Flan 2021 in the form of ``Muennighoff/flan``, with the paper's table of tasks and clusters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_layerscope.tasks.hf import load_datasets
from lightning_layerscope.tasks.task import TaskCollection

FLAN_REPOSITORY = "Muennighoff/flan"
_TABLE = {
    "natural_language_inference": "anli_r1 anli_r2 anli_r3 cb rte mnli_matched mnli_mismatched qnli wnli snli",
    "commonsense": "copa hellaswag story_cloze piqa",
    "sentiment": "imdb_reviews sentiment140 sst2 yelp_polarity_reviews",
    "paraphrase": "glue_mrpc glue_qqp paws_wiki stsb",
    "closed_book_qa": "trivia_qa natural_questions arc_challenge arc_easy",
    "struct_to_text": "web_nlg_en common_gen e2e_nlg dart",
    "reading_comprehension": "squad_v1 squad_v2 drop multirc openbookqa bool_q",
    "reading_comprehension_with_commonsense": "record cosmos_qa",
    "coreference": "definite_pronoun_resolution winogrande wsc",
    "summarization": "aeslc cnn_dailymail gigaword multi_news newsroom samsum xsum ag_news_subset "
    "opinion_abstracts_idebate opinion_abstracts_rotten_tomatoes wiki_lingua_english_en",
    "translation": "para_crawl_enes wmt14_enfr wmt16_translate_csen wmt16_translate_deen wmt16_translate_fien "
    "wmt16_translate_roen wmt16_translate_ruen wmt16_translate_tren",
    "miscellaneous": "coqa quac wic trec cola math_dataset fix_punct true_case word_segment",
}

FLAN_CLUSTERS: dict[str, str] = {task: cluster for cluster, tasks in _TABLE.items() for task in tasks.split()}
"""The 69 task configurations of Flan 2021 and their 12 clusters, as in Zhao, Ziser, Cohen (EMNLP 2024)."""


def flan_task_name(name: str) -> str:
    """The configuration's name without what Flan's files append for the templates.

    Example:
        >>> flan_task_name("wmt16_translate_deen_10templates"), flan_task_name("wsc")
        ('wmt16_translate_deen', 'wsc')
    """
    return re.sub(r"_\d+templates.*$", "", name)


def load_flan(
    source: Any = FLAN_REPOSITORY,
    *,
    clusters: Mapping[str, str] | None = None,
    splits: Iterable[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> TaskCollection:
    """Load Flan 2021: one task per configuration, prompts from ``inputs`` as they are, without an instruction.

    Args:
        source: The hub's name, a folder written by ``save_to_disk``, or a dataset in memory, with the columns
            ``inputs``, ``targets`` and ``task``.
        clusters: Task to cluster; goes before ``FLAN_CLUSTERS`` and adds to it.
        splits: Only these splits; all by default. Needed to keep memory small: all of Flan is millions of rows.
        limit: At most this many rows per task and split, a seeded choice as in ``load_datasets``.
        seed: Seed of that choice.

    Raises:
        ImportError: When the datasets library is missing; the message has the pip command.
        ValueError: For task names that neither table has; the message lists them.
    """
    tasks = load_datasets(
        source,
        columns={"input": "inputs", "output": "targets", "task": "task"},
        splits=splits,
        limit=limit,
        seed=seed,
        task_name=flan_task_name,
    )
    table = FLAN_CLUSTERS | {flan_task_name(task): cluster for task, cluster in (clusters or {}).items()}
    unknown = sorted(set(tasks) - set(table))
    if unknown:
        where = str(source) if isinstance(source, str | Path) else "the dataset"
        raise ValueError(
            f"{where} has {len(unknown)} task(s) that the table of Flan 2021 does not name: {unknown}; "
            "give each a cluster with clusters={'<task>': '<cluster>'}"
        )
    return tasks.with_clusters({task: table[task] for task in tasks})
