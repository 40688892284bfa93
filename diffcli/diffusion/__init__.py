"""The mathematics of diffusion: schedules, degradations, priors, denoisers and samplers. No Lightning, no files."""
