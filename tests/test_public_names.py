"""Names that users import: they stay where the documentation has shown them."""

from __future__ import annotations

import importlib

import pytest

PUBLIC_NAMES = {
    "erprm.callbacks": "BestOfN ExportHF RunCost SaveOnSignal StepEvaluation StepScoreWriter Throughput",
    "erprm.callbacks.run_cost": "Cost",
    "erprm.data": "ProcessRewardDataModule",
    "erprm.data.formats": "export_trl import_official import_prm800k import_trl",
    "erprm.data.labels": "step_labels",
    "erprm.data.packing": "StepBatch",
    "erprm.data.policy": "PolicyDataModule load_policy_samples",
    "erprm.data.pools": "grade_pool read_pool write_pool",
    "erprm.data.records": "RecordError RolloutRecord read_records validate_record write_records",
    "erprm.data.solutions": "read_solutions",
    "erprm.data.sources": "load_problems",
    "erprm.grading": "BatchGrader Grader GradingError OutcomeGrader extract_answer grade outcome_rewards",
    "erprm.grading.programs": "ProgramGrader SandboxError",
    "erprm.grpo": "GrpoConfig PolicyEvaluation run_grpo",
    "erprm.losses": "beta_binomial_losses step_beliefs",
    "erprm.metrics": """
        BestOfNAccuracy CalibrationMap FirstErrorAccuracy MajorityVoteAccuracy PassAtN StepCalibrationError
        WeightedVoteAccuracy WithinProblemAUROC aggregate_solutions aggregate_steps best_of_n_accuracy best_of_n_curves
        best_threshold binarize_labels bootstrap_interval calibration_curve calibration_gain cross_fitted_calibration
        entropic_bellman_residual first_error_accuracy first_error_index fit_calibration majority_vote_accuracy
        majority_vote_curves match_intervals paired_bootstrap_interval paired_permutation_test pass_at_n
        pass_at_n_curves peak_of_best_of_n processbench_score random_text_accuracy random_text_curves step_accuracy
        step_calibration_error weighted_vote_accuracy weighted_vote_curves within_problem_auroc
        within_problem_rank_correlation""",
    "erprm.models": """
        AdaptedRewardModel CosineWithWarmup FSDP2Strategy HTTPStepScorer LoRA NonFiniteError NonFiniteGradientError
        NonFiniteLossError PolicyModel ProcessRewardModel ScorerError ScorerModule StepScorer
        TokenClassificationRewardModel VLLMStepScorer WholeCheckpointIO""",
    "erprm.models.checkpoint_weights": "load_weights",
    "erprm.raft": "ProblemSet RaftConfig Selector run_raft",
    "erprm.report.pool_results": "pool_results",
    "erprm.reward_fn": "CreditForm ProcessReward StepRewards step_credit step_returns",
    "erprm.rewards": "entropy_regularized_reward",
    "erprm.rollout": """
        Completion Engine OpenAIEngine PromptFormat RolloutConfig Sampling ServerOptions TransformersEngine VLLMEngine
        VLLMOptions open_engine run_rollouts""",
    "erprm.rollout.config": "RolloutConfig",
    "erprm.rollout.pools": "PoolSampling",
    "erprm.search": """
        DVTS START AdaptiveN BeamSearch BestOfNSearch Budget Cascade Decoding Expand LookAhead PartialSolution
        ParticleSearch Reading Search SearchError SearchResult SearchSteps Searcher StepRejection""",
    "erprm.search.config": "SearchConfig",
    "erprm.serve": "ServeConfig run_server serving",
    "erprm.steps": """
        STEP_FORMAT_PRESETS STEP_STYLES EncodedSolution Layout Solution StepEncoder StepFormat StepFormatError
        StepSplit check_step_style choose_style segment_steps split_steps""",
}


@pytest.mark.parametrize("module", sorted(PUBLIC_NAMES))
def test_public_names_can_be_imported(module: str) -> None:
    found = importlib.import_module(module)
    missing = [name for name in PUBLIC_NAMES[module].split() if not hasattr(found, name)]
    assert missing == []


def test_a_lazy_package_lists_its_names_and_refuses_others() -> None:
    package = importlib.import_module("erprm.rollout")
    assert dir(package) == package.__all__ == sorted(PUBLIC_NAMES["erprm.rollout"].split())
    with pytest.raises(AttributeError, match=r"module 'erprm.rollout' has no attribute 'Rollout'"):
        _ = package.Rollout
