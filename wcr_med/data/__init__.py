"""Patients: index, audit, phantom, splits, prepared slices, datasets."""
