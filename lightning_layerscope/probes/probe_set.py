"""ProbeSet: the probes of all tasks, made from any source, stored, and checked against a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_layerscope.probes import files, fit
from lightning_layerscope.probes.base import BaseProbeSet
from lightning_layerscope.probes.build import build_probes
from lightning_layerscope.probes.digests import TokenChoice, token_choice_name
from lightning_layerscope.probes.near_duplicates import copies_in_words
from lightning_layerscope.probes.settling import USUAL_SPLIT, load_split, settle_split, settle_template
from lightning_layerscope.probes.summary import summarise
from lightning_layerscope.probes.tokens import load_tokenizer, tokenizer_name
from lightning_layerscope.tasks.flan import FLAN_REPOSITORY, load_flan
from lightning_layerscope.tasks.hf import load_datasets
from lightning_layerscope.tasks.jsonl import load_jsonl
from lightning_layerscope.tasks.load import load_tasks
from lightning_layerscope.tasks.task import TaskCollection
from lightning_layerscope.tasks.template import PromptTemplate, as_template

if TYPE_CHECKING:
    from typing_extensions import Self

Template = PromptTemplate | str | Mapping[str, Any] | None


class ProbeSet(BaseProbeSet):
    """The fixed prompts of all tasks, tokenised: task name to ``Probe``.

    Make one with a ``from_...`` method; all of them but ``from_source`` take the options of ``from_tasks``.

    Args:
        probes: One per task, with different names.
        token_choice: Which tokens' hidden states stand for a prompt: ``"last_prompt"``, ``"mean_prompt"``,
            ``"first_<k>"`` (mean of the first k), or a callable that turns the mask ``(batch, tokens)`` into weights of
            the same shape.
        tokenizer_name: What the tokenizer is called, for records; no part of a digest.
        vocab_size: Number of tokens it knows.
        template: ``PromptTemplate.describe`` of the template.
        max_length: Token budget per prompt.
        split: The split that the examples come from.
        seed: Seed of the choice of examples.
        notes: What a reader should know about how the prompts were made, a sentence each; no part of a digest.

    Attributes:
        examples_digest: 64 hexadecimal digits, equal when two sets probe the same examples, whatever the tokenizer.
        tokens_digest: 64 hexadecimal digits, equal when hidden states of two sets belong together row by row.

    Raises:
        ValueError: Without a probe, for two of one name, or an unknown token choice.

    Example:
        >>> from lightning_layerscope.probes import Probe, ProbeSet
        >>> probes = ProbeSet([Probe("greet", "speech", ("a", "b"), ("Hi", "Hi you"), ((5,), (5, 7)))])
        >>> probes.num_examples, probes.num_tokens, probes.clusters
        (2, 3, {'greet': 'speech'})
    """

    @classmethod
    def from_tasks(
        cls,
        tasks: TaskCollection,
        tokenizer: Any,
        *,
        examples_per_task: int | None = 64,
        split: str | None = None,
        seed: int = 0,
        max_length: int = 512,
        min_examples: int = 32,
        template: Template = None,
        token_choice: TokenChoice = "last_prompt",
    ) -> Self:
        """Choose, render and tokenise examples of every task.

        Which examples are chosen depends on ``seed``, the task's name and the examples' ids alone: not on other tasks,
        the order of rows, or the tokenizer; more examples per task are the same ones and some more.

        Args:
            tasks: The tasks.
            tokenizer: A transformers tokenizer, its folder, or its name on the hub. Its padding and truncation settings
                do not matter.
            examples_per_task: How many of each task; a task with fewer gives all it has, and None takes all.
            split: Which split they come from; by default ``"test"``, or the only split there is (with a warning).
            seed: Seed of the choice.
            max_length: Token budget per prompt, special tokens included. A longer prompt is cut from the left of its
                input (a plain prompt from its left; a chat prompt loses its oldest turns first), at a word where
                possible, so that instruction and the template's end stay; it is counted in ``Probe.truncated``.
            min_examples: Tasks with fewer examples (and fewer than asked for) are refused.
            template: How an example becomes a prompt: a ``PromptTemplate``, its text, or a dict of its ``text``,
                ``chat`` and ``system``. By default conversations take the tokenizer's chat template where it has one,
                and rows of instruction and input become text. A chat template that writes today's date is warned about.
            token_choice: See the class.

        Raises:
            ValueError: For tasks with too few examples or without the split (all are listed), empty prompts,
                prompts too long even when cut, or options out of range.
            TypeError: When ``tokenizer`` is none.
        """
        tokenizer = load_tokenizer(tokenizer)
        token_choice_name(token_choice)
        split, notes = settle_split(tasks, split)
        settled, more = settle_template(tasks, split, as_template(template), tokenizer)
        probes = build_probes(
            tasks,
            tokenizer,
            examples_per_task=examples_per_task,
            split=split,
            seed=seed,
            max_length=max_length,
            min_examples=min_examples,
            template=settled,
        )
        return cls(
            probes,
            token_choice=token_choice,
            tokenizer_name=tokenizer_name(tokenizer),
            vocab_size=len(tokenizer),
            template=settled.describe(),
            max_length=max_length,
            split=split,
            seed=seed,
            notes=[*notes, *more, *copies_in_words(probes)],
        )

    @classmethod
    def from_jsonl(
        cls,
        path: str | Path,
        tokenizer: Any,
        *,
        columns: Mapping[str, str] | None = None,
        clusters: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Self:
        """From a folder of JSONL files or one file: ``load_jsonl`` (path, columns, clusters), then ``from_tasks``."""
        return cls.from_tasks(load_jsonl(path, columns=columns, clusters=clusters), tokenizer, **options)

    @classmethod
    def from_datasets(
        cls,
        source: Any,
        tokenizer: Any,
        *,
        task_column: str | None = None,
        columns: Mapping[str, str] | None = None,
        name: str | None = None,
        split_map: Mapping[str, str] | None = None,
        clusters: Mapping[str, str] | None = None,
        messages_column: str | None = None,
        split: str | None = None,
        **options: Any,
    ) -> Self:
        """From Hugging Face datasets: ``load_datasets`` of the split that ``from_tasks`` takes, then ``from_tasks``."""
        load = partial(
            load_datasets,
            source,
            task_column=task_column,
            columns=columns,
            name=name,
            split_map=split_map,
            clusters=clusters,
            messages_column=messages_column,
        )
        return cls.from_tasks(load_split(load, split), tokenizer, split=split, **options)

    @classmethod
    def from_flan(
        cls,
        tokenizer: Any,
        source: Any = FLAN_REPOSITORY,
        *,
        clusters: Mapping[str, str] | None = None,
        split: str | None = None,
        **options: Any,
    ) -> Self:
        """From Flan 2021: ``load_flan`` of the split that ``from_tasks`` takes, then ``from_tasks``."""
        tasks = load_split(partial(load_flan, source, clusters=clusters), split)
        return cls.from_tasks(tasks, tokenizer, split=split, **options)

    @classmethod
    def from_prompts(
        cls,
        prompts: Mapping[str, Sequence[str]],
        tokenizer: Any,
        *,
        clusters: Mapping[str, str] | None = None,
        examples_per_task: int | None = None,
        template: Template = None,
        split: str = USUAL_SPLIT,
        **options: Any,
    ) -> Self:
        """From plain prompts, task name to texts: all of them unless told otherwise, and as they are.

        A template other than the default sees them as ``{input}``. Other options are those of ``from_tasks``.
        """
        tasks = TaskCollection.from_prompts(prompts, clusters=clusters, split=split)
        template = "{input}" if template is None else template
        return cls.from_tasks(
            tasks, tokenizer, examples_per_task=examples_per_task, template=template, split=split, **options
        )

    @classmethod
    def from_datamodule(cls, datamodule: Any, tokenizer: Any, **options: Any) -> Self:
        """From a LightningDataModule (or any object) that offers ``probe_tasks()``.

        It returns a ``TaskCollection``, which goes to ``from_tasks``, or task name to prompts, which go to
        ``from_prompts``. Neither ``prepare_data`` nor ``setup`` is called here.

        Raises:
            TypeError: When there is no ``probe_tasks``, or it returns something else.
        """
        offer = getattr(datamodule, "probe_tasks", None)
        if not callable(offer):
            raise TypeError(
                f"{type(datamodule).__name__} offers no probes: give it a method probe_tasks() that returns a "
                "TaskCollection, or a dict of task name to a list of prompts"
            )
        tasks = offer()
        if isinstance(tasks, TaskCollection):
            return cls.from_tasks(tasks, tokenizer, **options)
        if not isinstance(tasks, Mapping):
            raise TypeError(
                f"{type(datamodule).__name__}.probe_tasks() must return a TaskCollection or a dict of task name to a "
                f"list of prompts, got {type(tasks).__name__}"
            )
        return cls.from_prompts(tasks, tokenizer, **options)

    @classmethod
    def from_source(cls, source: str | Path, tokenizer: Any = None, **options: Any) -> Self:
        """From a text in a configuration: a file written by ``save``, or any source of ``load_tasks``.

        Args:
            source: The file, folder or name.
            tokenizer: Needed for tasks. With a probe file it is optional, and is checked against the file.
            options: For tasks, ``columns``, ``clusters`` and those of ``from_tasks``; for a probe file ``token_choice``
                only.

        Raises:
            ValueError: For tasks without a tokenizer, options that a probe file has settled, or another tokenizer.
            FileNotFoundError: When nothing of that name is there.
        """
        if files.is_probe_file(source):
            settled = sorted(set(options) - {"token_choice"})
            if settled:
                raise ValueError(f"{source} is a saved probe set, which settles {settled}; leave them out")
            probes = cls.load(source, **options)
            if tokenizer is not None:
                fit.check_tokenizer(probes, load_tokenizer(tokenizer))
            return probes
        if tokenizer is None:
            raise ValueError(f"{source} is no saved probe set, and probes from tasks need a tokenizer; pass tokenizer=")
        of_tasks = {key: options.pop(key) for key in ("columns", "clusters") if key in options}
        tasks = load_split(partial(load_tasks, source, **of_tasks), options.get("split"))
        return cls.from_tasks(tasks, tokenizer, **options)

    def save(self, path: str | Path) -> Path:
        """Write all of it to one JSON file, atomically. The file holds the prompts' texts."""
        return files.save_probes(self, path)

    @classmethod
    def load(cls, path: str | Path, *, token_choice: TokenChoice | None = None) -> Self:
        """Read what ``save`` wrote; a callable ``token_choice`` cannot be saved and is given again.

        Raises:
            FileNotFoundError: When there is no such file.
            ValueError: When the file is of another kind or version, was changed since (its digests say so), or was
                saved with another token choice.
        """
        return files.load_probes(cls, path, token_choice)

    def check_model(self, model: Any) -> None:
        """Check that a model can read these prompts.

        Raises:
            ValueError: When a token id is beyond its input embedding, or a prompt longer than its table of positions.
        """
        fit.check_model(self, model)

    def summary(self) -> str:
        """A table for people: per task its cluster, examples, tokens and cut prompts; totals and digests below."""
        return summarise(self)
