"""Whether a process still runs."""


def lives(number: int) -> bool:
    """Whether the process of this number runs; a zombie has ended, too."""
    try:
        with open(f"/proc/{number}/stat", encoding="utf-8") as file:  # noqa: PTH123 - no file, in truth
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
