"""When things are due: calendars of markets, rules for dates and times, and the agenda of a run."""
