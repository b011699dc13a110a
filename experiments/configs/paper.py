"""The paper's recipe on LUNA16 as printed (sections 3.2, 3.4 and 4.2).

    python -m experiments.reproduce --config=experiments/configs/paper.py \\
        --config.data.root=LUNA16 --workdir=runs/paper

104,308,408 parameters: for an accelerator. It learns nothing useful; it exists for comparison.
SGD at a constant 0.0001 without momentum, 30 epochs, N(0, 0.01) weights with FC2 as random
projections, NLL alone; whole segmented slices of 224 x 224, FC1 of width 4096; the random 70/30
split of slices, which leaks (the run reports by how much). The paper does not specify the number of
bits, the batch size and the Hamming threshold; here they are 48, 32 and 3.
"""

from inres.config import (
    Config,
    Data,
    Hash,
    Items,
    Loss,
    Model,
    Properties,
    Search,
    Segment,
    Split,
    Train,
)


def get_config() -> Config:
    """The recipe of section 3.4."""
    config = Config(name="paper")
    config.data = Data(kind="luna16")
    config.items = Items(view="slice", normals=1000, size_px=224)
    config.split = Split(kind="slices", test_share=0.3, val_share=0.0)
    config.segment = Segment(width=32, depth=4, size_px=192, steps=2000)
    config.model = Model(
        stem=64, stem_kernel=7, stem_stride=2, stem_pool=True, fc1=4096, pooling="flatten"
    )
    config.hash = Hash(bits=48, code="latent", views_weight=0.0)
    config.properties = Properties(names=())
    config.loss = Loss(name="nll", fine=0.0)
    config.train = Train(
        epochs=30,
        batch=32,
        learning_rate=1e-4,
        momentum=0.0,
        nesterov=False,
        weight_decay=0.0,
        schedule="constant",
        warmup_epochs=0.0,
        init="gaussian",
        balance_power=0.0,
        flips=False,
        quarter_turns=False,
        shift_px=0,
        clean_share=0.0,
    )
    config.search = Search(threshold=3, least_pool=0.0, features="fc1")
    return config
