"""Predict volumes, score them by patient, choose the operating threshold. PyTorch and ONNX go through the same code."""

from wcr_med.evaluation.evaluate import evaluate_patients, score_patient
from wcr_med.evaluation.pool import pool_results
from wcr_med.evaluation.predictors import Predictor, torch_predictor
from wcr_med.evaluation.result import EvaluationResult
from wcr_med.evaluation.rows import PatientRow
from wcr_med.evaluation.stored import load_mask, load_probability, save_prediction
from wcr_med.evaluation.threshold import ThresholdChoice, best_threshold, choose_threshold

__all__ = [
    "EvaluationResult",
    "PatientRow",
    "Predictor",
    "ThresholdChoice",
    "best_threshold",
    "choose_threshold",
    "evaluate_patients",
    "load_mask",
    "load_probability",
    "pool_results",
    "save_prediction",
    "score_patient",
    "torch_predictor",
]
