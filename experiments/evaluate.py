"""Judge every ranking on the test items (paper, section 4.2: Figs. 8 to 10, Tables 2 and 3).

    python -m experiments.evaluate --config=experiments/configs/phantom.py --workdir=runs/phantom

Writes <workdir>/evaluation: metrics.json, curves, tables and figures. The judged ranking is
computed from the embeddings in NumPy; the index must agree with it, and is timed. Codes of the
baselines are fitted on training items. Takes half a minute for 4,000 items.
"""

from experiments import common
from inres.pipeline.evaluate import evaluate_run

if __name__ == "__main__":
    common.launch(evaluate_run)
