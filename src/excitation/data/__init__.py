"""Pictures and annotated datasets: image files, readers of published formats, and the symbol world."""

from ._annotations import AnnotatedImage, DataError, Instance, Problem, Problems
from ._coco import read_coco
from ._dataset import AnnotatedImages
from ._difficult import is_difficult, read_difficult_list
from ._imagenet import read_imagenet
from ._mapping import category_target, read_mapping
from ._open import open_data
from ._voc import read_voc

__all__ = [
    "AnnotatedImage",
    "AnnotatedImages",
    "DataError",
    "Instance",
    "Problem",
    "Problems",
    "category_target",
    "is_difficult",
    "open_data",
    "read_coco",
    "read_difficult_list",
    "read_imagenet",
    "read_mapping",
    "read_voc",
]
