"""Every figure: functions from arrays to matplotlib Figures, without pyplot or global state."""
