"""inres: coarse-to-fine retrieval of similar lung CT slices with learned hash codes."""

__version__ = "0.2.0"
