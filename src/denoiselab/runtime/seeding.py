"""Random generators seeded by names, independent of order, shards, batches and number of workers."""

import hashlib

import torch


def key(*parts: object) -> int:
    """63-bit seed from the parts, such as (seed, image id, condition)."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device`, seeded by `key(*parts)`."""
    return torch.Generator(device).manual_seed(key(*parts))
