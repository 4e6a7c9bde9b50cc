"""Text descriptions of noise models."""

from typing import Any

from denoiselab.config.noise import NoiseSpec

ENDINGS = {  # by clip and quantise
    (False, False): "not clipped",
    (False, True): "8-bit steps",
    (True, False): "clipped",
    (True, True): "clipped, 8 bits",
    ("half", False): "half of them clipped",
    ("half", True): "half of them clipped, 8 bits",
}


def in_words(spec: dict[str, Any]) -> str:
    """Full description of a noise spec: kind, levels, clipping."""
    keys = {k: v for k, v in spec.items() if k not in ("kind", "clip", "quantise")}
    if spec["kind"] == "chain":
        return " then ".join(in_words(step) for step in keys["steps"])
    if spec["kind"] == "as_is":
        return "the images' own noise"
    if spec["kind"] == "sometimes":
        return f"with probability {keys['p']:g} {in_words(keys['noise'])}"
    values = [_setting(key, value) for key, value in keys.items()]
    values.append(ENDINGS[spec["clip"], spec["quantise"]])
    return f"{spec['kind'].replace('_', '-')} ({', '.join(values)})"


def in_short(spec: NoiseSpec) -> str:
    """Short description: kind and level."""
    level = getattr(spec, "sigma_255", None)
    return f"{spec.kind.replace('_', '-')}{f' {_value(level)}' if level is not None else ''}"


def _setting(key: str, value: Any) -> str:
    name = key.removesuffix("_255").replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"not {name}"
    return f"{name} {_value(value)}{' of 255' if key.endswith('_255') else ''}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{value[0]:g} to {value[1]:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
