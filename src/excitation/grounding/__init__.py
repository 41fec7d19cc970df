"""Phrase grounding: phrase datasets, region proposals, their scores by attention maps, and the evaluation."""

from ._boxes import box_areas, box_overlaps, suppress
from ._chunks import Caption, find_phrases
from ._detections import read_detections
from ._entities import read_flickr30k
from ._evaluation import (
    AP_DEFINITION,
    RANKS,
    Scores,
    average_precision,
    compare_recall,
    evaluate,
    recall_at,
    recall_interval,
    small_only,
)
from ._generators import edge_boxes, selective_search, superpixel_proposals
from ._ground import GroundedPhrase, Grounder, Grounding, draw_caption, ground
from ._json_phrases import read_phrases_json, read_refcoco
from ._judging import PROTOCOLS, Judgement, Protocol, judge_phrase, judge_phrases
from ._phrases import GROUPS, NOT_VISUAL, CaptionedImage, Phrase, PhraseDataset, is_small, merge_boxes
from ._pointing import POINTING, Pointed, PointingProtocol, point_phrases
from ._proposal_files import read_coco_results, read_edge_boxes, read_mcg, read_npz_proposals, write_npz_proposals
from ._proposals import ProposalError, Proposals, Segments
from ._report import choose_phrase_rows, gamma_figure, judgements, phrase_tables
from ._rescoring import (
    GAMMAS,
    Detections,
    GammaSearch,
    RegionSums,
    choose_gamma,
    own_ranking,
    rank_regions,
    region_sums,
    rescore,
)
from ._run import run_phrases
from ._sentences import MarkedPhrase, MarkedSentence, SentenceError, parse_sentence
from ._sources import open_phrases, open_proposals
from ._stored import chosen_gammas, gamma_recalls
from ._symbol_phrases import symbol_phrases
from ._tables import association_table, group_table
from ._words import FUSIONS, Coverage, Dictionary, Fusion, KnownWord, Lookup, coverage, fuse_maps

__all__ = [
    "AP_DEFINITION",
    "FUSIONS",
    "GAMMAS",
    "GROUPS",
    "NOT_VISUAL",
    "POINTING",
    "PROTOCOLS",
    "RANKS",
    "Caption",
    "CaptionedImage",
    "Coverage",
    "Detections",
    "Dictionary",
    "Fusion",
    "GammaSearch",
    "GroundedPhrase",
    "Grounder",
    "Grounding",
    "Judgement",
    "KnownWord",
    "Lookup",
    "MarkedPhrase",
    "MarkedSentence",
    "Phrase",
    "PhraseDataset",
    "Pointed",
    "PointingProtocol",
    "ProposalError",
    "Proposals",
    "Protocol",
    "RegionSums",
    "Scores",
    "Segments",
    "SentenceError",
    "association_table",
    "average_precision",
    "box_areas",
    "box_overlaps",
    "choose_gamma",
    "choose_phrase_rows",
    "chosen_gammas",
    "compare_recall",
    "coverage",
    "draw_caption",
    "edge_boxes",
    "evaluate",
    "find_phrases",
    "fuse_maps",
    "gamma_figure",
    "gamma_recalls",
    "ground",
    "group_table",
    "is_small",
    "judge_phrase",
    "judge_phrases",
    "judgements",
    "merge_boxes",
    "open_phrases",
    "open_proposals",
    "own_ranking",
    "parse_sentence",
    "phrase_tables",
    "point_phrases",
    "rank_regions",
    "read_coco_results",
    "read_detections",
    "read_edge_boxes",
    "read_flickr30k",
    "read_mcg",
    "read_npz_proposals",
    "read_phrases_json",
    "read_refcoco",
    "recall_at",
    "recall_interval",
    "region_sums",
    "rescore",
    "run_phrases",
    "selective_search",
    "small_only",
    "superpixel_proposals",
    "suppress",
    "symbol_phrases",
    "write_npz_proposals",
]
