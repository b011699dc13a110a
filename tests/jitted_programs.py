"""Every `jax.jit` of the package, with arguments for which its programs can be lowered.

A new one must be added to `PROGRAMS` (`test_lowering` finds it). The sizes are small, but the
programs are those of real trainings and archives.
"""

import ast
import functools
import re
from pathlib import Path

import jax
import numpy as np

from inres import config as lib
from inres.data import views
from inres.encoding import encoder, segmenter
from inres.learning import losses, objective, recipe, sight
from inres.learning.devices import data_mesh
from inres.learning.step import make_train_step
from inres.learning.train_state import TrainState
from inres.retrieval import checks, codes, index, padding, plans, rerank, runs, sharded

ROOT = Path(__file__).resolve().parents[1]
CLASSES, BATCH, SIDE, CUBE, BITS, DIMS, K = 4, 8, 16, 9, 48, 8, 5


def jitted_in(source):
    """Names of the functions in Python source that are jitted, or in which something is."""
    found = set()

    def is_jit(node):
        return isinstance(node, ast.Attribute) and ast.unparse(node) in ("jax.jit", "jax.pmap")

    def visit(node, name):
        if isinstance(node, ast.FunctionDef):
            inner = node.name
            for decorator in node.decorator_list:
                if any(map(is_jit, ast.walk(decorator))):
                    found.add(inner)
            for child in node.body:
                visit(child, name or inner)
            return
        if is_jit(node):
            found.add(name)
        for child in ast.iter_child_nodes(node):
            visit(child, name)

    visit(ast.parse(source), "")
    return found


def found_programs():
    """`<file>:<function>` of every jitted function of the package."""
    paths = sorted((ROOT / "inres").rglob("*.py"))
    sources = {path: path.read_text(encoding="utf-8") for path in paths}
    return {
        f"{path.relative_to(ROOT)}:{name}"
        for path, source in sources.items()
        if re.search(r"\b(jit|pmap)\b", source)
        for name in jitted_in(source)
    }


# --- training and encoding ------------------------------------------------------------------------


def settings():
    """Configs by name.

    One slice with a loss of pairs, planes of cubes with graded codes and convolutions in bfloat16,
    cubes in 3-D, and plain convolutions, which compile fast.
    """
    cube = {"items": lib.Items(view="cube", cube_px=CUBE)}
    small = {"stem": 8, "fc1": 16}
    plain = {"compression": "plain", "residual": "plain"}
    flat = lib.Items(size_px=SIDE)
    return {
        "slice": lib.Config(
            items=flat,
            model=lib.Model(**small),
            loss=lib.Loss("dpsh"),
            train=lib.Train(zoom=1.25, clean_share=0.0),
        ),
        "views": lib.Config(
            **cube,
            model=lib.Model(planes="nine", **small),
            loss=lib.Loss("graded", fine_properties=0.5),
            train=lib.Train(precision="bfloat16"),
        ),
        "cube": lib.Config(**cube, model=lib.Model(name="inres_net_3d", **small)),
        "plain": lib.Config(items=flat, model=lib.Model(**small, **plain)),
    }


def image_shape(config):
    side = config.items.input_px
    if config.items.view == "cube":
        return side, side, 2 * side
    return side, side, 2 * (2 * config.items.neighbours + 1) if config.items.neighbours else 1


def shapes_of(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), tree)


@functools.cache
def network(name):
    """The network of a setting, and the shapes of its variables."""
    config = settings()[name]
    model = recipe.build_model(config, classes=CLASSES, properties=2)
    image = np.zeros((1, *image_shape(config)), np.float32)
    planes, seen = sight.split(image, config.model.planes)
    return model, jax.eval_shape(model.init, jax.random.key(0), sight.flatten(planes, seen), seen)


def batch(config):
    """Shapes of a batch of a training."""
    labels = np.arange(BATCH, dtype=np.int32) % CLASSES
    diameters = np.where(labels > 0, 4.0 * labels, 0.0)
    known = np.zeros((BATCH, 2), np.float32)
    made = {
        "image": np.zeros((BATCH, *image_shape(config)), np.uint8),
        "label": labels,
        "augment": np.ones(BATCH, bool),
        "diameter_mm": diameters.astype(np.float32),
        "item": np.arange(BATCH, dtype=np.int32),
        "properties": known,
        "property_weights": known,
    }
    if config.train.zoom > 1:
        made["factor"] = np.ones(BATCH, np.float32)
    truth = losses.Truth(labels, diameters, ("diameter_mm", "texture"), known + 1.0)
    code = objective.target_codes(config, truth, classes=CLASSES)
    return made if code is None else made | {"code": code}


def step_and_arguments(config, model, variables, loss, optimizer, arrays, devices=1):
    step = make_train_step(loss, optimizer, key=jax.random.key(0), mesh=data_mesh(devices))
    state = TrainState(
        jax.ShapeDtypeStruct((), np.int32),
        variables["params"],
        variables.get("batch_stats", {}),
        jax.eval_shape(optimizer.init, variables["params"]),
    )
    return step, (state, shapes_of(arrays))


def training_step(name, devices=1):
    """The step of a setting, and the shapes of its state and batch."""
    config = settings()[name]
    model, variables = network(name)
    optimizer, _ = recipe.optimizer(config, steps=100, steps_per_epoch=10)
    loss = recipe.hash_loss(model, config, steps=100, classes=CLASSES)
    return step_and_arguments(config, model, variables, loss, optimizer, batch(config), devices)


def unet():
    """Config, module and shapes of the variables of a U-Net."""
    config = lib.Segment(width=4, depth=1, size_px=SIDE)
    model = recipe.build_unet(config)
    image = np.zeros((1, SIDE, SIDE, 1), np.float32)
    return config, model, jax.eval_shape(model.init, jax.random.key(0), image)


def unet_step(devices=1):
    config, model, variables = unet()
    optimizer, _ = recipe.unet_optimizer(config)
    arrays = {name: np.zeros((BATCH, SIDE, SIDE), np.uint8) for name in ("image", "mask")}
    loss = recipe.unet_loss(model, config)
    return step_and_arguments(config, model, variables, loss, optimizer, arrays, devices)


def training_steps():
    made = {name: training_step(name) for name in ("slice", "views", "cube")}
    made["unet"] = unet_step()
    return {name: step.trace(*given) for name, (step, given) in made.items()}


def encoders():
    found = {}
    for name in ("slice", "views", "cube"):
        config = settings()[name]
        model, variables = network(name)
        shape = image_shape(config)
        every, weight = views.unseen(config, channels=shape[-1])
        images = jax.ShapeDtypeStruct((2, *shape), np.uint8)
        found[name] = encoder.apply.trace(
            model, every[:2], config.model.planes, variables, images, weight
        )
    return found


def segmenters():
    config, model, variables = unet()
    slices = jax.ShapeDtypeStruct((2, 24, 24), np.uint8)
    return {"": segmenter.apply.trace(model, config.size_px, variables, slices)}


def initial_states():
    """What `initial_variables` jits; it hands out no program, so its function is traced here."""
    model, _ = network("plain")
    image = np.zeros((1, SIDE, SIDE, 1), np.float32)
    return {"": jax.jit(model.init).trace(jax.random.key(0), image)}


# --- search ---------------------------------------------------------------------------------------


def items(distinct):
    """Codes, features, groups and labels of two tiles of items."""
    rng = np.random.default_rng(0)
    count = 1500
    packed = codes.pack(rng.random((count, BITS)) < 0.5)[np.arange(count) % distinct]
    features = rng.standard_normal((count, DIMS), np.float32)
    return packed, features, np.arange(count) // 10, np.arange(count) % 3


@functools.cache
def on_device(distinct):
    packed, features, groups, labels = items(distinct)
    built = index.build(packed, features, bits=BITS, groups=groups, labels=labels)
    return built.on_device


def queries(count, **pool):
    packed, features, groups, _ = items(1500)
    given = checks.queries(
        packed[:count], features[:count], bits=BITS, dims=DIMS, k=K, exclude_group=groups[:count],
        only_label=np.zeros(count, int), **(pool or {"threshold": 9}),
    )  # fmt: skip
    return padding.padded(given)


SEARCHES = {
    "each, 1": (1500, 1),
    "each, 64": (1500, 64),
    "runs, 1": (100, 1),
    "runs, 64": (100, 64),
}


@functools.cache
def searched():
    """Index, queries and pools of every kind of codes and size of a batch."""
    found = {}
    for name, (distinct, count) in SEARCHES.items():
        device, asked = on_device(distinct), queries(count)
        assert isinstance(device.codes, runs.Runs) == (distinct == 100)
        found[name] = device, asked, jax.eval_shape(plans._find, device, asked)
    return found


def of_searches(trace, kinds=("each", "runs")):
    """One program per kind of codes and size of a batch."""
    return {
        name: trace(*given) for name, given in searched().items() if name.startswith(tuple(kinds))
    }


def walked(device, asked, pools):
    top, size = jax.eval_shape(functools.partial(plans._alone, k=K), device, asked, pools)
    return plans._walked.trace(device, asked, pools, top, size, k=K)


@functools.cache
def sharded_searches():
    packed, features, groups, labels = items(1500)
    mesh = sharded.make_mesh(jax.devices()[:1])
    built = sharded.build(packed, features, bits=BITS, mesh=mesh, groups=groups, labels=labels)
    return {
        name: sharded.search_padded.trace(
            built, queries(4, **pool), mesh=mesh, k=K, nearest=pool.get("nearest"), min_pool=least
        )
        for name, pool, least in (
            ("least pool", {"threshold": 9}, 20),
            ("nearest", {"nearest": 20}, 0),
        )
    }


def given_to_rank(device, asked, pools):
    place = np.zeros((len(asked), 20), np.int32)
    return plans.rank_given.trace(device, asked, place, place, k=K)


PLANS = "inres/retrieval/plans.py"
PROGRAMS = {
    "inres/learning/step.py:make_train_step": training_steps,
    "inres/learning/step.py:_compiler_options": lambda: {},  # asks whether XLA knows an option
    "inres/learning/train_state.py:initial_variables": initial_states,
    "inres/encoding/encoder.py:apply": encoders,
    "inres/encoding/segmenter.py:apply": segmenters,
    # Programs made of the two above; tests/pipeline/test_programs.py looks into them.
    "inres/encoding/stablehlo.py:write": lambda: {},
    "inres/encoding/stablehlo.py:load": lambda: {},
    "inres/retrieval/rerank.py:make_sketch": lambda: {
        "": rerank.make_sketch.trace(np.zeros((2048, DIMS), np.float32), np.int32(1500))
    },
    "inres/retrieval/sharded.py:search_padded": sharded_searches,
    f"{PLANS}:nearest": lambda: of_searches(
        lambda device, asked, pools: plans.nearest.trace(device, asked, k=K)
    ),
    f"{PLANS}:rank_given": lambda: of_searches(given_to_rank),
    f"{PLANS}:_raise_thresholds": lambda: of_searches(
        lambda device, asked, pools: plans._raise_thresholds.trace(device, asked, min_pool=20),
        ["runs"],
    ),
    f"{PLANS}:_scan_each": lambda: of_searches(
        lambda device, asked, pools: plans._scan_each.trace(
            device.codes, device.tags, device.count, asked
        ),
        ["each"],
    ),
    f"{PLANS}:_scan_runs": lambda: of_searches(
        lambda device, asked, pools: plans._scan_runs.trace(device.codes, asked), ["runs"]
    ),
    f"{PLANS}:_count_each": lambda: of_searches(
        lambda device, asked, pools: plans._count_each.trace(pools.marks.masks), ["each"]
    ),
    f"{PLANS}:_count_runs": lambda: of_searches(
        lambda device, asked, pools: plans._count_runs.trace(
            device.codes, pools.marks, device.count
        ),
        ["runs"],
    ),
    f"{PLANS}:_together": lambda: of_searches(
        lambda device, asked, pools: plans._together.trace(
            device, asked, pools, slots=1024, width=64, k=K
        )
    ),
    f"{PLANS}:_alone": lambda: of_searches(
        lambda device, asked, pools: plans._alone.trace(device, asked, pools, k=K)
    ),
    f"{PLANS}:_walked": lambda: of_searches(walked),
}
"""By `<file>:<function>`: makes the traced programs, by a name of their own."""
