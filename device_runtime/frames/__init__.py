"""Which frames may be learnt: they are checked as they come, stored or set aside, and chosen for an update."""
