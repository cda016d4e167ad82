"""MONAI bundle workflows: another door to the stages of `wcr_med`, for `python -m monai.bundle run_workflow`."""
