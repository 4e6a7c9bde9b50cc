"""Randomness that depends on names alone: not on order, shard, batch or worker count."""

import hashlib

import torch


def key(*parts: object) -> int:
    """A 63-bit integer from the parts, such as (seed, image id, condition)."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(*parts: object, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on `device`, seeded from the parts."""
    return torch.Generator(device).manual_seed(key(*parts))
