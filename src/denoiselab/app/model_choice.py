"""Choose a shipped model or family of released weights by the noise estimated in an image."""

from denoiselab.noise.analysis import Estimate


def choose(estimate: Estimate, channels: int) -> tuple[str, str]:
    """Name of the shipped denoiser or family for an image with that many channels, and the reason in words."""
    name = "gray" if channels == 1 else "colour"
    if estimate.kind == "clean":
        return name, f"{estimate.reason}: needs no denoising"
    if estimate.kind == "impulse":
        return "median", f"{estimate.reason}: a median removes them"
    if estimate.kind == "correlated":
        if channels == 3:
            return "real", estimate.reason
        return name, f"{estimate.reason}: no gray model was trained on such noise, some will remain"
    return name, estimate.reason
