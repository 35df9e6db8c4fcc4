"""Inputs by kind: which attribute, which disagreement; each kind with several members. Every input is made here."""
