"""Score a trained model on the stored test images: a row an image and condition, pictures, and the time it took."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, islice
from statistics import median
from typing import Any

import numpy as np

from denoiselab.config import Params
from denoiselab.data import noise_sampling, noisy_sets
from denoiselab.evaluation import evaluator, example_outputs, output_checks
from denoiselab.evaluation.evaluator import Output, Result, Subject, Test
from denoiselab.evaluation.score_tables import LevelScore, write
from denoiselab.imaging import dataset_images
from denoiselab.metrics import image_quality
from denoiselab.models import complexity, model_store
from denoiselab.runtime import devices, distributed, files, parallel, paths, stage_outputs

WARM_UP = 96  # pixels, side of the crop that is restored once before the clock starts
ALONE = 3  # test images that are restored one at a time, with nothing beside them, to tell time and memory
READERS = 4  # threads that read and measure while a CUDA device computes
RESIDUAL_GAIN = 3  # in pictures of what was taken away
STRIP = 256  # pixels, side of the pictures for the tracking store


def evaluate(params: Params, name: str) -> list[dict[str, Any]]:
    """Evaluate every training of models/<name>/ on every stored condition, write the files; returns each one's means.

    metrics.json has those of all; pictures, curve and time are of the first. Several processes share the images out;
    the first one writes the files, the others return nothing.
    """
    trainings = distributed.from_first(lambda: len(paths.trainings(name)))
    first, *others = [evaluator.load(params, name, number) for number in range(trainings)]
    tests = _tests(params)
    distributed.agree(images=[(condition.name, test.row.image, test.sha256) for condition, test in tests])
    outputs, cost = _timed(first, tests[:ALONE]) if distributed.first() else ([], {})
    distributed.broadcast(cost)  # until when the others wait
    watch = output_checks.Watch(params.evaluate.alarms, first.trained)
    rows = [_watched(chain(map(first.measure, outputs), _results(first, tests[ALONE:])), first, watch)]
    rows += [_watched(_results(subject, tests), subject, watch) for subject in others]
    levels = list(_curve(first))
    if not distributed.first():
        return []
    every = [row for own in rows for row in own]
    kind, means = first.judged(tests)
    write(paths.evaluation(name) / "per_image.csv", every, kind)
    write(paths.evaluation(name) / "curve.csv", levels, LevelScore)
    parameters = model_store.parameters(first.model)
    files.write_json(paths.evaluation(name) / "metrics.json", means(every, parameters))
    files.write_json(paths.evaluation(name) / "alarms.json", [asdict(alarm) for alarm in watch.alarms()])
    stage_outputs.record_evaluation(name, cost)
    return [means(own, parameters) for own in rows]


def _tests(params: Params) -> list[Test]:
    """All that there is to do, in the order of the rows."""
    found = (noisy_sets.read(paths.NOISY, key) for key in noisy_sets.names(paths.NOISY))
    return [(one, stored) for one in found for stored in noisy_sets.stored(paths.RAW, paths.NOISY, one.name)]


def _timed(subject: Subject, tests: Sequence[Test]) -> tuple[list[Output], dict[str, Any]]:
    """The outputs of the first test images, and what they cost: nothing else runs meanwhile, on the CPU with all of
    torch's threads."""
    given = [subject.read(test) for test in tests]
    for condition, test in given[:1]:
        crop = np.s_[:WARM_UP, :WARM_UP]
        subject.compute((condition, replace(test, clean=test.clean[crop], noisy=test.noisy[crop])))
    outputs, times = [], []
    for condition, test in given:
        started = time.perf_counter()
        outputs.append(subject.compute((condition, test)))
        megapixels = test.clean.shape[0] * test.clean.shape[1] / 1e6
        times.append(1000 * (time.perf_counter() - started) / megapixels)
    outputs = [subject.predict(output) for output in outputs]
    cost = {"ms_per_megapixel": median(times), "device": devices.describe(subject.device)}
    return outputs, cost | complexity.of(subject.model, paths.trainings(subject.name)[subject.number], subject.device)


def _results(subject: Subject, tests: list[Test]) -> Iterator[Result]:
    compute = partial(_through, (subject.compute, subject.predict))
    return _each(subject, tests, subject.read, compute, subject.measure)


def _curve(subject: Subject) -> Iterator[LevelScore]:
    """PSNR by noise level, of what restores."""
    points = noise_sampling.curve(paths.RAW, subject.params) if not subject.classifies else iter(())
    return _each(subject, points, _itself, subject.compute_level, subject.measure_level)


def _each(subject: Subject, items: Iterable[Any], *steps: Callable[[Any], Any]) -> Iterator[Any]:
    """`measure(compute(read(item)))` of all items for the three steps, in order; the processes share them out.

    On the CPU items side by side, each in one thread; on CUDA one after another, others being read and measured.
    """
    own = islice(items, distributed.rank(), None, distributed.world())
    if subject.device.type == "cpu":
        return distributed.in_order(parallel.each(subject.params.parallel, partial(_through, steps), own))
    read, compute, measure = steps
    beside = parallel.Local(min(READERS, parallel.cores(subject.params.parallel)))
    return distributed.in_order(parallel.each(beside, measure, map(compute, parallel.each(beside, read, own))))


def _through(steps: Iterable[Callable[[Any], Any]], item: Any) -> Any:
    """What the steps make of an item, one after another."""
    for step in steps:
        item = step(item)
    return item


def _itself(item: Any) -> Any:
    return item


def _watched(results: Iterable[Result], subject: Subject, watch: output_checks.Watch) -> list[Any]:
    """The rows of a training; `watch` looks at every output, and pictures of some of the first training's are kept."""
    scores = []
    samples, keeps = subject.params.evaluate.samples, not subject.number and distributed.first()
    with example_outputs.keeping(paths.samples(subject.name), samples) if keeps else nullcontext() as keeper:
        for result in results:
            scores.append(result.score)
            if result.seen is not None:
                watch.look(result.condition.name, result.score.image, **result.seen)
            if keeper and result.pixels is not None:
                keeper.add(result.condition.name, result.score.image, result.gain, result.pixels)
    return scores


def pictures(params: Params, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The middle of the kept samples as strips noisy, restored, clean: (key, (h, 3 w, C) uint8).

    What was taken away, around gray, in place of clean images that there are not.
    """
    for condition in noisy_sets.names(paths.NOISY):
        tests = noisy_sets.test(paths.RAW, paths.NOISY, condition, params.data.channels, draw=0)
        for n, test in enumerate(islice(tests, params.evaluate.samples)):
            path = paths.samples(name) / condition / f"{n:02d}.png"
            if not path.exists():  # a classifier makes none
                return
            restored = dataset_images.read(path, params.data.channels)
            restored = restored.reshape(test.clean.shape)
            last = test.clean if noisy_sets.read(paths.NOISY, condition).has_clean else _taken(test.noisy, restored)
            parts = [image_quality.to_uint8(test.noisy), restored, last]
            yield (
                f"test/{condition}/{test.image}",
                np.concatenate([dataset_images.middle(p, STRIP) for p in parts], axis=1),
            )


def _taken(noisy: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """What was taken away from `noisy` (H, W, C) float32, three times as strong, around middle gray: uint8."""
    return image_quality.to_uint8(0.5 + RESIDUAL_GAIN * (noisy - restored / np.float32(255)))
