"""Response: change of a lesion from plan to follow-up, its uncertainty, and its category by named conventions."""
