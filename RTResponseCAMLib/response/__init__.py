"""Response: how a lesion's volume changed from plan to follow-up, how sure that is, and what conventions call it."""
