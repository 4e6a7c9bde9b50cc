"""Fuzzing of all code that reads untrusted files and text, by mutating real inputs."""

EACH_S = 60  # time limit per input; exceeding it is a finding and ends the process
HARD_MIB = 6144  # memory limit, likewise
