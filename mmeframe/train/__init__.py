"""Train the sub-models of one key part from a table: the optional beginning of a router's life."""

from mmeframe.train.allow import allowance
from mmeframe.train.trainer import Trained, TrainedModel, train

__all__ = ["Trained", "TrainedModel", "allowance", "train"]
