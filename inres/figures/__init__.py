"""Figures: functions from arrays to matplotlib Figures, without pyplot or global state."""
