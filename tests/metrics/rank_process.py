"""One process of a gloo group, started by ``test_distributed.py``: updates every metric with its share of the examples.

Usage: rank_process.py RANK WORLD RENDEZVOUS_FILE SHARES_JSON OUTPUT_JSON; a share is a list of positions.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from torchmetrics import MetricCollection

sys.path.insert(0, str(Path(__file__).parent))
from metric_cases import CASES

# A rank without data is what is tested; torchmetrics reminds of it.
warnings.filterwarnings("ignore", message="The ``compute`` method of metric")


def main() -> None:
    rank, world = int(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=world)
    torch.set_num_threads(1)
    shares: list[list[int]] = json.loads(sys.argv[4])
    share = torch.tensor(shares[rank], dtype=torch.long)
    earlier = {position for other in shares[:rank] for position in other}
    once = torch.tensor([p for p in dict.fromkeys(shares[rank]) if p not in earlier], dtype=torch.long)
    out: dict[str, object] = {}
    for name, case in CASES.items():
        metric = case.make()
        # Repetitions would be refused by the sums, which cannot drop them: they get every example once.
        mine = once if name.startswith("Streaming") else share
        for part in mine.split(7) if len(mine) else ():
            metric.update(**case.rows(part))
        before = sum(len(state) if isinstance(state, list) else 1 for state in metric.metric_state.values())
        out[name] = metric.compute().tolist()
        # The rank's own examples are back, and accumulation goes on.
        assert not metric._is_synced
        assert before <= sum(len(s) if isinstance(s, list) else 1 for s in metric.metric_state.values())
        metric.reset()
        if len(mine):
            metric.update(**case.rows(mine))
        # bfloat16 modules and a second round, in one update.
        metric.to(torch.bfloat16)
        out[f"{name} again"] = metric.compute().tolist()
    paired = {name: case for name, case in CASES.items() if case.arguments == ("x", "y") and case.layered}
    collection = MetricCollection({name: case.make() for name, case in paired.items()})
    for part in share.split(9) if len(share) else ():
        collection.update(**paired["LinearCKA"].rows(part))
    out |= {f"{name} in a collection": value.tolist() for name, value in collection.compute().items()}
    Path(sys.argv[5]).write_text(json.dumps(out))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
