"""The plots of a clinical report: each function draws one inline `<svg>` with its alternative text."""
