"""Many clients at once, who ask the page and the served model for good, bad and huge pictures."""
