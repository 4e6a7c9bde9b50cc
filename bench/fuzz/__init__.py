"""Files and words of strangers: what reads them, tried with inputs that a fuzzer makes of real ones."""

EACH_S = 60  # an input that takes longer ends the process: a finding
HARD_MIB = 6144  # of memory, likewise
