"""The checkpoints under their former name."""

from sosie.surrogates.checkpoint import read_checkpoint, write_checkpoint

__all__ = ["read_checkpoint", "write_checkpoint"]
