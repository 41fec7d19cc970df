"""Training of classifiers on image-level labels and on the tags of uploads (Secs. 4.1 and 4.3, Appendix B)."""

from ._evaluation import Precision, measure
from ._examples import Examples, TensorExamples
from ._fit import Fitted, State, fit, predict
from ._labels import TrainedLabels, read_labelled, train_labels
from ._options import Options, TrainingError
from ._pictures import PictureExamples, Recipe
from ._tag_training import TrainedTags, train_tags
from .tags import Cleaned, clean_uploads, read_cleaned, read_dictionary

__all__ = [
    "Cleaned",
    "Examples",
    "Fitted",
    "Options",
    "PictureExamples",
    "Precision",
    "Recipe",
    "State",
    "TensorExamples",
    "TrainedLabels",
    "TrainedTags",
    "TrainingError",
    "clean_uploads",
    "fit",
    "measure",
    "predict",
    "read_cleaned",
    "read_dictionary",
    "read_labelled",
    "train_labels",
    "train_tags",
]
