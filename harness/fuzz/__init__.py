"""Mutated inputs through a solver by the thousand: what crashes it, what makes it disagree, each find once and as a case."""
