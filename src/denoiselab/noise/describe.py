"""Text descriptions of noise models."""

from typing import Any

from denoiselab.config.noise import NoiseSpec

ENDINGS = {  # by clip and quantise, for 8 bits
    (False, False): "not clipped",
    (False, True): "8-bit steps",
    (True, False): "clipped",
    (True, True): "clipped, 8 bits",
    ("half", False): "half of them clipped",
    ("half", True): "half of them clipped, 8 bits",
}


def in_words(spec: dict[str, Any], depth: int | str = 8) -> str:
    """Full description of a noise spec: kind, levels, clipping, rounding to the data's `depth`."""
    keys = {k: v for k, v in spec.items() if v is not None and k not in ("kind", "clip", "quantise")}
    if spec["kind"] == "chain":
        last = keys["steps"][-1]
        return " then ".join(in_words(step, depth) for step in keys["steps"]) + _further(spec, last, depth)
    if spec["kind"] == "as_is":
        return "the images' own noise"
    if spec["kind"] == "sometimes":
        inner = keys["noise"]
        return f"with probability {keys['p']:g} {in_words(inner, depth)}" + _further(spec, inner, depth)
    of = " of random cameras" if spec["kind"] == "camera_jpeg" and "camera" not in keys else ""
    values = [_setting(key, value) for key, value in keys.items()]
    values.append(_ending(spec, depth))
    return f"{spec['kind'].replace('_', '-')}{of} ({', '.join(values)})"


def in_short(spec: NoiseSpec) -> str:
    """Short description: kind and level."""
    level = getattr(spec, "sigma_255", None)
    return f"{spec.kind.replace('_', '-')}{f' {_value(level)}' if level is not None else ''}"


def _further(spec: dict[str, Any], inner: dict[str, Any], depth: int | str) -> str:
    """Clipping and rounding by `spec` after those of its last part."""
    if not (spec["clip"] or spec["quantise"]) or _ending(spec, depth) == _ending(inner, depth):
        return ""
    return f", then {_ending(spec, depth)}"


def _ending(spec: dict[str, Any], depth: int | str) -> str:
    if depth == "float":  # never rounded, and real noise not clipped either
        return ENDINGS[spec["clip"] if spec["kind"] != "real" else False, False]
    return ENDINGS[spec["clip"], spec["quantise"]].replace("8", str(depth))


def _setting(key: str, value: Any) -> str:
    name = key.removesuffix("_255").replace("_", " ")
    if isinstance(value, bool):
        return name if value else f"not {name}"
    return f"{name} {_value(value)}{' of 255' if key.endswith('_255') else ''}"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"{value[0]:g} to {value[1]:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
