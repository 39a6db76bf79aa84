"""What a probe set is: probes by task, how they were made, and their digests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_layerscope.notebook import card
from lightning_layerscope.probes.digests import TokenChoice, examples_digest, token_choice_name, tokens_digest
from lightning_layerscope.probes.probe import Probe
from lightning_layerscope.wording import count

if TYPE_CHECKING:
    from typing_extensions import Self

_SHOWN_CLUSTERS = 12


class BaseProbeSet(Mapping[str, Probe]):
    """``ProbeSet`` without the ways to make, store and check one; it is documented there."""

    def __init__(
        self,
        probes: Iterable[Probe],
        *,
        token_choice: TokenChoice = "last_prompt",
        tokenizer_name: str = "",
        vocab_size: int = 0,
        template: Mapping[str, Any] | None = None,
        max_length: int = 512,
        split: str = "test",
        seed: int = 0,
        notes: Iterable[str] = (),
    ) -> None:
        probes = list(probes)
        if not probes:
            raise ValueError("a probe set needs at least one task")
        twice = sorted(name for name, count in Counter(probe.task for probe in probes).items() if count > 1)
        if twice:
            raise ValueError(f"task names must differ, but these occur more than once: {twice}")
        self._probes = {probe.task: probe for probe in probes}
        self.token_choice = token_choice
        self.tokenizer_name = tokenizer_name
        self.vocab_size = vocab_size
        self.template = dict(template or {})
        self.max_length = max_length
        self.split = split
        self.seed = seed
        self.notes = tuple(notes)
        self.examples_digest = examples_digest(probes)
        self.tokens_digest = tokens_digest(probes, self.template, token_choice_name(token_choice))

    def select(self, tasks: str | Iterable[str]) -> Self:
        """The probes of some tasks, in that order; the prompts are the same, the digests are those of the part.

        Raises:
            ValueError: For tasks that are not here.
        """
        names = [tasks] if isinstance(tasks, str) else list(tasks)
        unknown = sorted(set(names) - set(self._probes))
        if unknown:
            raise ValueError(f"no probes of the tasks {unknown}; there are {list(self._probes)}")
        return self.with_probes([self._probes[name] for name in names], self.notes)

    def with_probes(self, probes: Sequence[Probe], notes: Sequence[str] = ()) -> Self:
        """Other probes that were made the same way: same tokenizer, template and choices.

        Args:
            probes: The probes, each of another task.
            notes: What there is to know of them.
        """
        return type(self)(
            probes,
            token_choice=self.token_choice,
            tokenizer_name=self.tokenizer_name,
            vocab_size=self.vocab_size,
            template=self.template,
            max_length=self.max_length,
            split=self.split,
            seed=self.seed,
            notes=notes,
        )

    @property
    def clusters(self) -> dict[str, str]:
        """Task name to cluster name."""
        return {name: probe.cluster for name, probe in self._probes.items()}

    @property
    def num_examples(self) -> int:
        """Prompts of all tasks together."""
        return sum(map(len, self._probes.values()))

    @property
    def num_tokens(self) -> int:
        """Tokens of all prompts together, without padding."""
        return sum(probe.num_tokens for probe in self._probes.values())

    def __getitem__(self, task: str) -> Probe:
        if task not in self._probes:
            raise KeyError(f"{task!r}; there are probes of {list(self._probes)}")
        return self._probes[task]

    def __iter__(self) -> Iterator[str]:
        return iter(self._probes)

    def __len__(self) -> int:
        return len(self._probes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BaseProbeSet):
            return NotImplemented
        return self.tokens_digest == other.tokens_digest and list(self._probes.values()) == list(other.values())

    def __hash__(self) -> int:
        return hash(self.tokens_digest)

    def __repr__(self) -> str:
        return (
            f"ProbeSet({count(len(self), 'task')}, {count(self.num_examples, 'prompt')}, "
            f"{count(self.num_tokens, 'token')}, "
            f"{self.tokenizer_name!r}, examples {self.examples_digest[:16]}, tokens {self.tokens_digest[:16]})"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: one line per cluster, totals and digests; no prompt."""
        members: dict[str, list[Probe]] = {}
        for probe in self._probes.values():
            members.setdefault(probe.cluster, []).append(probe)
        rows = [
            [name, str(len(each)), f"{sum(map(len, each)):,}", f"{sum(probe.num_tokens for probe in each):,}"]
            for name, each in members.items()
        ]
        lines = [
            f"{count(len(self), 'task')} in {count(len(rows), 'cluster')}: {count(self.num_examples, 'prompt')} of the "
            f"split {self.split!r} (seed {self.seed}), {count(self.num_tokens, 'token')} of {self.tokenizer_name}",
            f"examples {self.examples_digest[:16]}, tokens {self.tokens_digest[:16]}",
            *(f"note: {note}" for note in self.notes),
        ]
        more = len(rows) - _SHOWN_CLUSTERS
        if more > 0:
            rows = [*rows[:_SHOWN_CLUSTERS], [f"and {count(more, 'other')}", "", "", ""]]
        return card("ProbeSet", lines, ["cluster", "tasks", "prompts", "tokens"], rows)
