"""The clinical-style report: one self-contained page for a clinician, a statistician and a regulator."""
