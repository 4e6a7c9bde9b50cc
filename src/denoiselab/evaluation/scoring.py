"""Scores a trained model on the stored test images: rows by image and condition, example outputs, time and memory."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from itertools import chain, islice
from statistics import median
from typing import Any

import numpy as np
from tqdm import tqdm

from denoiselab.config import Params
from denoiselab.data import noise_sampling, noisy_sets
from denoiselab.evaluation import evaluator, example_outputs, output_checks
from denoiselab.evaluation.evaluator import Output, Result, Subject, Test
from denoiselab.evaluation.score_tables import LevelScore, write
from denoiselab.imaging import dataset_images
from denoiselab.metrics import image_quality
from denoiselab.models import complexity, model_store
from denoiselab.runtime import devices, distributed, files, parallel, paths, progress, stage_outputs
from denoiselab.runtime.other_work import Watch

WARM_UP = 96  # pixels, side of the warm-up crop, which is not timed
ALONE = 3  # test images restored one at a time, with nothing else running, to measure time and memory
READERS = 4  # threads that read and measure while a CUDA device computes
RESIDUAL_GAIN = 3  # amplification of residual images
STRIP = 256  # pixels, side of the images for the tracking store


def evaluate(
    params: Params, name: str, log: Callable[[list[dict[str, Any]]], None] = lambda means: None
) -> list[dict[str, Any]]:
    """Evaluate all training runs of models/<name>/ on all stored conditions; returns the means of each run.

    metrics.json has the means over all runs; example outputs, curve and time are of the first run. Several processes
    divide the images; the first one writes the files and passes the means to `log`, the others return an empty list.
    """
    trainings = distributed.from_first(lambda: len(paths.trainings(name)))
    first, *others = [evaluator.load(params, name, number) for number in range(trainings)]
    tests = _tests(params)
    distributed.check_equal(images=[(condition.name, test.row.image, test.sha256) for condition, test in tests])
    outputs, cost = _timed(first, tests[:ALONE]) if distributed.is_first() else ([], {})
    distributed.broadcast(cost)  # the other processes wait here
    first, *others = [subject.keeping() for subject in (first, *others)]
    monitor = output_checks.Monitor(params.evaluate.alarms, first.trained)
    with _progress(name, trainings * len(tests)) as bar:
        results = chain(map(first.measure, outputs), _results(first, tests[ALONE:]))
        rows = [_collect(results, first, monitor, bar)]
        rows += [_collect(_results(subject, tests), subject, monitor, bar) for subject in others]
    levels = list(_curve(first))
    if not distributed.is_first():
        return []
    every = [row for own in rows for row in own]
    kind, means = first.row_type(tests)
    write(paths.evaluation(name) / "per_image.csv", every, kind)
    write(paths.evaluation(name) / "curve.csv", levels, LevelScore)
    parameters = model_store.parameters(first.model)
    files.write_json(paths.evaluation(name) / "metrics.json", means(every, parameters))
    files.write_json(paths.evaluation(name) / "alarms.json", [asdict(alarm) for alarm in monitor.alarms()])
    stage_outputs.record_evaluation(name, cost)
    summaries = [means(own, parameters) for own in rows]
    log(summaries)
    for subject in (first, *others):
        if subject.kept:
            subject.kept.remove()
    return summaries


def _tests(params: Params) -> list[Test]:
    """All conditions and test images, in the order of the rows."""
    found = (noisy_sets.read(paths.NOISY, key) for key in noisy_sets.names(paths.NOISY))
    return [(one, stored) for one in found for stored in noisy_sets.stored(paths.RAW, paths.NOISY, one.name)]


def _timed(subject: Subject, tests: Sequence[Test]) -> tuple[list[Output], dict[str, Any]]:
    """The outputs of the first test images with time and memory, measured one at a time with all of torch's threads."""
    given = [subject.read(test) for test in tests]
    for condition, test in given[:1]:
        crop = np.s_[:WARM_UP, :WARM_UP]
        subject.compute((condition, replace(test, clean=test.clean[crop], noisy=test.noisy[crop])))
    outputs, times, watch = [], [], Watch()
    for condition, test in given:
        started = time.perf_counter()
        outputs.append(subject.compute((condition, test)))
        megapixels = test.clean.shape[0] * test.clean.shape[1] / 1e6
        times.append(1000 * (time.perf_counter() - started) / megapixels)
    precision = f", {subject.precision}" if model_store.parameters(subject.model) else ""
    device = devices.describe(subject.device) + precision
    cost = {"ms_per_megapixel": median(times), "device": device} | watch.load()
    outputs = [subject.predict(output) for output in outputs]
    return outputs, cost | complexity.of(subject.model, paths.trainings(subject.name)[subject.number], subject.device)


def _results(subject: Subject, tests: list[Test]) -> Iterator[Result]:
    compute = partial(_apply, (subject.compute, subject.predict))
    return _each(subject, tests, subject.read, compute, subject.measure)


def _curve(subject: Subject) -> Iterator[LevelScore]:
    """Scores by noise level; none for a classifier."""
    points = noise_sampling.curve(paths.RAW, subject.params) if not subject.classifies else iter(())
    return _each(subject, points, _identity, subject.compute_level, subject.measure_level)


def _each(subject: Subject, items: Iterable[Any], *steps: Callable[[Any], Any]) -> Iterator[Any]:
    """`measure(compute(read(item)))` of all items, in order, divided among the processes. `steps`: the three functions.

    On the CPU items run in parallel, one thread each; on CUDA one at a time, while others are read and measured.
    """
    own = islice(items, distributed.rank(), None, distributed.world_size())
    if subject.device.type == "cpu":
        return distributed.in_order(parallel.each(subject.params.parallel, partial(_apply, steps), own))
    read, compute, measure = steps
    readers = parallel.Local(min(READERS, parallel.cores(subject.params.parallel)))
    return distributed.in_order(parallel.each(readers, measure, map(compute, parallel.each(readers, read, own))))


def _apply(steps: Iterable[Callable[[Any], Any]], item: Any) -> Any:
    """Apply the steps to an item, one after another."""
    for step in steps:
        item = step(item)
    return item


def _identity(item: Any) -> Any:
    return item


def _progress(name: str, images: int) -> "tqdm[Any]":
    hidden = progress.hidden() or not distributed.is_first()
    return tqdm(desc=name, total=images, unit="image", disable=hidden, dynamic_ncols=True)


def _collect(
    results: Iterable[Result], subject: Subject, monitor: output_checks.Monitor, bar: "tqdm[Any]"
) -> list[Any]:
    """The rows of a training run. `monitor` observes all outputs; examples of the first run are stored."""
    scores = []
    samples, keeps = subject.params.evaluate.samples, not subject.number and distributed.is_first()
    with example_outputs.keeping(paths.samples(subject.name), samples) if keeps else nullcontext() as keeper:
        for result in results:
            bar.update()
            scores.append(result.score)
            if result.observed is not None:
                monitor.observe(result.condition.name, result.score.image, **result.observed)
            if keeper and result.pixels is not None:
                keeper.add(result.condition.name, result.score.image, result.gain, result.pixels)
    return scores


def sample_strips(params: Params, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The centres of the samples as strips noisy, restored, clean: (key, (h, 3 w, C) uint8).

    Without clean images the third part is the amplified residual; 0 is gray.
    """
    for condition in noisy_sets.names(paths.NOISY):
        tests = noisy_sets.test(paths.RAW, paths.NOISY, condition, params.data.channels, draw=0)
        for n, test in enumerate(islice(tests, params.evaluate.samples)):
            path = paths.samples(name) / condition / f"{n:02d}.png"
            if not path.exists():  # a classifier has none
                return
            restored = dataset_images.read(path, params.data.channels)
            restored = restored.reshape(test.clean.shape)
            last = test.shown if noisy_sets.read(paths.NOISY, condition).has_clean else _residual(test.noisy, restored)
            parts = [image_quality.to_uint8(test.noisy), restored, last]
            yield (
                f"test/{condition}/{test.image}",
                np.concatenate([dataset_images.middle(p, STRIP) for p in parts], axis=1),
            )


def _residual(noisy: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Residual (noisy - restored) of (H, W, C) float32 and uint8, amplified around middle gray: uint8."""
    return image_quality.to_uint8(0.5 + RESIDUAL_GAIN * (noisy - restored / np.float32(255)))
