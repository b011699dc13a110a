from inres.config import Config, Loss
from inres.pipeline.inputs import stage_inputs


def test_settings_of_other_losses_are_no_input_of_training():
    def inputs(name):
        found = stage_inputs(Config(loss=Loss(name=name)), "train")
        return {field for field in found if field.startswith("loss.")}

    common = {"loss.name", "loss.weight", "loss.classification", "loss.fine", "loss.fine_spread"}
    assert inputs("nll") == common
    assert inputs("dpsh") == common | {"loss.settings.dpsh.quantization"}
