"""The demonstration: from a real Wikipedia dump to a distilled student, on one machine.

Every step is one of the public commands, started as anybody would start it; the demo adds the
order, the sizes that fit a laptop, the comparison at the end and the checks on it.
"""
