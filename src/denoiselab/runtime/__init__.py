"""Basics for every other package: files, paths, seeds, devices, processes, downloads, errors."""
