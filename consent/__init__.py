"""Who may see which part of a plan, and why. Pure: no I/O, no clock, no log."""
