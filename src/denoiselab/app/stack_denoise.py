"""Denoise a stack image by image, in memory for one image.

White, black and model are those of a channel: a first image, often dark or empty, does not decide for the others.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from denoiselab.app import strength
from denoiselab.app.batch_plan import Task
from denoiselab.app.photo_denoise import AUTO, Choice, Outcome, Restorer, copy, in_words, typical
from denoiselab.imaging import photos, stacks
from denoiselab.runtime import files

LISTED = 2  # reasons of channels
SAMPLES = 5  # images of a channel whose noise is estimated


@dataclass
class _Channel:
    """What the images of a channel, of one type and number of colours, have in common."""

    white: float = 0.0  # the highest of all images
    white_in_words: str = ""
    black: float = 0.0  # the lowest
    images: list[int] = field(default_factory=list)
    choice: Choice = field(default_factory=lambda: Choice(""))

    def add(self, n: int, photo: photos.Photo) -> None:
        if photo.white > self.white:
            self.white, self.white_in_words = photo.white, photo.white_in_words
        self.black = min(self.black, photo.black)
        self.images.append(n)

    def samples(self) -> list[int]:
        """Images spread over the channel."""
        last = len(self.images) - 1
        return sorted({self.images[round(k * last / (SAMPLES - 1))] for k in range(SAMPLES)})


def denoise(task: Task, stack: stacks.Stack, restorer: Restorer) -> Outcome:
    """Denoise a stack into a TIFF file. UserError: an image cannot be read, or the output is no TIFF file."""
    stacks.check(task.target)
    reader = _Reader(stack, restorer)
    for channel in reader.channels:
        channel.choice = _chosen(reader, channel, restorer)
    denoised = [channel for channel in reader.channels if channel.choice.model]
    if not denoised:
        copy(task.source, task.target)
        return Outcome(task, "clean", reason=reader.channels[0].choice.reason, images=len(stack))
    dropped, kept, warnings, unused = dict[str, None](), list[strength.Kept](), list[str](), False
    with files.atomic_write(task.target) as temporary, stacks.written(temporary, stack) as write:
        for n in _with_bar(stack, "denoising", restorer):
            photo, channel = reader.read(n), reader.channel_of[n]
            pixels = photo.pixels
            if channel.choice.model:
                restored = restorer.restore(photo, channel.choice._replace(noise=None))
                pixels, unused = restored.pixels, unused or restored.level_unused
                kept += restored.kept
                warnings += [f"image {n + 1}: {restored.warning}"] if restored.warning else []
            dropped |= dict.fromkeys(write(photos.stored(photo, pixels), photo.metadata, photo.separate))
    names = ", ".join(dict.fromkeys(channel.choice.model for channel in denoised))
    reasons = _joined([channel.choice.reason for channel in denoised])
    reason = in_words(reasons, strength.in_words(kept), _joined([channel.white_in_words for channel in denoised]))
    return Outcome(task, "denoised", names, reason, unused, tuple(dropped), len(stack), _joined(warnings, 1))


class _Reader:
    """The images of a stack, on the scale of their channel."""

    def __init__(self, stack: stacks.Stack, restorer: Restorer) -> None:
        """Reads all images once."""
        self.stack = stack
        self.channel_of: list[_Channel] = []
        found: dict[tuple[Any, ...], _Channel] = defaultdict(_Channel)
        for n in _with_bar(stack, "reading", restorer):
            photo = photos.of_stack(stack, n, restorer.settings.white)
            channel = found[stack.channel(n), photo.pixels.shape[2], photo.dtype]
            channel.add(n, photo)
            self.channel_of.append(channel)
        self.channels = [*found.values()]

    def read(self, n: int) -> photos.Photo:
        """Image `n`."""
        channel = self.channel_of[n]
        return photos.of_stack(self.stack, n, channel.white, channel.black)


def _chosen(reader: _Reader, channel: _Channel, restorer: Restorer) -> Choice:
    """The model for the sample of median noise level, of those that are not clean."""
    if restorer.model != AUTO:
        return Choice(restorer.model)
    return typical([restorer.choose(reader.read(n)) for n in channel.samples()])


def _joined(texts: list[str], listed: int = LISTED) -> str:
    """Different texts, the first ones only."""
    found = [*dict.fromkeys(filter(None, texts))]
    more = len(found) - listed
    return ", ".join([*found[:listed], *([f"and {more} more"] if more > 0 else [])])


def _with_bar(stack: stacks.Stack, doing: str, restorer: Restorer) -> Iterable[int]:
    from tqdm import tqdm

    text, hidden = f"{doing} {stack.path.name}", not restorer.settings.progress
    return tqdm(range(len(stack)), desc=text, unit="image", leave=False, disable=hidden)
