"""Tools without any knowledge of diffusion: errors, files, messages, checksums, devices, processes."""
