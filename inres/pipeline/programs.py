"""The networks of an exported run as programs that need no Flax: written, opened and compared.

  encoder.jaxexport        layers of images as they are, like those that the network was trained on
  query_encoder.jaxexport  layers of other images, averaged over their views (absent where there
                           are none: then they are encoded as they are)
  segmenter.jaxexport      masks of the U-Net (absent where the lungs are not from a U-Net)
  expected.npz             what the networks made of the first thumbnails when they were exported

The programs (`inres.encoding.stablehlo`) read the variables in network.npz and unet.npz, so they
add little to the size of an export. Importing this module imports JAX, and writing imports Flax.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np

from inres.config import Config
from inres.data import views
from inres.encoding import in_batches, stablehlo
from inres.encoding.in_batches import BATCH, Encoder, Encoders, Segmenter
from inres.pipeline import artifacts
from inres.pipeline.export_checks import COPY, ExportError
from inres.pipeline.trained import TrainedRun
from inres.system import files

ENCODER, QUERY_ENCODER = "encoder.jaxexport", "query_encoder.jaxexport"
SEGMENTER, EXPECTED = "segmenter.jaxexport", "expected.npz"
EXAMPLES = 4
"""Thumbnails whose outputs are compared."""
LIMITS = {"float32": 0.01, "bfloat16": 0.1}
"""By `config.train.precision`: the largest difference between outputs of the programs and of the
networks, relative to the largest value. Platforms round differently; GPUs and TPUs by default
multiply float32 with fewer bits in convolutions."""
MASKS_LIMIT = 0.01
"""Largest share of pixels in which masks differ."""


# --- writing --------------------------------------------------------------------------------------


def write(run: TrainedRun, out: Path) -> None:
    """Write the programs of a run to the folder `out`, and what they must give."""
    for name, (function, shape, variables) in _functions(run).items():
        stablehlo.write(out / name, function, variables, shape)
    with files.atomic_path(out / EXPECTED) as part:
        np.savez_compressed(part, **outputs(run))  # type: ignore[arg-type]


def _functions(run: TrainedRun) -> dict[str, tuple]:
    """By file: a function of variables and images, the shape of an image, and the variables."""
    # They import Flax, which those who read the programs may lack.
    from inres.encoding import encoder, segmenter
    from inres.learning import recipe
    from inres.pipeline import networks

    config = run.config
    model, variables = run.network
    every, weight = views.unseen(config, channels=run.channels)

    def layers(seen: tuple[views.View, ...], share: float) -> Callable:
        return lambda given, images: encoder.apply(
            model, seen, config.model.planes, given, images, share
        )

    shape = (config.items.input_px, config.items.input_px, run.channels)
    made: dict[str, tuple] = {ENCODER: (layers((views.as_is,), 0.0), shape, variables)}
    if weight:
        made[QUERY_ENCODER] = (layers(every, weight), shape, variables)
    if run.segmenter is not None:
        unet = recipe.build_unet(config.segment, precision=config.train.precision)
        made[SEGMENTER] = (
            lambda given, slices: segmenter.apply(unet, config.segment.size_px, given, slices),
            (run.item_side_px, run.item_side_px),
            networks.unet_variables(run.root / "segment"),
        )
    return made


def outputs(run: TrainedRun) -> dict[str, np.ndarray]:
    """What the networks of a run make of its first images, by encoder and layer, and masks."""
    images = np.stack([np.asarray(run.images[row]) for row in range(min(EXAMPLES, len(run)))])
    inputs = views.single(images, run.channels)
    found = {
        f"{name}/{layer}": values
        for name, encode in run.encoders._asdict().items()
        for layer, values in vars(encode(inputs)).items()
    }
    if run.segmenter is not None:
        side, tiles = run.item_side_px, -(-run.item_side_px // images.shape[-1])
        found["masks"] = run.segmenter(np.tile(images, (1, tiles, tiles))[:, :side, :side])
    return found


# --- opening --------------------------------------------------------------------------------------


def load_encoders(
    path_of: Callable[[str], Path], config: Config, variables: dict[str, np.ndarray], channels: int
) -> Encoders:
    """The encoders of an exported run.

    Args:
      path_of: the path of a program, by name.
      config: of the run.
      variables: of the network, by path.
      channels: of its inputs.
    """

    def load(name: str, batch: int) -> Encoder:
        program = stablehlo.load(path_of(name), variables, remedy=COPY)
        return in_batches.encoder(lambda images: jax.device_get(program(images)), batch=batch)

    every, weight = views.unseen(config, channels=channels)
    as_is = load(ENCODER, BATCH)
    return Encoders(as_is, load(QUERY_ENCODER, max(1, BATCH // len(every))) if weight else as_is)


def load_segmenter(path_of: Callable[[str], Path], unet: Path, config: Config) -> Segmenter:
    """The U-Net of an exported run, with the variables in the file `unet`."""
    variables = files.load_arrays(unet, remedy=COPY)
    program = stablehlo.load(path_of(SEGMENTER), variables, remedy=COPY)
    return in_batches.segmenter(program, spacing_mm=artifacts.slice_spacing_mm(config))


# --- comparing ------------------------------------------------------------------------------------


def require_expected(run: TrainedRun) -> None:
    """Check that the programs of an opened export give what the networks gave.

    Raises:
      ExportError: they do not; names the file and the layer.
    """
    path = run.root / EXPECTED
    expected, found = files.load_arrays(path, remedy=COPY), outputs(run)
    if expected.keys() != found.keys():
        raise ExportError(f"{path}: holds {sorted(expected)}, must be {sorted(found)}; {COPY}")
    for name, difference, limit in _differences(expected, found, run.config.train.precision):
        if not difference <= limit:
            raise ExportError(
                f"{run.root}: {name} of the exported programs differs from that of the networks "
                f"by {difference:.3g} (at most {limit:g}, of the largest value); {COPY}, or export "
                "the run again"
            )


def _differences(
    expected: dict[str, np.ndarray], found: dict[str, np.ndarray], precision: str
) -> Iterator[tuple[str, float, float]]:
    """Name, difference and largest difference of every output."""
    for name, want in expected.items():
        got = found[name]
        if got.shape != want.shape:
            yield name, np.inf, 0.0
        elif name == "masks":
            yield name, float(np.mean(got != want)), MASKS_LIMIT
        elif want.size:
            size = max(float(np.abs(want).max()), 1e-6)
            yield name, float(np.abs(got - want).max()) / size, LIMITS[precision]
