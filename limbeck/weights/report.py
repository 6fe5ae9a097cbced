"""What happened to every tensor when a model was loaded."""

from dataclasses import dataclass

__all__ = ["LoadReport"]


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """Every variable of the model, and every tensor of the checkpoint, exactly once."""

    source: str
    """The folder."""
    taken: tuple[tuple[str, str], ...]
    """(our variable, the tensor it was taken from)."""
    initialised: tuple[tuple[str, str], ...]
    """(our variable, how it was started), for lack of a tensor."""
    unused: tuple[tuple[str, str], ...]
    """(tensor that nothing was taken from, why)."""

    def __str__(self) -> str:
        """A table, one line a tensor, under one line with the counts."""
        lines = [
            f"{self.source}: {len(self.taken)} taken, {len(self.initialised)} initialised, "
            f"{len(self.unused)} unused"
        ]
        lines += [f"  taken        {name}  <-  {tensor}" for name, tensor in self.taken]
        lines += [f"  initialised  {name}  {how}" for name, how in self.initialised]
        lines += [f"  unused       {tensor}  {why}" for tensor, why in self.unused]
        return "\n".join(lines)
